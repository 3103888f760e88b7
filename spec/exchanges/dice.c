/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers. */
#include "dice.h"

#define GOLDEN 0x9e3779b97f4a7c15U

uint64_t dice_mix(uint64_t word)
{
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
    return word ^ (word >> 31);
}

struct dice dice_for(uint64_t seed, uint64_t number, enum dice_purpose purpose)
{
    return (struct dice){dice_mix(dice_mix(seed + GOLDEN * (number + 1)) + purpose)};
}

uint64_t dice_roll(struct dice *dice)
{
    dice->state += GOLDEN;
    return dice_mix(dice->state);
}

uint32_t dice_below(struct dice *dice, uint32_t n)
{
    return (uint32_t)((dice_roll(dice) >> 32) * n >> 32);
}

uint32_t dice_between(struct dice *dice, uint32_t low, uint32_t high)
{
    return low + dice_below(dice, high - low + 1);
}

bool dice_chance(struct dice *dice, uint32_t per_mille)
{
    return dice_below(dice, 1000) < per_mille;
}

uint64_t dice_bits(struct dice *dice, uint32_t most_bits)
{
    const uint32_t bits = dice_below(dice, most_bits + 1);
    return bits == 0 ? 0 : (UINT64_C(1) << (bits - 1)) | (dice_roll(dice) >> 1 >> (64 - bits));
}
