/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain text with which everything that a regex matches at its start must begin, so that regex
 * entries stand in the router's index like prefixes.
 */
#pragma once

#include "base/arena.h"

/* For an anchored, case-sensitive PCRE2 pattern: "/users/" for "/users/(?<id>\d+)", empty where
 * there is none or the pattern is too clever to tell. In the arena. */
mg_str mg_route_literal_prefix(struct mg_arena *arena, mg_str pattern);
