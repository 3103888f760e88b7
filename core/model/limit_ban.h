/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bans: a key that is denied too often within a time is refused for a while, longer each time. The
 * arithmetic is pure: state and time in, state and verdict out; times are milliseconds.
 *
 * Denials are counted in a sliding window of two buckets of the length `within`. The first `after`
 * of them begin nothing; the next one begins a ban. The n-th ban in a row lasts
 * min(for x factor^(n-1), max); n is 0 again when `forget` has passed since the last ban's end.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct mg_ban_rule {
    int64_t after;                                /* 0 .. 1,000,000 */
    int64_t within_ms, for_ms, max_ms, forget_ms; /* 1 or more; max_ms >= for_ms */
    int64_t factor_percent;                       /* 100 .. 1,000 */
    bool extend; /* a request during the ban begins its time anew */
};

/* state[0] bucket number, [1] denials in it | those of the one before << 32, [2] end of the last
 * ban, [3] bans in a row */
struct mg_ban_state {
    int64_t words[4];
};

#define MG_BAN_UNTIL 2 /* the word that is the end of the last ban */

/* MG_EINVALID: a number out of its range. */
MG_NODISCARD int mg_ban_rule_check(const struct mg_ban_rule *rule);
/* From four words of shared memory; a state that no rule can have written counts as none. */
void mg_ban_state_read(const struct mg_ban_rule *rule, const int64_t *words,
                       struct mg_ban_state *state);
/* ms that are left of a ban; 0: not banned. */
int64_t mg_ban_left_ms(const struct mg_ban_state *state, int64_t now_ms);
/* The ban goes on from now, where the rule extends. True: the state changed. */
bool mg_ban_extend(const struct mg_ban_rule *rule, struct mg_ban_state *state, int64_t now_ms);
/* Counts a denial. True: a ban begins with it. */
bool mg_ban_deny(const struct mg_ban_rule *rule, struct mg_ban_state *state, int64_t now_ms);
/* When the state is as good as new. */
int64_t mg_ban_free_at(const struct mg_ban_rule *rule, const struct mg_ban_state *state);
