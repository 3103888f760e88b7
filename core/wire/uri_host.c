/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One form of a host: lower case, no dot at the end, addresses as inet_ntop writes them. Narrower
 * than RFC 3986, 3.2.2: of a reg-name only the unreserved characters pass, since sub-delims and
 * escapes in a host only serve to be read in two ways.
 */
#include "wire/uri.h"

#include <arpa/inet.h>

enum { MAX_HOST = 255 };

/* Digits up to 65535, not 0; empty counts as none given (RFC 3986, 3.2.3). */
static bool parse_port(mg_str text, int32_t *port)
{
    uint64_t number;
    *port = -1;
    if (text.len == 0) {
        return true;
    }
    if (text.len > 5 || !mg_str_to_u64(text, &number) || number == 0 || number > 65535) {
        return false;
    }
    *port = (int32_t)number;
    return true;
}

/* "[...]" with an IPv6 address; zones and later versions (RFC 3986, "IPvFuture") are refused. */
static int parse_ip6(struct mg_arena *arena, mg_str inside, mg_str *name)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (inside.len >= sizeof text || memchr(inside.ptr, '\0', inside.len)) {
        return MG_EHOST;
    }
    memcpy(text, inside.ptr, inside.len);
    text[inside.len] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1 ||
        !inet_ntop(AF_INET6, &address, text, sizeof text)) {
        return MG_EHOST;
    }
    const mg_str canonical = mg_str_from(text);
    char *copy = mg_arena_alloc(arena, canonical.len + 2);
    copy[0] = '[';
    memcpy(copy + 1, canonical.ptr, canonical.len);
    copy[canonical.len + 1] = ']';
    *name = mg_str_make(copy, canonical.len + 2);
    return 0;
}

/* Kinds of bytes, as bits so that those of a whole name add up. */
enum { OTHER = 0, FINE = 1, UPPER = 2, DOT = 4 };

static const uint8_t kinds_of[256] = {
    ['a' ... 'z'] = FINE, ['0' ... '9'] = FINE,  ['-'] = FINE, ['_'] = FINE,
    ['~'] = FINE,         ['A' ... 'Z'] = UPPER, ['.'] = DOT,
};

/* Unreserved characters, no empty label. *mixed: there are upper-case letters. */
static bool is_good_name(mg_str name, bool *mixed)
{
    unsigned kinds = 0, before = DOT;
    for (size_t i = 0; i < name.len; i++) {
        const unsigned kind = kinds_of[(unsigned char)name.ptr[i]];
        if (kind == OTHER || (kind & before & DOT)) {
            return false;
        }
        kinds |= kind;
        before = kind;
    }
    *mixed = kinds & UPPER;
    return name.len > 0 && name.len <= MAX_HOST && before != DOT;
}

static int parse_name(struct mg_arena *arena, mg_str text, mg_str *name)
{
    if (text.len > 1 && text.ptr[text.len - 1] == '.') {
        text.len--; /* the root label: the same host */
    }
    bool mixed;
    if (!is_good_name(text, &mixed)) {
        return MG_EHOST;
    }
    *name = text;
    if (mixed) {
        char *copy = mg_arena_alloc(arena, text.len);
        for (size_t i = 0; i < text.len; i++) {
            copy[i] = mg_char_lower(text.ptr[i]);
        }
        *name = mg_str_make(copy, text.len);
    }
    return 0;
}

int mg_uri_parse_host(struct mg_arena *arena, mg_str text, struct mg_host *out)
{
    *out = (struct mg_host){.port = -1};
    const bool ip6 = text.len > 0 && text.ptr[0] == '[';
    const ptrdiff_t bracket = ip6 ? mg_str_find(text, ']', 0) : 0;
    if (bracket < 0) {
        return MG_EHOST;
    }
    const ptrdiff_t colon = mg_str_find(text, ':', (size_t)bracket);
    const size_t end = colon < 0 ? text.len : (size_t)colon;
    if (colon >= 0 && !parse_port(mg_str_slice(text, end + 1, text.len), &out->port)) {
        return MG_EHOST;
    }
    if (!ip6) {
        return parse_name(arena, mg_str_slice(text, 0, end), &out->name);
    }
    if (end != (size_t)bracket + 1) {
        return MG_EHOST;
    }
    return parse_ip6(arena, mg_str_slice(text, 1, (size_t)bracket), &out->name);
}
