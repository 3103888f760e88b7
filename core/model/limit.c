/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of rate limits. Divisions are as policies.md 2.3 writes them, so that another
 * store gives the same answer at the same time. No product exceeds MG_LIMIT_PRODUCT_MAX times the
 * overflow factor times three, which is below 2^57.
 */
#include "model/limit.h"

#include <string.h>

static const char *const algorithm_names[MG_LIMIT_ALGORITHMS] = {
    [MG_LIMIT_FIXED_WINDOW] = "fixed-window", [MG_LIMIT_SLIDING_WINDOW] = "sliding-window",
    [MG_LIMIT_TOKEN_BUCKET] = "token-bucket", [MG_LIMIT_GCRA] = "gcra",
    [MG_LIMIT_CONCURRENCY] = "concurrency",
};

const char *mg_limit_algorithm_name(enum mg_limit_algorithm algorithm)
{
    return algorithm_names[algorithm];
}

enum mg_limit_algorithm mg_limit_algorithm_of(mg_str name)
{
    int i = 0;
    while (i < MG_LIMIT_ALGORITHMS && !mg_str_equal(name, mg_str_from(algorithm_names[i]))) {
        i++;
    }
    return (enum mg_limit_algorithm)i;
}

static bool is_bucket(const struct mg_limit_rule *rule)
{
    return rule->algorithm == MG_LIMIT_TOKEN_BUCKET || rule->algorithm == MG_LIMIT_GCRA;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ⌈a / b⌉ for b > 0. */
static int64_t divide_up(int64_t a, int64_t b)
{
    return a > 0 ? (a + b - 1) / b : -(-a / b);
}

int mg_limit_rule_check(const struct mg_limit_rule *rule)
{
    if (rule->quota < 1 || rule->quota > MG_LIMIT_QUOTA_MAX) {
        return MG_EINVALID;
    }
    if (rule->algorithm == MG_LIMIT_CONCURRENCY) {
        return 0;
    }
    if (rule->window_ms < 1 || rule->window_ms > INT64_C(366) * 86400 * 1000) {
        return MG_EINVALID;
    }
    if (rule->algorithm == MG_LIMIT_FIXED_WINDOW) {
        return 0;
    }
    if (is_bucket(rule) && (rule->burst < 1 || rule->burst > MG_LIMIT_QUOTA_MAX)) {
        return MG_EINVALID;
    }
    const int64_t most = is_bucket(rule) ? larger(rule->quota, rule->burst) : rule->quota;
    return most > MG_LIMIT_PRODUCT_MAX / rule->window_ms ? MG_EINVALID : 0;
}

/* --- fixed window: start, count ------------------------------------------------------------- */

static void fixed_look(const struct mg_limit_rule *rule, bool is_new, int64_t now, int64_t cost,
                       struct mg_limit_view *view)
{
    int64_t *start = &view->state[0], *used = &view->state[1];
    const int64_t w = rule->window_ms;
    const int64_t begin = rule->align_first ? now : now - now % w;
    const bool over = rule->align_first ? *used == 0 || now >= *start + w : begin > *start;
    if (is_new || over) {
        *start = begin;
        *used = 0;
    }
    view->ok = *used + cost <= rule->quota;
    view->retry_ms = *start + w - now;
}

/* --- sliding window: bucket number, its count, the count of the one before ------------------ */

/* ms of the bucket that have passed; 0 if the clock has stepped back before its begin. */
static int64_t sliding_elapsed(const struct mg_limit_rule *rule, const int64_t *state, int64_t now)
{
    return larger(0, now - state[0] * rule->window_ms);
}

static void sliding_look(const struct mg_limit_rule *rule, bool is_new, int64_t now, int64_t cost,
                         struct mg_limit_view *view)
{
    int64_t *bucket = &view->state[0], *used = &view->state[1], *before = &view->state[2];
    const int64_t w = rule->window_ms, quota = rule->quota;
    const int64_t current = now / w;
    if (is_new || current > *bucket + 1) {
        *before = *used = 0;
        *bucket = current;
    } else if (current == *bucket + 1) {
        *before = *used;
        *used = 0;
        *bucket = current;
    }
    const int64_t left = w - smaller(w, sliding_elapsed(rule, view->state, now));
    view->ok = *before * left + (*used + cost) * w <= quota * w;
    if (view->ok) {
        return;
    }
    if (*used + cost <= quota) { /* the one before has to weigh less */
        view->retry_ms = divide_up(*before * left - (quota - *used - cost) * w, *before);
    } else { /* in the next bucket, when this one weighs less; then it is not empty */
        view->retry_ms = left;
        if (*used > 0) {
            view->retry_ms += larger(0, divide_up((*used - quota + cost) * w, *used));
        }
    }
}

/* --- token bucket: tokens x w, time --------------------------------------------------------- */

static void bucket_look(const struct mg_limit_rule *rule, bool is_new, int64_t now, int64_t cost,
                        struct mg_limit_view *view)
{
    int64_t *tokens = &view->state[0], *time = &view->state[1];
    const int64_t full = rule->burst * rule->window_ms;
    if (is_new || *tokens >= full) {
        *tokens = full;
    } else if (now > *time) {
        /* no more than it takes to fill: the product stays small after a long silence */
        const int64_t elapsed = smaller(now - *time, divide_up(full - *tokens, rule->quota));
        *tokens = smaller(full, *tokens + elapsed * rule->quota);
    }
    *time = is_new ? now : larger(*time, now);
    view->ok = *tokens >= cost * rule->window_ms;
    view->retry_ms = divide_up(cost * rule->window_ms - *tokens, rule->quota);
}

/* --- all ------------------------------------------------------------------------------------ */

static bool is_small(int64_t number)
{
    return number > -(INT64_C(1) << 60) && number < INT64_C(1) << 60;
}

static bool is_small_product(int64_t a, int64_t b)
{
    int64_t product;
    return !__builtin_mul_overflow(a, b, &product) && is_small(product);
}

/* Could the state have come from here? What a wild write left in shared memory must cost its key
 * some requests, not every worker its life. */
static bool is_sound(const struct mg_limit_rule *rule, const int64_t *state)
{
    switch (rule->algorithm) {
    case MG_LIMIT_SLIDING_WINDOW:
        return state[1] >= 0 && state[2] >= 0 && is_small_product(state[0], rule->window_ms) &&
               is_small_product(state[1], rule->window_ms) &&
               is_small_product(state[2], rule->window_ms);
    case MG_LIMIT_CONCURRENCY:
        return state[0] >= 0 && is_small(state[0]);
    default:
        return is_small(state[0]) && is_small(state[1]);
    }
}

void mg_limit_look(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms,
                   int64_t cost, struct mg_limit_view *view)
{
    *view = (struct mg_limit_view){.ok = false};
    state = state && is_sound(rule, state) ? state : NULL;
    if (state) {
        memcpy(view->state, state, sizeof view->state);
    }
    view->too_big = cost > (is_bucket(rule) ? rule->burst : rule->quota);
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        fixed_look(rule, !state, now_ms, cost, view);
        break;
    case MG_LIMIT_SLIDING_WINDOW:
        sliding_look(rule, !state, now_ms, cost, view);
        break;
    case MG_LIMIT_CONCURRENCY:
        view->ok = view->state[0] + cost <= rule->quota;
        view->retry_ms = MG_LIMIT_CONCURRENCY_RETRY_MS;
        break;
    default:
        bucket_look(rule, !state, now_ms, cost, view);
        break;
    }
    if (view->ok || view->too_big) {
        view->retry_ms = 0;
    }
}

void mg_limit_charge(const struct mg_limit_rule *rule, struct mg_limit_view *view, int64_t cost)
{
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
    case MG_LIMIT_SLIDING_WINDOW:
        view->state[1] += cost;
        break;
    case MG_LIMIT_CONCURRENCY:
        view->state[0] += cost;
        break;
    default:
        view->state[0] -= cost * rule->window_ms;
        break;
    }
}

int64_t mg_limit_remaining(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms)
{
    const int64_t w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return larger(0, rule->quota - state[1]);
    case MG_LIMIT_SLIDING_WINDOW: {
        const int64_t left = w - smaller(w, sliding_elapsed(rule, state, now_ms));
        return larger(0, rule->quota * w - state[2] * left - state[1] * w) / w;
    }
    case MG_LIMIT_CONCURRENCY:
        return larger(0, rule->quota - state[0]);
    default:
        return state[0] / w;
    }
}

int64_t mg_limit_reset_ms(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms)
{
    const int64_t w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return state[0] + w - now_ms;
    case MG_LIMIT_SLIDING_WINDOW:
        return w - smaller(w, sliding_elapsed(rule, state, now_ms));
    case MG_LIMIT_CONCURRENCY:
        return MG_LIMIT_CONCURRENCY_RETRY_MS;
    default:
        return divide_up(rule->burst * w - state[0], rule->quota);
    }
}

int64_t mg_limit_free_at(const struct mg_limit_rule *rule, const int64_t *state)
{
    const int64_t w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return state[0] + w;
    case MG_LIMIT_SLIDING_WINDOW:
        return (state[0] + 2) * w;
    case MG_LIMIT_CONCURRENCY:
        return state[0] > 0 ? MG_CELL_HELD : 0;
    default:
        return state[1] + divide_up(rule->burst * w - state[0], rule->quota);
    }
}
