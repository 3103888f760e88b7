/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router: traditional_compatible order (plugin-interface, 10.2), compiled once per generation.
 * Hosts in a hash, then a byte radix over path prefixes, predicates (methods, headers, regexes) at
 * the leaf, candidates in order; the first that matches wins. Matching allocates nothing but
 * captures.
 *
 *     int err = mg_router_compile(config, message, sizeof message);   // config->router
 *     struct mg_match match;
 *     if (mg_router_match(config, &question, &match)) ... match.route ...
 */
#pragma once

#include "model/config.h"

/* Builds config->router from config->routes. MG_EINVALID with a sentence (a bad regex). */
MG_NODISCARD int mg_router_compile(struct mg_config *config, char *message, size_t message_bytes);
void mg_router_free(struct mg_router *router);

struct mg_question {
    mg_str method;
    mg_str host;   /* lower case, no port */
    uint16_t port; /* of the Host field, else of the listener */
    mg_str path;   /* canonical */
    const struct mg_headers *headers;
};

struct mg_match {
    struct mg_route *route;
    const struct mg_route_path *path; /* NULL when the route has no paths */
    size_t matched;                   /* bytes of the path that the prefix or regex took */
    const struct mg_regex *regex;
    mg_str host;                      /* the route's host pattern that matched, empty if none */
    const struct mg_route *undecided; /* one whose regex reached limits.regex_match_limit */
    struct mg_regex_match captures;   /* count 0 unless a regex matched */
};

/* false: no route, or undecided: then the request must be refused, since another route may have
 * fewer checks. */
bool mg_router_match(const struct mg_config *config, const struct mg_question *question,
                     struct mg_match *match);

/* For `moongate explain`: calls fn for every entry in the order they would be tried until one
 * matches or to the end (all), with the reason it was not taken (NULL = taken), such as "method is
 * not GET". */
void mg_router_explain(const struct mg_config *config, const struct mg_question *question, bool all,
                       void (*fn)(void *context, const struct mg_route *route,
                                  const struct mg_route_path *path, const char *reason),
                       void *context);

/* Path for the upstream (plugin-interface, 10.4) in the arena: base (service path) and what is
 * left of the request path. MG_ETARGET when stripping leaves a path that is not canonical. */
MG_NODISCARD int mg_route_upstream_path(struct mg_arena *arena, const struct mg_match *match,
                                        mg_str base, mg_str path, const struct mg_uri_rules *rules,
                                        mg_str *out);
