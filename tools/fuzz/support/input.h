/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a fuzzer's input apart: bytes and texts from the front, zeros and empty texts behind its
 * end.
 *
 *     struct input input = {.at = data, .end = data + size};
 *     while (input_left(&input)) { unsigned choice = input_byte(&input) % 4; ... }
 */
#pragma once

#include "base/str.h"

struct input {
    const uint8_t *at, *end;
};

static inline bool input_left(const struct input *input)
{
    return input->at < input->end;
}

static inline unsigned input_byte(struct input *input)
{
    return input_left(input) ? *input->at++ : 0;
}

/* Up to that many. */
static inline mg_str input_bytes(struct input *input, size_t count)
{
    const size_t left = (size_t)(input->end - input->at);
    const mg_str bytes = mg_str_make((const char *)input->at, count < left ? count : left);
    input->at += bytes.len;
    return bytes;
}

/* Up to the next such byte, which is taken too; to the end where there is none. */
static inline mg_str input_until(struct input *input, uint8_t mark)
{
    const uint8_t *begin = input->at;
    while (input_left(input) && *input->at != mark) {
        input->at++;
    }
    const mg_str bytes = mg_str_make((const char *)begin, (size_t)(input->at - begin));
    input->at += input_left(input);
    return bytes;
}
