/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCRE2, 8 bit, bytes not characters. A match runs in compiled code on the machine stack first;
 * where that is too small, with a stack of 512 KiB made for the purpose; then interpreted, whose
 * memory is on the heap and limited. Each regex has one block for match results, so it serves one
 * thread at a time, as everything of a worker does.
 */
#include "wire/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    JIT_STACK_START = 32 * 1024,
    JIT_STACK_MAX = 512 * 1024,
    HEAP_KIB = 20 * 1024,
};

struct mg_regex {
    pcre2_code *code;
    pcre2_match_data *results;
    pcre2_match_context *context;
    const char **names; /* by group number; NULL for groups without a name */
    uint32_t groups;    /* the whole match included */
    bool compiled;      /* to machine code */
};

static void read_number(const pcre2_code *code, uint32_t what, void *number)
{
    mg_require(pcre2_pattern_info(code, what, number) == 0);
}

/* The table of names: entries of a fixed size, two bytes of number and then the name. */
static void read_names(struct mg_regex *regex)
{
    uint32_t count = 0, entry_bytes = 0;
    PCRE2_SPTR entry = NULL;
    read_number(regex->code, PCRE2_INFO_NAMECOUNT, &count);
    read_number(regex->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_bytes);
    read_number(regex->code, PCRE2_INFO_NAMETABLE, &entry);
    regex->names = calloc(regex->groups, sizeof *regex->names);
    mg_require(regex->names != NULL);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t group = (uint32_t)entry[0] << 8 | entry[1];
        mg_require(group < regex->groups);
        regex->names[group] = (const char *)entry + 2;
        entry += entry_bytes;
    }
}

static void explain(int code, size_t offset, char *message, size_t message_bytes)
{
    PCRE2_UCHAR text[128];
    if (pcre2_get_error_message(code, text, sizeof text) < 0) {
        text[0] = '\0';
    }
    snprintf(message, message_bytes, "%s at offset %zu", (const char *)text, offset);
}

int mg_regex_new(struct mg_regex **out, mg_str pattern, unsigned flags, char *message,
                 size_t message_bytes)
{
    int code = 0;
    size_t offset = 0;
    const uint32_t options = PCRE2_NEVER_BACKSLASH_C |
                             (flags & MG_REGEX_CASELESS ? PCRE2_CASELESS : 0) |
                             (flags & MG_REGEX_ANCHORED ? PCRE2_ANCHORED : 0);
    const PCRE2_SPTR text = (PCRE2_SPTR)(pattern.len > 0 ? pattern.ptr : "");
    *out = NULL;
    pcre2_code *compiled = pcre2_compile(text, pattern.len, options, &code, &offset, NULL);
    if (!compiled) {
        explain(code, offset, message, message_bytes);
        return MG_EINVALID;
    }
    struct mg_regex *regex = calloc(1, sizeof *regex);
    mg_require(regex != NULL);
    regex->code = compiled;
    regex->compiled = pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE) == 0;
    regex->results = pcre2_match_data_create_from_pattern(compiled, NULL);
    regex->context = pcre2_match_context_create(NULL);
    mg_require(regex->results != NULL && regex->context != NULL);
    pcre2_set_heap_limit(regex->context, HEAP_KIB);
    read_number(compiled, PCRE2_INFO_CAPTURECOUNT, &regex->groups);
    regex->groups++;
    read_names(regex);
    *out = regex;
    return 0;
}

void mg_regex_free(struct mg_regex *regex)
{
    if (regex) {
        pcre2_match_context_free(regex->context);
        pcre2_match_data_free(regex->results);
        pcre2_code_free(regex->code);
        free(regex->names);
        free(regex);
    }
}

static int run(const struct mg_regex *regex, mg_str subject, size_t from, uint32_t options)
{
    const PCRE2_SPTR text = (PCRE2_SPTR)(subject.len > 0 ? subject.ptr : "");
    return pcre2_match(regex->code, text, subject.len, from, options, regex->results,
                       regex->context);
}

/* With more stack for the compiled code, then without it. */
static int run_again(const struct mg_regex *regex, mg_str subject, size_t from)
{
    pcre2_jit_stack *stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    int count = PCRE2_ERROR_JIT_STACKLIMIT;
    if (stack) {
        pcre2_jit_stack_assign(regex->context, NULL, stack);
        count = run(regex, subject, from, 0);
        pcre2_jit_stack_assign(regex->context, NULL, NULL);
        pcre2_jit_stack_free(stack);
    }
    return count == PCRE2_ERROR_JIT_STACKLIMIT ? run(regex, subject, from, PCRE2_NO_JIT) : count;
}

/* Copies what took part; "\K" in a lookahead can put a start behind its end: an empty group
 * then. */
static void report(const struct mg_regex *regex, mg_str subject, int count,
                   struct mg_regex_match *match)
{
    const size_t *at = pcre2_get_ovector_pointer(regex->results);
    match->count = count < MG_REGEX_GROUPS ? count : MG_REGEX_GROUPS;
    for (int i = 0; i < match->count; i++) {
        const size_t start = at[2 * i], end = at[2 * i + 1];
        if (start != PCRE2_UNSET) {
            match->at[i] = mg_str_slice(subject, start < end ? start : end, end);
        }
    }
}

int mg_regex_exec(const struct mg_regex *regex, mg_str subject, size_t from, uint32_t match_limit,
                  struct mg_regex_match *match)
{
    memset(match, 0, sizeof *match);
    if (from > subject.len) {
        return 0;
    }
    pcre2_set_match_limit(regex->context, match_limit);
    pcre2_set_depth_limit(regex->context, match_limit);
    int count = run(regex, subject, from, 0);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
        count = run_again(regex, subject, from);
    }
    if (count == PCRE2_ERROR_NOMATCH) {
        return 0;
    }
    if (count < 0) {
        return MG_EFULL; /* of matches, depth or heap: the other errors are of a caller's bug */
    }
    report(regex, subject, count, match);
    return 1;
}

mg_str mg_regex_group_name(const struct mg_regex *regex, int group)
{
    const bool named = group >= 0 && (uint32_t)group < regex->groups && regex->names[group];
    return named ? mg_str_from(regex->names[group]) : mg_str_make(NULL, 0);
}
