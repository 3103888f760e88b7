/* SPDX-License-Identifier: Apache-2.0 */
/* Comparisons and small scans over borrowed bytes. */
#include "base/str.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static uint64_t load_8(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Eight bytes with small letters for capital ones. */
static uint64_t lower_8(uint64_t word)
{
    const uint64_t each = 0x0101010101010101U, high = each * 0x80;
    const uint64_t low_bits = word & ~high; /* so that no sum reaches the next byte */
    const uint64_t from_a = low_bits + each * (0x80 - 'A');
    const uint64_t beyond_z = low_bits + each * (0x7f - 'Z');
    return word | ((from_a ^ beyond_z) & ~word & high) >> 2;
}

static bool same_8(const char *a, const char *b)
{
    return lower_8(load_8(a)) == lower_8(load_8(b));
}

bool mg_str_iequal(mg_str a, mg_str b)
{
    if (a.len != b.len) {
        return false;
    }
    if (a.len >= 8) { /* the last word overlaps the one before it */
        for (size_t i = 0; i + 8 < a.len; i += 8) {
            if (!same_8(a.ptr + i, b.ptr + i)) {
                return false;
            }
        }
        return same_8(a.ptr + a.len - 8, b.ptr + b.len - 8);
    }
    for (size_t i = 0; i < a.len; i++) {
        if (mg_char_lower(a.ptr[i]) != mg_char_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

static char fold_field(char c)
{
    return c == '_' ? '-' : mg_char_lower(c);
}

bool mg_str_field_equal(mg_str a, mg_str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (fold_field(a.ptr[i]) != fold_field(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool mg_str_starts(mg_str s, mg_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool mg_str_ends(mg_str s, mg_str suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

int mg_str_compare(mg_str a, mg_str b)
{
    const size_t common = a.len < b.len ? a.len : b.len;
    const int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    if (order != 0 || a.len == b.len) {
        return order;
    }
    return a.len < b.len ? -1 : 1;
}

ptrdiff_t mg_str_find(mg_str s, char c, size_t from)
{
    if (from >= s.len) {
        return -1;
    }
    const char *at = memchr(s.ptr + from, c, s.len - from);
    return at ? at - s.ptr : -1;
}

#ifdef __SSE2__

static bool has_mark(__m128i bytes, const char marks[5])
{
    const __m128i first = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(marks[0]));
    const __m128i second = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(marks[1]));
    const __m128i third = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(marks[2]));
    const __m128i fourth = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(marks[3]));
    return _mm_movemask_epi8(
               _mm_or_si128(_mm_or_si128(first, second), _mm_or_si128(third, fourth))) != 0;
}

enum { MARK_BLOCK = 16 };

static bool has_mark_in_block(const char *bytes, const char marks[5])
{
    return has_mark(_mm_loadu_si128((const __m128i *)(const void *)bytes), marks);
}

/* 8 to 15 bytes: two words that overlap. */
static bool has_mark_in_few(mg_str s, const char marks[5])
{
    const __m128i first = _mm_loadl_epi64((const __m128i *)(const void *)s.ptr);
    const __m128i last = _mm_loadl_epi64((const __m128i *)(const void *)(s.ptr + s.len - 8));
    return has_mark(_mm_unpacklo_epi64(first, last), marks);
}

#else

enum { MARK_BLOCK = 8 };

/* The high bit of some byte is set exactly where one of the word's is c. */
static uint64_t find_in_8(uint64_t word, char c)
{
    const uint64_t each = 0x0101010101010101U;
    const uint64_t differs = word ^ each * (unsigned char)c;
    return (differs - each) & ~differs;
}

static bool has_mark_in_block(const char *bytes, const char marks[5])
{
    const uint64_t word = load_8(bytes), high = 0x8080808080808080U;
    return ((find_in_8(word, marks[0]) | find_in_8(word, marks[1]) | find_in_8(word, marks[2]) |
             find_in_8(word, marks[3])) &
            high) != 0;
}

static bool has_mark_in_few(mg_str s, const char marks[5])
{
    return has_mark_in_block(s.ptr, marks);
}

#endif

bool mg_str_has_one_of(mg_str s, const char marks[5])
{
    if (s.len >= MARK_BLOCK) {
        for (size_t i = 0; i + MARK_BLOCK < s.len; i += MARK_BLOCK) {
            if (has_mark_in_block(s.ptr + i, marks)) {
                return true;
            }
        }
        /* the last block may overlap the one before it */
        return has_mark_in_block(s.ptr + s.len - MARK_BLOCK, marks);
    }
    if (s.len >= 8) {
        return has_mark_in_few(s, marks);
    }
    for (size_t i = 0; i < s.len; i++) {
        const char c = s.ptr[i];
        if (c == marks[0] || c == marks[1] || c == marks[2] || c == marks[3]) {
            return true;
        }
    }
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

mg_str mg_str_trim(mg_str s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool mg_str_next_element(mg_str *rest, mg_str *element)
{
    while (rest->len > 0) {
        const ptrdiff_t comma = mg_str_find(*rest, ',', 0);
        const size_t end = comma < 0 ? rest->len : (size_t)comma;
        *element = mg_str_trim(mg_str_slice(*rest, 0, end));
        *rest = mg_str_slice(*rest, comma < 0 ? end : end + 1, rest->len);
        if (element->len > 0) {
            return true;
        }
    }
    return false;
}

bool mg_str_to_u64(mg_str s, uint64_t *value)
{
    if (s.len == 0 || s.len > 19) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9') {
            return false;
        }
        sum = sum * 10 + (uint64_t)(s.ptr[i] - '0'); /* 19 digits fit */
    }
    *value = sum;
    return true;
}
