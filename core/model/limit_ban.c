/* SPDX-License-Identifier: Apache-2.0 */
#include "model/limit_ban.h"

#include <string.h>

#define AFTER_MAX 1000000
#define FACTOR_MAX 1000                        /* percent */
#define TIME_MAX (INT64_C(366) * 86400 * 1000) /* ms */
#define TIME_END (INT64_C(1) << 60)            /* of any time, in ms */
#define LOW_HALF INT64_C(0xffffffff)
#define COUNT_MAX (AFTER_MAX + 2)

enum {
    BUCKET, /* number of the bucket that denials are counted in */
    COUNTS, /* in it, and << 32 in the one before */
    UNTIL = MG_BAN_UNTIL,
    IN_A_ROW
};

static bool is_time(int64_t ms)
{
    return ms >= 1 && ms <= TIME_MAX;
}

int mg_ban_rule_check(const struct mg_ban_rule *rule)
{
    const bool ok = rule->after >= 0 && rule->after <= AFTER_MAX && is_time(rule->within_ms) &&
                    is_time(rule->for_ms) && is_time(rule->max_ms) && is_time(rule->forget_ms) &&
                    rule->max_ms >= rule->for_ms && rule->factor_percent >= 100 &&
                    rule->factor_percent <= FACTOR_MAX;
    return ok ? 0 : MG_EINVALID;
}

/* Could the state have come from here? See limit_rule.c. */
static bool is_sound(const struct mg_ban_rule *rule, const struct mg_ban_state *state)
{
    int64_t bucket_ms;
    return !__builtin_mul_overflow(state->words[BUCKET] + 2, rule->within_ms, &bucket_ms) &&
           state->words[BUCKET] >= 0 && bucket_ms < TIME_END && state->words[COUNTS] >= 0 &&
           (state->words[COUNTS] & LOW_HALF) <= COUNT_MAX &&
           state->words[COUNTS] >> 32 <= COUNT_MAX && state->words[UNTIL] >= 0 &&
           state->words[UNTIL] < TIME_END && state->words[IN_A_ROW] >= 0 &&
           state->words[IN_A_ROW] < TIME_END;
}

void mg_ban_state_read(const struct mg_ban_rule *rule, const int64_t *words,
                       struct mg_ban_state *state)
{
    memcpy(state->words, words, sizeof state->words);
    if (!is_sound(rule, state)) {
        *state = (struct mg_ban_state){0};
    }
}

/* Length of the n-th ban in a row. */
static int64_t length_of(const struct mg_ban_rule *rule, int64_t n)
{
    int64_t length = rule->for_ms;
    for (int64_t i = 1; i < n && length < rule->max_ms && rule->factor_percent > 100; i++) {
        length = length * rule->factor_percent / 100;
    }
    return length < rule->max_ms ? length : rule->max_ms;
}

int64_t mg_ban_left_ms(const struct mg_ban_state *state, int64_t now_ms)
{
    return state->words[UNTIL] > now_ms ? state->words[UNTIL] - now_ms : 0;
}

bool mg_ban_extend(const struct mg_ban_rule *rule, struct mg_ban_state *state, int64_t now_ms)
{
    if (!rule->extend || mg_ban_left_ms(state, now_ms) == 0) {
        return false;
    }
    state->words[UNTIL] = now_ms + length_of(rule, state->words[IN_A_ROW]);
    return true;
}

static void begin(const struct mg_ban_rule *rule, struct mg_ban_state *state, int64_t now_ms)
{
    const bool forgotten = now_ms >= state->words[UNTIL] + rule->forget_ms;
    state->words[IN_A_ROW] = forgotten ? 1 : state->words[IN_A_ROW] + 1;
    state->words[UNTIL] = now_ms + length_of(rule, state->words[IN_A_ROW]);
    state->words[COUNTS] = 0;
}

bool mg_ban_deny(const struct mg_ban_rule *rule, struct mg_ban_state *state, int64_t now_ms)
{
    const int64_t bucket = now_ms / rule->within_ms;
    int64_t current = state->words[COUNTS] & LOW_HALF, before = state->words[COUNTS] >> 32;
    if (bucket > state->words[BUCKET]) {
        before = bucket == state->words[BUCKET] + 1 ? current : 0;
        current = 0;
        state->words[BUCKET] = bucket;
    }
    current += current < COUNT_MAX;
    state->words[COUNTS] = before << 32 | current;
    const int64_t passed = now_ms - state->words[BUCKET] * rule->within_ms;
    const int64_t left = passed > 0 ? rule->within_ms - passed : rule->within_ms;
    if (before * left + current * rule->within_ms <= rule->after * rule->within_ms) {
        return false;
    }
    begin(rule, state, now_ms);
    return true;
}

int64_t mg_ban_free_at(const struct mg_ban_rule *rule, const struct mg_ban_state *state)
{
    const int64_t counted_until = (state->words[BUCKET] + 2) * rule->within_ms;
    const int64_t known_until =
        state->words[IN_A_ROW] > 0 ? state->words[UNTIL] + rule->forget_ms : 0;
    return counted_until > known_until ? counted_until : known_until;
}
