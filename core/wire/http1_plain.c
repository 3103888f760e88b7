/* SPDX-License-Identifier: Apache-2.0 */
/* Plain heads. When in doubt, say no: llhttp knows. */
#include "wire/http1_plain.h"

enum { MOST_LENGTH_DIGITS = 18 }; /* what fits in any reader's integers */

bool mg_http1_is_plain_target(mg_str target)
{
    static const bool marks[256] = {
        ['-'] = true,         ['.'] = true,         ['_'] = true,         ['~'] = true,
        ['!'] = true,         ['$'] = true,         ['&'] = true,         ['('] = true,
        [')'] = true,         ['*'] = true,         ['\''] = true,        ['+'] = true,
        [','] = true,         [';'] = true,         ['='] = true,         [':'] = true,
        ['@'] = true,         ['/'] = true,         ['?'] = true,         ['%'] = true,
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
    };
    if (target.len == 0 || target.ptr[0] != '/') {
        return false;
    }
    for (size_t i = 1; i < target.len; i++) {
        if (!marks[(unsigned char)target.ptr[i]]) {
            return false;
        }
    }
    return true;
}

static bool is_plain_length(mg_str value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') {
            return false;
        }
    }
    return value.len > 0 && value.len <= MOST_LENGTH_DIGITS;
}

/* Can the field be taken without knowing the rest of the message? */
static bool is_plain_field(const struct mg_headers *headers, enum mg_header_id id, mg_str value)
{
    switch (id) {
    case MG_HEADER_CONTENT_LENGTH:
        return !mg_headers_has(headers, id) && is_plain_length(value);
    case MG_HEADER_CONNECTION:
        return mg_str_iequal(value, MG_STR("keep-alive")) || mg_str_iequal(value, MG_STR("close"));
    case MG_HEADER_TRANSFER_ENCODING:
    case MG_HEADER_UPGRADE:
    case MG_HEADER_PROXY_CONNECTION:
        return false;
    default:
        return true;
    }
}

/* The field that begins at `at`; returns where the next line begins, or NULL. */
static const char *cut_field(const char *at, const char *end, struct mg_headers *headers)
{
    const mg_str name = mg_str_make(at, mg_token_length(mg_str_make(at, (size_t)(end - at))));
    const char *from = at + name.len;
    if (name.len == 0 || *from != ':') {
        return NULL;
    }
    const char *to = mg_find_control(from, end);
    const char *next = to + 2;
    if (end - to < 2 || to[0] != '\r' || to[1] != '\n') {
        return NULL;
    }
    do { /* over the colon and blanks */
        from++;
    } while (*from == ' ');
    if (from < to && to[-1] == ' ') {
        return NULL;
    }
    const mg_str value = mg_str_make(from, (size_t)(to - from));
    const enum mg_header_id id = mg_header_id_of(name);
    if (!is_plain_field(headers, id, value)) {
        return NULL;
    }
    mg_headers_add_known(headers, id, name, value);
    return next;
}

bool mg_http1_cut_plain(mg_str fields, struct mg_headers *headers)
{
    if (!mg_str_ends(fields, MG_STR("\r\n"))) {
        return false;
    }
    const char *at = fields.ptr, *const end = at + fields.len;
    while (at && end - at > 2) { /* no token, blanks or text reach beyond the last line */
        at = cut_field(at, end, headers);
    }
    return at && end - at == 2 && *at == '\r';
}
