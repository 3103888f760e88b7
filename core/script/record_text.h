/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing one log line into a room of fixed size. What does not fit sets `full` and writes
 * nothing, so callers check once, at the end. Texts longer than `cap` bytes are cut, which sets
 * `cut`.
 *
 *     struct mg_record_text text = {.at = room, .end = room + bytes, .cap = SIZE_MAX};
 *     mg_record_put(&text, MG_STR("\"status\":"));
 *     mg_record_put_u64(&text, 200);
 */
#pragma once

#include "base/str.h"

struct mg_record_text {
    char *at, *end;
    size_t cap; /* bytes of one value */
    bool cut, full;
};

static inline void mg_record_put(struct mg_record_text *text, mg_str bytes)
{
    if (bytes.len > (size_t)(text->end - text->at)) {
        text->full = true;
        return;
    }
    if (bytes.len > 0) {
        memcpy(text->at, bytes.ptr, bytes.len);
    }
    text->at += bytes.len;
}

enum { MG_RECORD_PADDING = 32 };

/* The same for bytes of ours at which MG_RECORD_PADDING can be read, however few they are: copying
 * that many takes fewer instructions than looking at the length. */
static inline void mg_record_put_padded(struct mg_record_text *text, const char *bytes, size_t len)
{
    if (len > MG_RECORD_PADDING || text->end - text->at < MG_RECORD_PADDING) {
        mg_record_put(text, mg_str_make(bytes, len));
        return;
    }
    memcpy(text->at, bytes, MG_RECORD_PADDING);
    text->at += len;
}

static inline void mg_record_put_char(struct mg_record_text *text, char c)
{
    if (text->at == text->end) {
        text->full = true;
        return;
    }
    *text->at++ = c;
}

enum { MG_RECORD_DIGITS = 20 }; /* of a number, at most */

/* Of each number under 1,000: "017 ", and "17", a zero and the length, 2. */
extern const char mg_record_padded[4 * 1000 + 1], mg_record_unpadded[4 * 1000 + 1];
/* Of a million and more. */
char *mg_record_long_digits(char *at, uint64_t number);

/* Of numbers under 1,000. */
static inline char *mg_record_few_digits(char *at, unsigned number)
{
    const char *digits = mg_record_unpadded + number * 4;
    memcpy(at, digits, 4);
    return at + digits[3];
}

/* Without a look at the room: digits, and milliseconds as below, which take four bytes more.
 * Return the end, up to which MG_RECORD_DIGITS (and four) bytes may have been written. */
static inline char *mg_record_digits(char *at, uint64_t number)
{
    if (number < 1000) {
        return mg_record_few_digits(at, (unsigned)number);
    }
    if (number < 1000000) {
        const unsigned high = (unsigned)number / 1000, low = (unsigned)number % 1000;
        at = mg_record_few_digits(at, high);
        memcpy(at, mg_record_padded + low * 4, 4);
        return at + 3;
    }
    return mg_record_long_digits(at, number);
}

static inline char *mg_record_ms(char *at, uint64_t us)
{
    at = mg_record_digits(at, us / 1000);
    at[0] = '.';
    memcpy(at + 1, mg_record_padded + us % 1000 * 4, 4);
    return at + 4;
}

void mg_record_put_u64(struct mg_record_text *text, uint64_t number);
/* 16 hexadecimal digits; the first without a look at the room. */
char *mg_record_hex(char *at, uint64_t number);
void mg_record_put_hex(struct mg_record_text *text, uint64_t number);
/* Microseconds as milliseconds with three decimals: 12.345 */
void mg_record_put_ms(struct mg_record_text *text, uint64_t us);
/* A JSON string with its quotes; see base/escape.h. */
void mg_record_put_json(struct mg_record_text *text, mg_str value);
/* Bytes under 0x20, 0x7f-0xff, '"' and '\' as \xHH; "-" for an empty text. */
void mg_record_put_plain(struct mg_record_text *text, mg_str value);
/* 2026-11-24T03:40:00.123Z (RFC 3339) */
void mg_record_put_ts(struct mg_record_text *text, int64_t wall_ms);
/* [24/Nov/2026:03:40:00 +0000], as Apache's %t. */
void mg_record_put_clf_time(struct mg_record_text *text, int64_t wall_ms);
