/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions for query strings and forms (ffi.h, section PDK). They work on borrowed bytes and
 * on room that Lua gives, so asking twice costs the request nothing. */
#include "base/str.h"
#include "script/export.h"
#include "script/ffi.h"

#include <limits.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = mg_char_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The character at *at, decoded; moves *at behind it. */
static char decoded(const char *text, size_t len, size_t *at)
{
    const char c = text[*at];
    if (c == '%' && len - *at >= 3) {
        const int high = hex_digit(text[*at + 1]), low = hex_digit(text[*at + 2]);
        if (high >= 0 && low >= 0) {
            *at += 3;
            return (char)(high * 16 + low);
        }
    }
    (*at)++;
    return c == '+' ? ' ' : c;
}

static int is_escaped(mg_str text)
{
    return mg_str_find(text, '%', 0) >= 0 || mg_str_find(text, '+', 0) >= 0;
}

static void split(mg_str text, struct mg_ffi_arg *out)
{
    const ptrdiff_t equals = mg_str_find(text, '=', 0);
    const mg_str name = equals < 0 ? text : mg_str_slice(text, 0, (size_t)equals);
    const mg_str value = equals < 0 ? MG_STR("") : mg_str_slice(text, (size_t)equals + 1, text.len);
    *out = (struct mg_ffi_arg){.name = {name.ptr, name.len},
                               .value = {value.ptr, value.len},
                               .has_value = equals >= 0,
                               .escaped = is_escaped(text)};
}

MG_FFI_EXPORT int mg_ffi_args_next(const char *text, size_t len, int at, struct mg_ffi_arg *out)
{
    const mg_str all = mg_str_make(text, len);
    size_t from = at > 0 ? (size_t)at : 0;
    while (from < len && len < INT_MAX) {
        const ptrdiff_t found = mg_str_find(all, '&', from);
        const size_t end = found < 0 ? len : (size_t)found;
        split(mg_str_slice(all, from, end), out);
        if (out->name.len > 0) { /* an empty key is dropped */
            return (int)end + 1;
        }
        from = end + 1;
    }
    return 0;
}

static int decodes_to(struct mg_ffi_str escaped, const char *name, size_t name_len)
{
    size_t at = 0, done = 0;
    while (at < escaped.len) {
        const char c = decoded(escaped.ptr, escaped.len, &at);
        if (done == name_len || name[done++] != c) {
            return 0;
        }
    }
    return done == name_len;
}

MG_FFI_EXPORT int mg_ffi_args_find(const char *text, size_t len, const char *name, size_t name_len,
                                   struct mg_ffi_arg *out)
{
    for (int at = 0; (at = mg_ffi_args_next(text, len, at, out)) > 0;) {
        if (decodes_to(out->name, name, name_len)) {
            return 1;
        }
    }
    return 0;
}

MG_FFI_EXPORT int mg_ffi_uri_unescape(const char *text, size_t len, char *out)
{
    size_t at = 0, written = 0;
    while (at < len) {
        out[written++] = decoded(text, len, &at);
    }
    return (int)written;
}

/* RFC 3986, 2.3 */
static bool is_unreserved(char c)
{
    const char lower = mg_char_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

MG_FFI_EXPORT int mg_ffi_uri_escape(const char *text, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t written = 0;
    for (size_t i = 0; i < len; i++) {
        if (is_unreserved(text[i])) {
            out[written++] = text[i];
            continue;
        }
        const unsigned char byte = (unsigned char)text[i];
        out[written++] = '%';
        out[written++] = digits[byte >> 4];
        out[written++] = digits[byte & 15];
    }
    return (int)written;
}
