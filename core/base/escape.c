/* SPDX-License-Identifier: Apache-2.0 */
/* JSON escaping: runs of plain ASCII are copied 16 or 8 bytes at a time, the rest goes one by
 * one. */
#include "base/escape.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#ifdef __SSE2__
enum { BLOCK = 16 };

/* Bit i is set when byte i is not plain. */
static unsigned specials(__m128i bytes)
{
    const __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* 0x80 and up are negative */
    const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    const __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    const __m128i all = _mm_or_si128(_mm_or_si128(low, quote), _mm_or_si128(backslash, rubout));
    return (unsigned)_mm_movemask_epi8(all);
}

/* Copies 1 to 15 bytes if all are plain: as two words that overlap, looked at together. */
static bool copy_few(char *out, const char *from, size_t length)
{
    if (length >= 8) {
        const __m128i first = _mm_loadl_epi64((const __m128i *)(const void *)from);
        const __m128i last = _mm_loadl_epi64((const __m128i *)(const void *)(from + length - 8));
        _mm_storel_epi64((__m128i *)(void *)out, first);
        _mm_storel_epi64((__m128i *)(void *)(out + length - 8), last);
        return specials(_mm_unpacklo_epi64(first, last)) == 0;
    }
    if (length >= 4) {
        int first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + length - 4, 4);
        memcpy(out, &first, 4);
        memcpy(out + length - 4, &last, 4);
        const __m128i both = _mm_unpacklo_epi32(_mm_cvtsi32_si128(first), _mm_cvtsi32_si128(last));
        return (specials(both) & 0xff) == 0;
    }
    const unsigned char first = (unsigned char)from[0], middle = (unsigned char)from[length / 2],
                        last = (unsigned char)from[length - 1];
    out[0] = (char)first;
    out[length / 2] = (char)middle;
    out[length - 1] = (char)last;
    return (specials(_mm_cvtsi32_si128(first | middle << 8 | last << 16)) & 7) == 0;
}

/* Copies a block; returns how many bytes at its front are plain. */
static size_t copy_block(char *out, const char *from)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    const unsigned special = specials(bytes);
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
    return special ? (size_t)__builtin_ctz(special) : BLOCK;
}
#else
enum { BLOCK = 8 };

#define EACH_BYTE 0x0101010101010101U
#define HIGH_BITS 0x8080808080808080U

/* Is one of the eight bytes outside 0x20-0x7e, or a quote or a backslash? (May also say so of a
 * byte that follows such a one; never misses one.) */
static bool has_special(uint64_t word)
{
    const uint64_t quote = word ^ (EACH_BYTE * '"');
    const uint64_t backslash = word ^ (EACH_BYTE * '\\');
    const uint64_t below_space = word - EACH_BYTE * 0x20;
    const uint64_t is_delete = word + EACH_BYTE; /* 0x7f becomes 0x80 */
    const uint64_t is_quote = quote - EACH_BYTE;
    const uint64_t is_backslash = backslash - EACH_BYTE;
    return ((word | below_space | is_delete | is_quote | is_backslash) & HIGH_BITS) != 0;
}

/* Copies 1 to 8 bytes if all are plain: as two words that overlap, looked at together. */
static bool copy_few(char *out, const char *from, size_t length)
{
    uint64_t first = 0, last = 0;
    if (length == 8) {
        memcpy(&first, from, 8);
        memcpy(out, &first, 8);
        return !has_special(first);
    }
    if (length >= 4) {
        memcpy(&first, from, 4);
        memcpy(&last, from + length - 4, 4);
        memcpy(out, &first, 4);
        memcpy(out + length - 4, &last, 4);
        return !has_special(first | last << 32);
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_plain((unsigned char)from[i])) {
            return false;
        }
        out[i] = from[i];
    }
    return true;
}

static size_t copy_block(char *out, const char *from)
{
    size_t plain = 0;
    if (copy_few(out, from, BLOCK)) {
        return BLOCK;
    }
    for (; plain < BLOCK && is_plain((unsigned char)from[plain]); plain++) {
        out[plain] = from[plain];
    }
    return plain;
}
#endif

bool mg_escape_copy_plain(char *out, mg_str text)
{
    size_t at = 0;
    if (text.len < BLOCK) {
        return text.len == 0 || copy_few(out, text.ptr, text.len);
    }
    for (; text.len - at > BLOCK; at += BLOCK) {
        if (copy_block(out + at, text.ptr + at) < BLOCK) {
            return false;
        }
    }
    at = text.len - BLOCK; /* the last block overlaps the one before */
    return copy_block(out + at, text.ptr + at) == BLOCK;
}

#ifdef __SSE2__
static bool copy_printable_block(char *out, const char *from)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);
    const __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* 0x80 and up are negative */
    const __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    _mm_storeu_si128((__m128i *)(void *)out, bytes);
    return _mm_movemask_epi8(_mm_or_si128(low, rubout)) == 0;
}
#else
static bool copy_printable_block(char *out, const char *from)
{
    for (size_t i = 0; i < BLOCK; i++) {
        const unsigned char c = (unsigned char)from[i];
        if (c < 0x20 || c >= 0x7f) {
            return false;
        }
        out[i] = from[i];
    }
    return true;
}
#endif

bool mg_escape_copy_printable(char *out, mg_str text)
{
    size_t at = 0;
    for (; text.len - at >= BLOCK; at += BLOCK) {
        if (!copy_printable_block(out + at, text.ptr + at)) {
            return false;
        }
    }
    if (at > 0) { /* the last block overlaps the one before */
        at = text.len - BLOCK;
        return copy_printable_block(out + at, text.ptr + at);
    }
    for (; at < text.len; at++) {
        const unsigned char c = (unsigned char)text.ptr[at];
        if (c < 0x20 || c >= 0x7f) {
            return false;
        }
        out[at] = text.ptr[at];
    }
    return true;
}

/* Copies the plain bytes at the front of text; returns how many. */
static size_t copy_plain(char *out, size_t room, mg_str text)
{
    const size_t most = text.len < room ? text.len : room;
    size_t at = 0;
    if (most == 0) { /* NULL has no + 0 */
        return 0;
    }
    for (; most - at >= BLOCK; at += BLOCK) {
        const size_t plain = copy_block(out + at, text.ptr + at);
        if (plain < BLOCK) {
            return at + plain;
        }
    }
    if (at == most || copy_few(out + at, text.ptr + at, most - at)) {
        return most;
    }
    while (at < most && is_plain((unsigned char)text.ptr[at])) {
        out[at] = text.ptr[at];
        at++;
    }
    return at;
}

static bool is_continuation(mg_str text, size_t at)
{
    return at < text.len && ((unsigned char)text.ptr[at] & 0xc0) == 0x80;
}

size_t mg_utf8_length(mg_str text)
{
    const unsigned char first = (unsigned char)text.ptr[0];
    const unsigned char second = text.len > 1 ? (unsigned char)text.ptr[1] : 0;
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4 || !is_continuation(text, 1)) {
        return 0;
    }
    if (first < 0xe0) {
        return 2;
    }
    /* overlong forms, surrogates, beyond U+10FFFF */
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
        return 0;
    }
    if (!is_continuation(text, 2)) {
        return 0;
    }
    if (first < 0xf0) {
        return 3;
    }
    return is_continuation(text, 3) ? 4 : 0;
}

static size_t unicode_escape(char *out, unsigned code)
{
    static const char hex[] = "0123456789abcdef";
    memcpy(out, "\\u00", 4);
    out[4] = hex[code >> 4 & 15];
    out[5] = hex[code & 15];
    return 6;
}

static size_t escape_ascii(char *out, char c)
{
    static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff"; /* pairs: character, its letter */
    for (size_t i = 0; i + 1 < sizeof letters; i += 2) {
        if (letters[i] == c) {
            out[0] = '\\';
            out[1] = letters[i + 1];
            return 2;
        }
    }
    return unicode_escape(out, (unsigned char)c);
}

/* One character that is not plain, written to out (6 bytes at most); *length: bytes of text it
 * took. */
static size_t escape_one(char *out, mg_str text, size_t *length)
{
    *length = mg_utf8_length(text);
    if (*length == 0) {
        *length = 1;
        memcpy(out, "\xef\xbf\xbd", 3);
        return 3;
    }
    if (*length == 1) {
        return escape_ascii(out, text.ptr[0]);
    }
    const unsigned char second = (unsigned char)text.ptr[1];
    if ((unsigned char)text.ptr[0] == 0xc2 && second < 0xa0) {
        return unicode_escape(out, second);
    }
    memcpy(out, text.ptr, *length);
    return *length;
}

/* From byte `at` on, where something is not plain; as many bytes are written. Not inline: most
 * texts do not get here. */
static __attribute__((noinline)) size_t escape_rest(char *out, size_t room, mg_str text, size_t at,
                                                    size_t *taken)
{
    size_t written = at;
    while (at < text.len) {
        char place[MG_ESCAPE_JSON_GROWTH];
        size_t length;
        const size_t bytes = escape_one(place, mg_str_slice(text, at, text.len), &length);
        if (bytes > room - written) {
            break;
        }
        memcpy(out + written, place, bytes);
        written += bytes;
        at += length;
        const size_t plain =
            copy_plain(out + written, room - written, mg_str_slice(text, at, text.len));
        written += plain;
        at += plain;
    }
    *taken = at;
    return written;
}

size_t mg_escape_json(char *out, size_t room, mg_str text, size_t *taken)
{
    const size_t plain = copy_plain(out, room, text);
    if (plain < text.len && plain < room) {
        return escape_rest(out, room, text, plain, taken);
    }
    *taken = plain;
    return plain;
}
