/* SPDX-License-Identifier: Apache-2.0 */
/* Octets of bodies: eight at a time. */
#include "content.h"

#include "dice.h"

static uint64_t word_at(uint64_t seed, uint64_t index)
{
    return dice_mix(seed ^ index * 0x9e3779b97f4a7c15U);
}

void content_fill(uint64_t seed, uint64_t offset, char *to, size_t count)
{
    uint64_t index = offset / 8;
    const size_t skip = offset % 8;
    if (skip > 0) {
        const uint64_t word = word_at(seed, index++);
        const size_t part = count < 8 - skip ? count : 8 - skip;
        memcpy(to, (const char *)&word + skip, part);
        to += part;
        count -= part;
    }
    for (; count >= 8; count -= 8, to += 8) {
        const uint64_t word = word_at(seed, index++);
        memcpy(to, &word, 8);
    }
    if (count > 0) {
        const uint64_t word = word_at(seed, index);
        memcpy(to, &word, count);
    }
}

size_t content_match(uint64_t seed, uint64_t offset, mg_str bytes)
{
    char expected[4096];
    size_t at = 0;
    while (at < bytes.len) {
        const size_t left = bytes.len - at;
        const size_t count = left < sizeof expected ? left : sizeof expected;
        content_fill(seed, offset + at, expected, count);
        if (memcmp(bytes.ptr + at, expected, count) != 0) {
            break;
        }
        at += count;
    }
    for (; at < bytes.len; at++) {
        content_fill(seed, offset + at, expected, 1);
        if (bytes.ptr[at] != expected[0]) {
            break;
        }
    }
    return at;
}
