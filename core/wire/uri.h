/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One canonical form of the request target and of the host, made once and used to route, check,
 * count, log and forward. Order of the steps: decode unreserved characters once and upper-case the
 * other escapes (RFC 3986, 6.2.2), refuse what is ambiguous (%2F %5C controls, bad UTF-8, a bad %),
 * encode what is not allowed, merge slashes, remove dot segments (RFC 3986, 5.2.4). Canonicalising
 * twice changes nothing.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "wire/http1.h"

struct mg_uri_rules {        /* of the listener */
    bool keep_slashes;       /* do not merge "//" */
    bool keep_encoded_slash; /* let %2F and %5C stand instead of refusing them */
    bool any_utf8;           /* do not refuse sequences that are not UTF-8 */
};

struct mg_uri {
    mg_str path;           /* canonical, starts with '/'; "*" for OPTIONS * */
    mg_str query;          /* as sent with illegal bytes encoded, without '?' */
    bool has_query;        /* a bare '?' counts */
    mg_str raw_path;       /* as sent */
    mg_str authority;      /* of an absolute-form target, else empty */
    uint16_t default_port; /* of an absolute-form target's scheme, else 0 */
};

/* Splits and canonicalises a target (origin-form, absolute-form, '*' with OPTIONS only).
 * MG_ETARGET. Slices point into target or the arena. */
MG_NODISCARD int mg_uri_parse_target(struct mg_arena *arena, mg_str target, enum mg_method method,
                                     const struct mg_uri_rules *rules, struct mg_uri *out);
/* Only the path part. The result is path itself when it was canonical already. MG_ETARGET. */
MG_NODISCARD int mg_uri_canonical_path(struct mg_arena *arena, mg_str path,
                                       const struct mg_uri_rules *rules, mg_str *out);

/* Encodes what RFC 3986, 3.4 does not allow in a query, a '%' that begins no escape too; the result
 * is query itself when nothing was. MG_ETARGET: '#' or a control byte. */
MG_NODISCARD int mg_uri_canonical_query(struct mg_arena *arena, mg_str query, mg_str *out);

struct mg_host {
    mg_str name;  /* lower case, no trailing dot, IPv6 in brackets */
    int32_t port; /* -1 = none given */
};

/* Host or authority: uri-host [ ":" port ] (RFC 9110, 7.2). Refuses commas, '@', blanks, paths,
 * ports over 65535: MG_EHOST. */
MG_NODISCARD int mg_uri_parse_host(struct mg_arena *arena, mg_str text, struct mg_host *out);

/* Decodes %XX once; for plugins' views. plus_is_space as in query strings. Bad escapes stay as
 * text. */
mg_str mg_uri_decode(struct mg_arena *arena, mg_str text, bool plus_is_space);
/* Number of '&'-separated arguments. */
uint32_t mg_uri_count_args(mg_str query);
