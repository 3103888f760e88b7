/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of rate limits. No product exceeds MG_LIMIT_PRODUCT_MAX times the overflow factor
 * times three, which is below 2^57. */
#include "model/limit_rule.h"

#include <string.h>

static const char *const algorithm_names[MG_LIMIT_ALGORITHMS] = {
    [MG_LIMIT_FIXED_WINDOW] = "fixed-window", [MG_LIMIT_SLIDING_WINDOW] = "sliding-window",
    [MG_LIMIT_TOKEN_BUCKET] = "token-bucket", [MG_LIMIT_GCRA] = "gcra",
    [MG_LIMIT_CONCURRENCY] = "concurrency",   [MG_LIMIT_LEAKY_BUCKET] = "leaky-bucket",
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

/* Has it a burst? */
static bool is_bucket(const struct mg_limit_rule *rule)
{
    return rule->algorithm == MG_LIMIT_TOKEN_BUCKET || rule->algorithm == MG_LIMIT_GCRA ||
           rule->algorithm == MG_LIMIT_LEAKY_BUCKET;
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

static int64_t most_units(const struct mg_limit_rule *rule)
{
    return is_bucket(rule) ? larger(rule->quota, rule->burst) : rule->quota;
}

int mg_limit_rule_check(const struct mg_limit_rule *rule)
{
    if ((unsigned)rule->algorithm >= MG_LIMIT_ALGORITHMS ||
        (unsigned)rule->calendar > MG_CALENDAR_YEAR || rule->quota < 1 ||
        rule->quota > MG_LIMIT_QUOTA_MAX) {
        return MG_EINVALID;
    }
    if (rule->algorithm == MG_LIMIT_CONCURRENCY ||
        (rule->algorithm == MG_LIMIT_FIXED_WINDOW && rule->calendar != MG_CALENDAR_NONE)) {
        return 0;
    }
    if (rule->calendar != MG_CALENDAR_NONE || rule->window_ms < 1 ||
        rule->window_ms > INT64_C(366) * 86400 * 1000) {
        return MG_EINVALID;
    }
    if (rule->algorithm == MG_LIMIT_FIXED_WINDOW) {
        return 0;
    }
    if ((is_bucket(rule) && (rule->burst < 1 || rule->burst > MG_LIMIT_QUOTA_MAX)) ||
        rule->max_delay_ms < 0 || rule->max_delay_ms > MG_LIMIT_DELAY_MAX_MS) {
        return MG_EINVALID;
    }
    return most_units(rule) > MG_LIMIT_PRODUCT_MAX / rule->window_ms ? MG_EINVALID : 0;
}

struct mg_limit_rule mg_limit_rule_with(const struct mg_limit_rule *rule, int64_t quota)
{
    struct mg_limit_rule with = *rule;
    with.quota = quota;
    if (with.algorithm == MG_LIMIT_TOKEN_BUCKET && rule->burst == rule->quota) {
        with.burst = quota;
    }
    if (with.algorithm != MG_LIMIT_FIXED_WINDOW && with.algorithm != MG_LIMIT_CONCURRENCY) {
        const int64_t most = MG_LIMIT_PRODUCT_MAX / with.window_ms;
        with.quota = smaller(with.quota, most);
        with.burst = smaller(with.burst, most);
    }
    return with;
}

/* --- fixed window: start, count ------------------------------------------------------------- */

/* The window that holds now_ms and begins by the clock. */
static struct mg_period window_at(const struct mg_limit_rule *rule, int64_t now_ms)
{
    if (rule->calendar != MG_CALENDAR_NONE) {
        return mg_calendar_period(rule->calendar, now_ms);
    }
    const int64_t begin = rule->align_first ? now_ms : now_ms - now_ms % rule->window_ms;
    return (struct mg_period){.begin_ms = begin, .end_ms = begin + rule->window_ms};
}

static int64_t fixed_end(const struct mg_limit_rule *rule, int64_t start)
{
    return rule->calendar != MG_CALENDAR_NONE ? mg_calendar_period(rule->calendar, start).end_ms
                                              : start + rule->window_ms;
}

static void fixed_look(const struct mg_limit_rule *rule, bool is_new, int64_t now, int64_t cost,
                       struct mg_limit_view *view)
{
    int64_t *start = &view->state[0], *used = &view->state[1];
    const int64_t begin = window_at(rule, now).begin_ms;
    const bool over =
        rule->align_first ? *used == 0 || now >= fixed_end(rule, *start) : begin > *start;
    if (is_new || over) {
        *start = begin;
        *used = 0;
    }
    view->ok = *used + cost <= rule->quota;
    view->retry_ms = fixed_end(rule, *start) - now;
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

/* --- leaky bucket: backlog x w, time -------------------------------------------------------- */

static void leaky_look(const struct mg_limit_rule *rule, bool is_new, int64_t now,
                       struct mg_limit_view *view)
{
    int64_t *backlog = &view->state[0], *time = &view->state[1];
    if (is_new) {
        *backlog = 0;
    } else if (now > *time) {
        const int64_t elapsed = smaller(now - *time, divide_up(*backlog, rule->quota));
        *backlog = larger(0, *backlog - elapsed * rule->quota);
    }
    *time = is_new ? now : larger(*time, now);
    const int64_t most = rule->burst * rule->window_ms;
    view->delay_ms = divide_up(*backlog, rule->quota);
    view->ok = view->delay_ms <= rule->max_delay_ms && *backlog <= most;
    view->retry_ms =
        larger(view->delay_ms - rule->max_delay_ms, divide_up(*backlog - most, rule->quota));
}

/* --- all ------------------------------------------------------------------------------------ */

static void look(const struct mg_limit_rule *rule, bool is_new, int64_t now_ms, int64_t cost,
                 struct mg_limit_view *view)
{
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        fixed_look(rule, is_new, now_ms, cost, view);
        break;
    case MG_LIMIT_SLIDING_WINDOW:
        sliding_look(rule, is_new, now_ms, cost, view);
        break;
    case MG_LIMIT_CONCURRENCY:
        view->ok = view->state[0] + cost <= rule->quota;
        view->retry_ms = MG_LIMIT_CONCURRENCY_RETRY_MS;
        break;
    case MG_LIMIT_LEAKY_BUCKET:
        leaky_look(rule, is_new, now_ms, view);
        break;
    default:
        bucket_look(rule, is_new, now_ms, cost, view);
        break;
    }
}

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
    case MG_LIMIT_FIXED_WINDOW:
    case MG_LIMIT_LEAKY_BUCKET:
        return state[0] >= 0 && state[1] >= 0 && is_small(state[0]) && is_small(state[1]);
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
    if (rule->quota > 0) {
        look(rule, !state, now_ms, cost, view);
    } else { /* what denies all still drains and refills somehow */
        struct mg_limit_rule with = *rule;
        with.quota = 1;
        look(&with, !state, now_ms, cost, view);
    }
    view->too_big = cost > (is_bucket(rule) ? rule->burst : rule->quota) || rule->quota == 0;
    view->ok &= !view->too_big;
    if (view->ok || view->too_big) {
        view->retry_ms = 0;
    }
    if (!view->ok) {
        view->delay_ms = 0;
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
    case MG_LIMIT_LEAKY_BUCKET:
        view->state[0] += cost * rule->window_ms;
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
    case MG_LIMIT_LEAKY_BUCKET:
        return state[0] > rule->burst * w ? 0 : (rule->burst * w - state[0]) / w + 1;
    default:
        return smaller(state[0], rule->burst * w) / w;
    }
}

int64_t mg_limit_reset_ms(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms)
{
    const int64_t w = rule->window_ms, quota = larger(1, rule->quota);
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return fixed_end(rule, state[0]) - now_ms;
    case MG_LIMIT_SLIDING_WINDOW:
        return w - smaller(w, sliding_elapsed(rule, state, now_ms));
    case MG_LIMIT_CONCURRENCY:
        return MG_LIMIT_CONCURRENCY_RETRY_MS;
    case MG_LIMIT_LEAKY_BUCKET:
        return divide_up(state[0], quota);
    default:
        return larger(0, divide_up(rule->burst * w - state[0], quota));
    }
}

int64_t mg_limit_free_at(const struct mg_limit_rule *rule, const int64_t *state)
{
    const int64_t w = rule->window_ms, quota = larger(1, rule->quota);
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return fixed_end(rule, state[0]);
    case MG_LIMIT_SLIDING_WINDOW:
        return (state[0] + 2) * w;
    case MG_LIMIT_CONCURRENCY:
        return state[0] > 0 ? INT64_MAX : 0;
    case MG_LIMIT_LEAKY_BUCKET:
        return state[1] + divide_up(state[0], quota);
    default:
        return state[1] + divide_up(rule->burst * w - state[0], quota);
    }
}

/* --- what was used -------------------------------------------------------------------------- */

int64_t mg_limit_used(const struct mg_limit_rule *rule, const int64_t *state, int64_t now_ms)
{
    struct mg_limit_view view;
    mg_limit_look(rule, state, now_ms, 0, &view);
    const int64_t w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return view.state[1];
    case MG_LIMIT_SLIDING_WINDOW: {
        const int64_t left = w - smaller(w, sliding_elapsed(rule, view.state, now_ms));
        return divide_up(view.state[2] * left, w) + view.state[1];
    }
    case MG_LIMIT_CONCURRENCY:
        return view.state[0];
    case MG_LIMIT_LEAKY_BUCKET:
        return divide_up(view.state[0], w);
    default:
        return divide_up(larger(0, rule->burst * w - view.state[0]), w);
    }
}

void mg_limit_add_up_to_full(const struct mg_limit_rule *rule, int64_t *state, int64_t now_ms,
                             int64_t units)
{
    const int64_t most = is_bucket(rule) ? rule->burst : rule->quota;
    const int64_t room = larger(0, most - mg_limit_used(rule, state, now_ms));
    const int64_t added = smaller(units, room) * (is_bucket(rule) ? rule->window_ms : 1);
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
    case MG_LIMIT_SLIDING_WINDOW:
        state[1] += added;
        break;
    case MG_LIMIT_CONCURRENCY:
    case MG_LIMIT_LEAKY_BUCKET:
        state[0] += added;
        break;
    default:
        state[0] -= added;
        break;
    }
}

void mg_limit_charge_denied(const struct mg_limit_rule *rule, int64_t *state, int64_t cost)
{
    const int64_t w = rule->window_ms;
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
    case MG_LIMIT_SLIDING_WINDOW:
        state[1] = larger(state[1], smaller(rule->quota, state[1] + cost));
        break;
    case MG_LIMIT_CONCURRENCY:
        break;
    case MG_LIMIT_LEAKY_BUCKET:
        state[0] = larger(state[0], smaller(rule->burst * w, state[0] + cost * w));
        break;
    default:
        state[0] = smaller(state[0], larger(0, state[0] - cost * w));
        break;
    }
}

int64_t mg_limit_charged_in(const struct mg_limit_rule *rule, const int64_t *state)
{
    return rule->algorithm == MG_LIMIT_FIXED_WINDOW || rule->algorithm == MG_LIMIT_SLIDING_WINDOW
               ? state[0]
               : 0;
}

static bool amend_count(int64_t *count, int64_t units)
{
    *count = larger(0, *count + units);
    return true;
}

bool mg_limit_amend(const struct mg_limit_rule *rule, int64_t *state, int64_t charged_in,
                    int64_t units)
{
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW:
        return state[0] == charged_in && amend_count(&state[1], units);
    case MG_LIMIT_SLIDING_WINDOW:
        if (state[0] == charged_in) {
            return amend_count(&state[1], units);
        }
        return state[0] == charged_in + 1 && amend_count(&state[2], units);
    case MG_LIMIT_CONCURRENCY:
        return false;
    case MG_LIMIT_LEAKY_BUCKET:
        return amend_count(&state[0], units * rule->window_ms);
    default:
        state[0] = smaller(rule->burst * rule->window_ms, state[0] - units * rule->window_ms);
        return true;
    }
}

/* --- a host's part -------------------------------------------------------------------------- */

struct mg_limit_rule mg_limit_part_rule(const struct mg_limit_rule *rule, uint32_t parts)
{
    struct mg_limit_rule part = *rule;
    part.quota = rule->quota > 0 ? larger(1, rule->quota / parts) : 0;
    part.burst = is_bucket(rule) ? larger(1, rule->burst / parts) : rule->burst;
    return part;
}

void mg_limit_part_of(const struct mg_limit_rule *rule, const int64_t *state, int64_t reset_ms,
                      uint32_t parts, const struct mg_limit_rule *part, int64_t now_ms,
                      int64_t *out)
{
    memset(out, 0, 4 * sizeof *out);
    switch (rule->algorithm) {
    case MG_LIMIT_FIXED_WINDOW: /* from the first request: as long ago as by the other clock */
        out[0] = rule->align_first ? now_ms + reset_ms - rule->window_ms : state[0];
        out[1] = state[1] / parts;
        break;
    case MG_LIMIT_SLIDING_WINDOW:
        out[0] = state[0];
        out[1] = state[1] / parts;
        out[2] = state[2] / parts;
        break;
    case MG_LIMIT_LEAKY_BUCKET:
        out[0] = state[0] / parts;
        out[1] = now_ms;
        break;
    default:
        out[0] = part->burst * part->window_ms -
                 larger(0, rule->burst * rule->window_ms - state[0]) / parts;
        out[1] = now_ms;
        break;
    }
}
