/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header tables. A name is matched to its id by its length and a comparison of whole words. Which
 * ids are there is one word; where one stands is looked for, in a table of some ten fields.
 */
#include "wire/headers.h"

#include "base/err.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { INITIAL_CAPACITY = 16 };

/* --- names --- */

enum { MAX_NAME = 21, MAX_SAME_LENGTH = 6 };

/* 24 bytes each: a place that is found without a multiplication. */
static const char known_names[MG_HEADER_COUNT][MAX_NAME + 3] = {
#define NAME_ENTRY(id, name) [MG_HEADER_##id] = (name),
    MG_HEADER_MAP(NAME_ENTRY)
#undef NAME_ENTRY
};

/* Ids by the length of their name; zero ends a row. The test finds every name through it. */
static const uint8_t ids_by_length[MAX_NAME + 1][MAX_SAME_LENGTH] = {
    [2] = {MG_HEADER_TE},
    [3] = {MG_HEADER_VIA},
    [4] = {MG_HEADER_HOST, MG_HEADER_DATE},
    [5] = {MG_HEADER_RANGE},
    [6] = {MG_HEADER_ACCEPT, MG_HEADER_COOKIE, MG_HEADER_SERVER, MG_HEADER_EXPECT},
    [7] = {MG_HEADER_REFERER, MG_HEADER_UPGRADE, MG_HEADER_TRAILER},
    [8] = {MG_HEADER_LOCATION},
    [9] = {MG_HEADER_X_REAL_IP, MG_HEADER_FORWARDED},
    [10] = {MG_HEADER_USER_AGENT, MG_HEADER_CONNECTION, MG_HEADER_KEEP_ALIVE},
    [11] = {MG_HEADER_RETRY_AFTER, MG_HEADER_TRACEPARENT},
    [12] = {MG_HEADER_CONTENT_TYPE, MG_HEADER_X_REQUEST_ID, MG_HEADER_MAX_FORWARDS},
    [13] = {MG_HEADER_AUTHORIZATION, MG_HEADER_CONTENT_RANGE},
    [14] = {MG_HEADER_CONTENT_LENGTH},
    [15] = {MG_HEADER_X_FORWARDED_FOR},
    [16] = {MG_HEADER_CONTENT_ENCODING, MG_HEADER_X_FORWARDED_HOST, MG_HEADER_X_FORWARDED_PORT,
            MG_HEADER_X_FORWARDED_PATH, MG_HEADER_PROXY_CONNECTION},
    [17] = {MG_HEADER_TRANSFER_ENCODING, MG_HEADER_X_FORWARDED_PROTO, MG_HEADER_SEC_WEBSOCKET_KEY,
            MG_HEADER_X_RATELIMIT_LIMIT, MG_HEADER_X_RATELIMIT_RESET},
    [18] = {MG_HEADER_X_FORWARDED_PREFIX, MG_HEADER_PROXY_AUTHENTICATE},
    [19] = {MG_HEADER_PROXY_AUTHORIZATION},
    [20] = {MG_HEADER_SEC_WEBSOCKET_ACCEPT},
    [21] = {MG_HEADER_X_RATELIMIT_REMAINING},
};

/* Known names have lower-case letters (bit 0x40 set) and '-' (not set) only; so half of the
 * letters' 0x40 bit is exactly the bit that makes an upper-case letter lower, and '-' is compared
 * as it is. */
static bool same_8(const char *name, const char *known)
{
    uint64_t a, b;
    memcpy(&a, name, sizeof a);
    memcpy(&b, known, sizeof b);
    return (a | (b & 0x4040404040404040U) >> 1) == b;
}

static bool same_4(const char *name, const char *known)
{
    uint32_t a, b;
    memcpy(&a, name, sizeof a);
    memcpy(&b, known, sizeof b);
    return (a | (b & 0x40404040U) >> 1) == b;
}

static bool same_2(const char *name, const char *known)
{
    uint16_t a, b;
    memcpy(&a, name, sizeof a);
    memcpy(&b, known, sizeof b);
    return (a | (b & 0x4040U) >> 1) == b;
}

/* Two bytes at least. The last words overlap the ones before instead of being shorter. */
static bool same_name(const char *name, const char *known, size_t len)
{
    if (len >= 8) {
        return same_8(name, known) && (len <= 16 || same_8(name + 8, known + 8)) &&
               same_8(name + len - 8, known + len - 8);
    }
    if (len >= 4) {
        return same_4(name, known) && same_4(name + len - 4, known + len - 4);
    }
    return same_2(name, known) && same_2(name + len - 2, known + len - 2);
}

enum mg_header_id mg_header_id_of(mg_str name)
{
    if (name.len > MAX_NAME || name.len < 2) {
        return MG_HEADER_OTHER;
    }
    /* one letter tells nearly all names of a length apart */
    const size_t place = name.len * 3 / 4;
    const char letter = (char)(name.ptr[place] | 0x20);
    const uint8_t *ids = ids_by_length[name.len];
    for (size_t i = 0; i < MAX_SAME_LENGTH && ids[i] != 0; i++) {
        const char *known = known_names[ids[i]];
        if (known[place] == letter && same_name(name.ptr, known, name.len)) {
            return (enum mg_header_id)ids[i];
        }
    }
    return MG_HEADER_OTHER;
}

/* --- the table --- */

void mg_headers_init(struct mg_headers *headers, struct mg_arena *arena)
{
    *headers = (struct mg_headers){.arena = arena};
}

static void make_room(struct mg_headers *headers, uint32_t capacity)
{
    struct mg_header *items = mg_arena_alloc(headers->arena, capacity * sizeof *items);
    if (headers->count > 0) {
        memcpy(items, headers->items, headers->count * sizeof *items);
    }
    headers->items = items;
    headers->capacity = capacity;
}

static inline void append(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                          mg_str value)
{
    if (headers->count == headers->capacity) {
        make_room(headers, headers->capacity > 0 ? headers->capacity * 2 : INITIAL_CAPACITY);
    }
    struct mg_header *field = &headers->items[headers->count++];
    field->name = name;
    field->value = value;
    field->id = (uint8_t)id;
    headers->known |= (uint64_t)1 << id;
}

void mg_headers_add_known(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                          mg_str value)
{
    append(headers, id, name, value);
}

void mg_headers_add(struct mg_headers *headers, mg_str name, mg_str value)
{
    append(headers, mg_header_id_of(name), name, value);
}

/* First field at or after from whose name is equal by the given comparison. */
static const struct mg_header *find(const struct mg_headers *headers, mg_str name, uint32_t from,
                                    bool (*equal)(mg_str a, mg_str b))
{
    for (uint32_t i = from; i < headers->count; i++) {
        if (headers->items[i].name.len == name.len && equal(headers->items[i].name, name)) {
            return &headers->items[i];
        }
    }
    return NULL;
}

const struct mg_header *mg_headers_next(const struct mg_headers *headers, enum mg_header_id id,
                                        uint32_t from)
{
    for (uint32_t i = from; i < headers->count; i++) {
        if (headers->items[i].id == id) {
            return &headers->items[i];
        }
    }
    return NULL;
}

const struct mg_header *mg_headers_find_known(const struct mg_headers *headers,
                                              enum mg_header_id id, mg_str name, uint32_t from)
{
    if (id == MG_HEADER_OTHER) {
        return find(headers, name, from, mg_str_iequal);
    }
    return mg_headers_has(headers, id) ? mg_headers_next(headers, id, from) : NULL;
}

const struct mg_header *mg_headers_find(const struct mg_headers *headers, mg_str name,
                                        uint32_t from)
{
    return mg_headers_find_known(headers, mg_header_id_of(name), name, from);
}

const struct mg_header *mg_headers_find_loose(const struct mg_headers *headers, mg_str name,
                                              uint32_t from)
{
    return find(headers, name, from, mg_str_field_equal);
}

uint32_t mg_headers_count(const struct mg_headers *headers, enum mg_header_id id)
{
    uint32_t count = 0;
    for (uint32_t i = 0; mg_headers_has(headers, id) && i < headers->count; i++) {
        count += headers->items[i].id == id;
    }
    return count;
}

uint32_t mg_headers_filter(struct mg_headers *headers,
                           bool (*drop)(void *context, const struct mg_header *field),
                           void *context)
{
    uint32_t kept = 0;
    uint64_t known = 0;
    for (uint32_t i = 0; i < headers->count; i++) {
        if (drop(context, &headers->items[i])) {
            continue;
        }
        if (kept != i) {
            headers->items[kept] = headers->items[i];
        }
        known |= (uint64_t)1 << headers->items[kept].id;
        kept++;
    }
    const uint32_t dropped = headers->count - kept;
    headers->count = kept;
    headers->known = known;
    return dropped;
}

static bool has_name(void *context, const struct mg_header *field)
{
    const mg_str *name = context;
    return mg_str_iequal(field->name, *name);
}

static bool has_id(void *context, const struct mg_header *field)
{
    const enum mg_header_id *id = context;
    return field->id == *id;
}

uint32_t mg_headers_remove_known(struct mg_headers *headers, enum mg_header_id id)
{
    return mg_headers_has(headers, id) ? mg_headers_filter(headers, has_id, &id) : 0;
}

uint32_t mg_headers_remove(struct mg_headers *headers, mg_str name)
{
    const enum mg_header_id id = mg_header_id_of(name);
    return id != MG_HEADER_OTHER ? mg_headers_remove_known(headers, id)
                                 : mg_headers_filter(headers, has_name, &name);
}

/* What mg_headers_set keeps: the first field of the name, and all of other names. */
struct others {
    mg_str name;
    const struct mg_header *first;
};

static bool is_another(void *context, const struct mg_header *field)
{
    const struct others *others = context;
    return field != others->first && mg_str_iequal(field->name, others->name);
}

void mg_headers_set_known(struct mg_headers *headers, enum mg_header_id id, mg_str name,
                          mg_str value)
{
    const struct mg_header *found = mg_headers_find_known(headers, id, name, 0);
    if (!found) {
        append(headers, id, name, value);
        return;
    }
    const uint32_t position = mg_headers_place(headers, found);
    headers->items[position].name = name;
    headers->items[position].value = value;
    if (mg_headers_find_known(headers, id, name, position + 1)) {
        struct others others = {.name = name, .first = found};
        mg_headers_filter(headers, is_another, &others);
    }
}

void mg_headers_set(struct mg_headers *headers, mg_str name, mg_str value)
{
    mg_headers_set_known(headers, mg_header_id_of(name), name, value);
}

/* The next field of the same name after field, or NULL. */
static const struct mg_header *next_same(const struct mg_headers *headers, mg_str name,
                                         const struct mg_header *field)
{
    return mg_headers_find(headers, name, mg_headers_place(headers, field) + 1);
}

static char *put(char *at, mg_str bytes)
{
    if (bytes.len > 0) {
        memcpy(at, bytes.ptr, bytes.len);
    }
    return at + bytes.len;
}

mg_str mg_headers_join(const struct mg_headers *headers, mg_str name)
{
    const struct mg_header *first = mg_headers_find(headers, name, 0);
    if (!first) {
        return mg_str_make(NULL, 0);
    }
    size_t bytes = 0;
    for (const struct mg_header *at = first; at; at = next_same(headers, name, at)) {
        bytes += at->value.len + 2;
    }
    if (bytes == first->value.len + 2 && bytes > 2) {
        return first->value;
    }
    char *joined = mg_arena_alloc(headers->arena, bytes);
    char *end = put(joined, first->value);
    for (const struct mg_header *at = next_same(headers, name, first); at;
         at = next_same(headers, name, at)) {
        end = put(put(end, MG_STR(", ")), at->value);
    }
    return mg_str_make(joined, (size_t)(end - joined));
}

void mg_headers_copy(struct mg_headers *to, const struct mg_headers *from)
{
    mg_require(to->count == 0);
    if (from->count > to->capacity) {
        make_room(to, from->capacity);
    }
    if (from->count > 0) {
        memcpy(to->items, from->items, from->count * sizeof *from->items);
    }
    to->count = from->count;
    to->known = from->known;
}

/* --- octets --- */

/* tchar of RFC 9110, 5.6.2 */
static const bool tchars[256] = {
    ['!'] = true,         ['#'] = true,         ['$'] = true,         ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,         ['-'] = true, ['.'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,         ['|'] = true, ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

#ifdef __SSE2__

/* Bit i is set when byte i is a letter, a digit or '-'. */
static unsigned word_bits(const char *at)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    const __m128i from_a =
        _mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    const __m128i from_0 = _mm_sub_epi8(bytes, _mm_set1_epi8('0'));
    const __m128i letter = _mm_cmpeq_epi8(_mm_min_epu8(from_a, _mm_set1_epi8('z' - 'a')), from_a);
    const __m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(from_0, _mm_set1_epi8(9)), from_0);
    const __m128i dash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(dash, _mm_or_si128(letter, digit)));
}

/* Names are made of these; the others are looked at one by one. */
static size_t word_length(mg_str text)
{
    size_t length = 0;
    for (; text.len - length >= 16; length += 16) {
        const unsigned others = ~word_bits(text.ptr + length) & 0xffff;
        if (others) {
            return length + (size_t)__builtin_ctz(others);
        }
    }
    return length;
}

#else

static size_t word_length(mg_str text)
{
    (void)text;
    return 0;
}

#endif

size_t mg_token_length(mg_str text)
{
    size_t length = word_length(text);
    while (length < text.len && tchars[(unsigned char)text.ptr[length]]) {
        length++;
    }
    return length;
}

bool mg_is_token(mg_str name)
{
    return name.len > 0 && mg_token_length(name) == name.len;
}

bool mg_is_field_value(mg_str value)
{
    if (value.len == 0) {
        return true; /* its pointer may be NULL */
    }
    const char *at = value.ptr, *const end = value.ptr + value.len;
    while (at < end) {
        at = mg_find_control(at, end);
        if (at < end && *at++ != '\t') {
            return false;
        }
    }
    return true;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

#ifdef __SSE2__

/* Byte i is 0xff when it is a control, else 0. */
static __m128i control_mask(__m128i bytes)
{
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return _mm_or_si128(low, del);
}

static __m128i load_16(const char *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* Bit i is set when byte i is a control. */
static unsigned bits_of_16(const char *at)
{
    return (unsigned)_mm_movemask_epi8(control_mask(load_16(at)));
}

static unsigned bits_of_8(const char *at)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)at);
    return (unsigned)_mm_movemask_epi8(control_mask(bytes)) & 0xff;
}

/* Fewer than 16 bytes. */
static const char *find_in_few(const char *at, const char *end)
{
    if (end - at >= 8) {
        unsigned bits = bits_of_8(at);
        bits |= bits_of_8(end - 8) << (end - 8 - at);
        return bits ? at + __builtin_ctz(bits) : end;
    }
    while (at < end && !is_control(*at)) {
        at++;
    }
    return at;
}

const char *mg_find_control(const char *at, const char *end)
{
    if (end - at < 16) {
        return find_in_few(at, end);
    }
    for (; end - at >= 16; at += 16) {
        const unsigned bits = bits_of_16(at);
        if (bits) {
            return at + __builtin_ctz(bits);
        }
    }
    const unsigned bits = at < end ? bits_of_16(end - 16) : 0; /* the bytes seen before are clean */
    return bits ? end - 16 + __builtin_ctz(bits) : end;
}

static size_t sum_of(__m128i bytes)
{
    const __m128i halves = _mm_sad_epu8(bytes, _mm_setzero_si128());
    return (size_t)(_mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4));
}

size_t mg_count_controls(const char *at, const char *end)
{
    static const char last[32] = {[16 ... 31] = '\xff'}; /* from byte n on: the last n of 16 */
    size_t count = 0;
    const bool long_enough = end - at >= 16;
    while (end - at >= 16) {
        __m128i sums = _mm_setzero_si128(); /* of each place of 16; a byte holds 255 */
        const ptrdiff_t blocks = (end - at) / 16 < 255 ? (end - at) / 16 : 255;
        if (blocks & 1) {
            sums = _mm_sub_epi8(sums, control_mask(load_16(at)));
            at += 16;
        }
        for (const char *stop = at + blocks / 2 * 32; at < stop; at += 32) {
            const __m128i second = control_mask(load_16(at + 16));
            sums = _mm_sub_epi8(_mm_sub_epi8(sums, control_mask(load_16(at))), second);
        }
        count += sum_of(sums);
    }
    if (long_enough && at < end) { /* the last 16 once more, without those that were counted */
        const __m128i rest =
            _mm_and_si128(control_mask(load_16(end - 16)), load_16(last + (end - at)));
        return count + sum_of(_mm_sub_epi8(_mm_setzero_si128(), rest));
    }
    for (; at < end; at++) {
        count += is_control(*at);
    }
    return count;
}

#else

/* Whether one of eight bytes is below 0x20 or 0x7f, the borrow trick of "has a byte less than". */
static bool has_control(const char *at)
{
    const uint64_t ones = 0x0101010101010101U, highs = ones * 0x80;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    const uint64_t del = word ^ ones * 0x7f;
    return (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & highs;
}

const char *mg_find_control(const char *at, const char *end)
{
    while (end - at >= 8 && !has_control(at)) {
        at += 8;
    }
    while (at < end && !is_control(*at)) {
        at++;
    }
    return at;
}

size_t mg_count_controls(const char *at, const char *end)
{
    size_t count = 0;
    for (at = mg_find_control(at, end); at < end; at = mg_find_control(at + 1, end)) {
        count++;
    }
    return count;
}

#endif
