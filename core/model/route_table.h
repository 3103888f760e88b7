/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled router, shared by the route_*.c files only: entries in the order in which they are
 * tried (plugin-interface, 10.2), the index that finds the few worth trying, and the predicates.
 *
 *   hosts: hash of kind and text -> group     "a.example" exact, "*.example" suffix, "x.*" prefix
 *          routes without hosts               -> the group `any`
 *   group: radix over path prefixes -> ranks of entries; an entry without paths has the prefix ""
 *
 * An entry's rank is its place in the order, so the lowest rank that matches is the answer, in
 * whatever order the index offers them.
 */
#pragma once

#include "model/route.h"
#include "model/route_radix.h"

enum mg_host_kind {
    MG_HOST_EXACT,  /* a.example */
    MG_HOST_SUFFIX, /* *.example: text is ".example" */
    MG_HOST_PREFIX, /* example.*: text is "example." */
};

struct mg_route_host { /* one of a route's hosts, taken apart */
    enum mg_host_kind kind;
    mg_str text;  /* without the asterisk and the port */
    int32_t port; /* -1 = any */
};

struct mg_route_entry {
    struct mg_route *route;
    const struct mg_route_path **paths; /* regexes of the route, or its prefixes of one length */
    struct mg_regex **regexes;          /* beside paths; NULL for prefixes */
    uint32_t path_count;                /* 0: the route has no paths */
    uint32_t prefix_length;
    const struct mg_route_host *hosts; /* beside route->hosts */
    bool needs_port; /* one of the hosts has a port, so being in a group is not enough */
    /* the keys of the order that are not in the route */
    uint32_t kinds; /* of field set */
    bool plain_hosts;
    uint32_t regex_limit; /* of a match */
};

struct mg_route_group {
    enum mg_host_kind kind;
    mg_str text;
    struct mg_radix_node *root;
};

struct mg_router {
    struct mg_route_entry *entries; /* by rank */
    uint32_t entry_count;
    struct mg_route_group *any;
    struct mg_route_group **slots; /* open addressing, NULL = free */
    uint32_t slot_mask;
    bool has_kind[3];           /* by enum mg_host_kind */
    uint64_t suffix_lengths[4]; /* bitmap of the lengths of suffix texts, at most 255 */
    bool has_regexes;
    struct mg_regex **owned; /* every regex of the router, for the end */
    uint32_t owned_count;
};

/* The group of that kind and text, or NULL. */
struct mg_route_group *mg_router_group(const struct mg_router *router, enum mg_host_kind kind,
                                       mg_str text);
/* Where it stands or would stand. */
struct mg_route_group **mg_router_slot(const struct mg_router *router, enum mg_host_kind kind,
                                       mg_str text);

/* Index of a length in suffix_lengths. */
static inline size_t mg_route_suffix_length(size_t length)
{
    return length < 255 ? length : 255;
}

/* "*.example:8443" taken apart; the slices point into text. */
struct mg_route_host mg_route_host_parse(mg_str text);

/* Does what was matched end at a segment boundary of path? */
static inline bool mg_route_is_boundary(mg_str path, size_t matched)
{
    return matched == path.len || path.ptr[matched] == '/' ||
           (matched > 0 && path.ptr[matched - 1] == '/');
}

bool mg_route_method_matches(const struct mg_route *route, mg_str method);
/* Position of the first of the route's hosts that matches, or -1. */
int mg_route_host_find(const struct mg_route_entry *entry, const struct mg_question *question);
/* Do all headers of the route match? 1, 0 with the first that does not, or negative: a regex
 * reached its match limit. */
int mg_route_headers_match(const struct mg_route_entry *entry, const struct mg_headers *headers,
                           const struct mg_route_header **missing);
/* Runs the regexes of the entry in order: fills path, matched, regex and captures of the first that
 * matches (at a boundary, with strip_path). 1, 0, or negative: one reached its match limit. */
int mg_route_regex_match(const struct mg_route_entry *entry, mg_str path, struct mg_match *match);
