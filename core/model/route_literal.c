/* SPDX-License-Identifier: Apache-2.0 */
/* Errs on the side of a shorter prefix: too short costs time, too long would lose a match. */
#include "model/route_literal.h"

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool contains(mg_str text, mg_str part)
{
    for (size_t i = 0; i + part.len <= text.len; i++) {
        if (memcmp(text.ptr + i, part.ptr, part.len) == 0) {
            return true;
        }
    }
    return false;
}

/* Things in which a parenthesis or a bar may not mean what it looks like. */
static bool hides_structure(mg_str pattern)
{
    static const char *const hiding[] = {"[", "#", "\\Q", "\\c", "(*", "(?C"};
    for (size_t i = 0; i < sizeof hiding / sizeof hiding[0]; i++) {
        if (contains(pattern, mg_str_from(hiding[i]))) {
            return true;
        }
    }
    return false;
}

/* May the pattern have alternatives outside all groups ("/a|/b")? */
static bool may_have_branches(mg_str pattern)
{
    if (mg_str_find(pattern, '|', 0) < 0) {
        return false;
    }
    if (hides_structure(pattern)) {
        return true;
    }
    int depth = 0;
    for (size_t i = 0; i < pattern.len; i++) {
        const char c = pattern.ptr[i];
        if (c == '\\') {
            i++;
        } else if (c == '|' && depth == 0) {
            return true;
        } else {
            depth += (c == '(') - (c == ')');
        }
    }
    return false;
}

/* The character that the pattern means at *at, moving *at behind it; 0: not a plain one. */
static char plain_at(mg_str pattern, size_t *at)
{
    const char c = pattern.ptr[*at];
    if (is_alphanumeric(c) || memchr("/-_~%!&',:;=@", c, 13)) {
        *at += 1;
        return c;
    }
    if (c != '\\' || *at + 1 == pattern.len) {
        return 0;
    }
    const char next = pattern.ptr[*at + 1];
    if (next <= 0x20 || next == 0x7f || is_alphanumeric(next)) {
        return 0; /* also bytes above ASCII, where char is signed */
    }
    *at += 2;
    return next;
}

mg_str mg_route_literal_prefix(struct mg_arena *arena, mg_str pattern)
{
    if (may_have_branches(pattern)) {
        return MG_STR("");
    }
    char *text = mg_arena_alloc(arena, pattern.len + 1);
    size_t length = 0, at = 0;
    while (at < pattern.len) {
        const char c = plain_at(pattern, &at);
        if (c == 0) {
            break;
        }
        text[length++] = c;
    }
    const bool is_quantified = at < pattern.len && memchr("?*+{", pattern.ptr[at], 4) != NULL;
    if (is_quantified && length > 0) {
        length--; /* the quantifier may allow none of the last one */
    }
    return mg_str_make(text, length);
}
