/* SPDX-License-Identifier: Apache-2.0 */
/* Random words of HTTP's grammar, in an arena (RFC 9110, 5; RFC 3986, 3.3). */
#pragma once

#include "base/arena.h"
#include "dice.h"

/* A token of the given length: letters, digits and, now and then, any other tchar. */
mg_str text_token(struct mg_arena *arena, struct dice *dice, size_t len);
/* A field value up to a length, log-uniform: any octets that are allowed, blanks inside only. */
mg_str text_value(struct mg_arena *arena, struct dice *dice, uint32_t most_bits);
/* A canonical path that starts with "/x", and a query; escapes in upper case, of what has to be
 * escaped. */
mg_str text_path(struct mg_arena *arena, struct dice *dice);
mg_str text_query(struct mg_arena *arena, struct dice *dice);
/* The word in upper, lower or its own case: field names are case-blind. */
mg_str text_any_case(struct mg_arena *arena, struct dice *dice, const char *word);
