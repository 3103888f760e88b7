/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCRE2 with limits: match and depth limits, a heap limit, a bounded JIT stack (on its overflow the
 * match runs again without JIT). The only file that knows PCRE2.
 *
 *     struct mg_regex *regex;
 *     int err = mg_regex_new(&regex, MG_STR("^/users/(?<id>\\d+)"), 0, message, sizeof message);
 *     struct mg_regex_match match;
 *     if (mg_regex_exec(regex, subject, 0, limit, &match) > 0) ... match.at[1].ptr ...
 *     mg_regex_free(regex);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct mg_regex;

#define MG_REGEX_CASELESS 1U
#define MG_REGEX_ANCHORED 2U
#define MG_REGEX_GROUPS 16 /* groups reported, the whole match included */

struct mg_regex_match {
    int count;                  /* groups set, the whole match included */
    mg_str at[MG_REGEX_GROUPS]; /* slices of the subject; ptr NULL = took no part */
};

/* MG_EINVALID with a text and the offset in message. */
MG_NODISCARD int mg_regex_new(struct mg_regex **out, mg_str pattern, unsigned flags, char *message,
                              size_t message_bytes);
void mg_regex_free(struct mg_regex *regex);
/* 1 match, 0 none, MG_EFULL when the match limit was reached. from: offset in the subject. */
MG_NODISCARD int mg_regex_exec(const struct mg_regex *regex, mg_str subject, size_t from,
                               uint32_t match_limit, struct mg_regex_match *match);
/* Name of group number i, or an empty view. Lives as long as the regex. */
mg_str mg_regex_group_name(const struct mg_regex *regex, int group);
