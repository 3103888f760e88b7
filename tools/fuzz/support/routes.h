/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes and questions as text, and the naive answer: every entry of every route is tried, in the
 * words of the manual, and the best of those that match is taken. No index, no sorting, no literal
 * prefixes; of core/ only the regexes are used.
 *
 *     r s          a route follows; s: strip_path, d: its service is disabled
 *     m GET        one of its methods
 *     h *.example  one of its hosts
 *     p /a         one of its prefixes
 *     ~ /a/(\d+)   one of its regexes
 *     P 5          regex_priority
 *     H x-a=b      a value of a header
 *     b /base      path of its service
 *     x x-a: b     a field of the questions that follow
 *     q GET a.example:80 /a/b
 *
 * What the schema would refuse (a path without a slash, a host with two asterisks) is left out, and
 * so are routes behind the first question.
 */
#pragma once

#include "model/config.h"
#include "model/route.h"

struct routes_question {
    mg_str method, host, path; /* as in the text */
    struct mg_headers *headers;
};

/* Reads the next line: 1 a question is in *question, 0 another line, -1 the end. *text is what is
 * left. Everything lives in the configuration's arena. */
int routes_read(struct mg_config *config, mg_str *text, struct routes_question *question);

struct routes_answer {
    const struct mg_route *route; /* NULL: none */
    const struct mg_route_path *path;
    size_t matched;
    mg_str host;
    bool undecided; /* a regex of the route reached its limit: the request must be refused */
};

struct routes_answer routes_match(const struct mg_config *config,
                                  const struct mg_question *question);
/* The path for the upstream by the table of the manual; not yet judged. */
mg_str routes_upstream_path(struct mg_arena *arena, const struct routes_answer *answer, mg_str base,
                            mg_str path);
