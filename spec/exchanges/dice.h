/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers that anybody who knows the seed, the number of an exchange and the purpose makes
 * again (splitmix64).
 *
 *     struct dice dice = dice_for(seed, number, DICE_REQUEST);
 *     uint32_t depth = dice_between(&dice, 1, 8);
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

/* What the numbers are for, so that one use does not move another. */
enum dice_purpose {
    DICE_REQUEST = 1,
    DICE_RESPONSE,
    DICE_SESSION,
    DICE_CLIENT_CUTS,
    DICE_UPSTREAM_CUTS,
};

uint64_t dice_mix(uint64_t word);
struct dice dice_for(uint64_t seed, uint64_t number, enum dice_purpose purpose);
uint64_t dice_roll(struct dice *dice);
/* Below n > 0. */
uint32_t dice_below(struct dice *dice, uint32_t n);
/* Both bounds are possible. */
uint32_t dice_between(struct dice *dice, uint32_t low, uint32_t high);
bool dice_chance(struct dice *dice, uint32_t per_mille);
/* Log-uniform: first how many bits, up to the given number, then a number of so many bits. */
uint64_t dice_bits(struct dice *dice, uint32_t most_bits);
