/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mg_str: a borrowed view of bytes, without a terminator. It owns nothing; whoever returns one says
 * how long it lives. Passed by value.
 *
 *     mg_str name = MG_STR("host");
 *     if (mg_str_iequal(name, header->name)) ...
 *     printf("%.*s", MG_STR_ARG(name));
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *ptr;
    size_t len;
} mg_str;

#define MG_STR(literal) ((mg_str){.ptr = ("" literal), .len = sizeof(literal) - 1})
#define MG_STR_ARG(s) ((int)(s).len), ((s).ptr)

static inline mg_str mg_str_make(const char *ptr, size_t len)
{
    return (mg_str){.ptr = ptr, .len = len};
}

/* View of a terminated string; NULL gives an empty view. */
static inline mg_str mg_str_from(const char *text)
{
    return (mg_str){.ptr = text, .len = text ? strlen(text) : 0};
}

/* Bytes [from, to) of s; both are clipped to its length. */
static inline mg_str mg_str_slice(mg_str s, size_t from, size_t to)
{
    to = to > s.len ? s.len : to;
    from = from > to ? to : from;
    return (mg_str){.ptr = from > 0 ? s.ptr + from : s.ptr, .len = to - from}; /* NULL has no + 0 */
}

static inline bool mg_str_equal(mg_str a, mg_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char mg_char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* ASCII case is ignored. */
bool mg_str_iequal(mg_str a, mg_str b);
/* ASCII case is ignored and '_' equals '-': field names as CGI and many frameworks read them. */
bool mg_str_field_equal(mg_str a, mg_str b);
bool mg_str_starts(mg_str s, mg_str prefix);
bool mg_str_ends(mg_str s, mg_str suffix);
int mg_str_compare(mg_str a, mg_str b); /* bytewise, as memcmp, shorter first */
/* Position of c at or after from, or -1. */
ptrdiff_t mg_str_find(mg_str s, char c, size_t from);
/* Is one of the four marks anywhere in the text? */
bool mg_str_has_one_of(mg_str s, const char marks[5]);
/* Without SP and HTAB at both ends. */
mg_str mg_str_trim(mg_str s);
/* Takes the next element of a list (RFC 9110, 5.6.1: commas, optional white space) off *rest;
 * false at the end. Empty elements are skipped. Quoted strings are not treated specially. */
bool mg_str_next_element(mg_str *rest, mg_str *element);
/* Decimal digits only, 1 to 19 of them, no sign; false otherwise or on overflow. */
bool mg_str_to_u64(mg_str s, uint64_t *value);
