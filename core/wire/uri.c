/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical request targets (docs/threat-model.md). Most paths are canonical as they come, so one
 * walk over a table of byte classes decides that first. The others take two passes over a copy:
 * escapes, which leaves only bytes with one meaning, then slashes and dot segments, which only
 * shortens.
 */
#include "wire/uri.h"

/* What a byte may be in a path (RFC 3986, 3.3) or query (3.4). */
enum byte_class {
    REFUSED, /* '#', '\', controls, bytes above 0x7F */
    PLAIN,   /* pchar */
    SLASH,
    QUESTION,
    PERCENT,
    ILLEGAL, /* printable, but must be percent-encoded */
};

#define RANGE_UPPER                                                                                \
    ['A'] = PLAIN, ['B'] = PLAIN, ['C'] = PLAIN, ['D'] = PLAIN, ['E'] = PLAIN, ['F'] = PLAIN,      \
    ['G'] = PLAIN, ['H'] = PLAIN, ['I'] = PLAIN, ['J'] = PLAIN, ['K'] = PLAIN, ['L'] = PLAIN,      \
    ['M'] = PLAIN, ['N'] = PLAIN, ['O'] = PLAIN, ['P'] = PLAIN, ['Q'] = PLAIN, ['R'] = PLAIN,      \
    ['S'] = PLAIN, ['T'] = PLAIN, ['U'] = PLAIN, ['V'] = PLAIN, ['W'] = PLAIN, ['X'] = PLAIN,      \
    ['Y'] = PLAIN, ['Z'] = PLAIN
#define RANGE_LOWER                                                                                \
    ['a'] = PLAIN, ['b'] = PLAIN, ['c'] = PLAIN, ['d'] = PLAIN, ['e'] = PLAIN, ['f'] = PLAIN,      \
    ['g'] = PLAIN, ['h'] = PLAIN, ['i'] = PLAIN, ['j'] = PLAIN, ['k'] = PLAIN, ['l'] = PLAIN,      \
    ['m'] = PLAIN, ['n'] = PLAIN, ['o'] = PLAIN, ['p'] = PLAIN, ['q'] = PLAIN, ['r'] = PLAIN,      \
    ['s'] = PLAIN, ['t'] = PLAIN, ['u'] = PLAIN, ['v'] = PLAIN, ['w'] = PLAIN, ['x'] = PLAIN,      \
    ['y'] = PLAIN, ['z'] = PLAIN
#define RANGE_DIGIT                                                                                \
    ['0'] = PLAIN, ['1'] = PLAIN, ['2'] = PLAIN, ['3'] = PLAIN, ['4'] = PLAIN, ['5'] = PLAIN,      \
    ['6'] = PLAIN, ['7'] = PLAIN, ['8'] = PLAIN, ['9'] = PLAIN

static const uint8_t classes[256] = {
    RANGE_UPPER,     RANGE_LOWER,     RANGE_DIGIT,     ['-'] = PLAIN,
    ['.'] = PLAIN,   ['_'] = PLAIN,   ['~'] = PLAIN, /* unreserved */
    ['!'] = PLAIN,   ['$'] = PLAIN,   ['&'] = PLAIN,   ['\''] = PLAIN,
    ['('] = PLAIN,   [')'] = PLAIN,   ['*'] = PLAIN,   ['+'] = PLAIN,
    [','] = PLAIN,   [';'] = PLAIN,   ['='] = PLAIN, /* sub-delims */
    [':'] = PLAIN,   ['@'] = PLAIN,   ['/'] = SLASH,   ['?'] = QUESTION,
    ['%'] = PERCENT, [' '] = ILLEGAL, ['"'] = ILLEGAL, ['<'] = ILLEGAL,
    ['>'] = ILLEGAL, ['['] = ILLEGAL, [']'] = ILLEGAL, ['^'] = ILLEGAL,
    ['`'] = ILLEGAL, ['{'] = ILLEGAL, ['|'] = ILLEGAL, ['}'] = ILLEGAL,
};

static enum byte_class class_of(char c)
{
    return (enum byte_class)classes[(unsigned char)c];
}

/* ALPHA / DIGIT / "-" / "." / "_" / "~" (RFC 3986, 2.3): the only bytes whose escape is decoded. */
static bool is_unreserved(int c)
{
    const int lower = c | 0x20;
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '~';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The byte that "%XX" at the place stands for, or -1. */
static int escaped_byte(const char *at, const char *end)
{
    if (end - at < 3 || *at != '%') {
        return -1;
    }
    const int high = hex_value(at[1]), low = hex_value(at[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static char *put_escape(char *to, int byte)
{
    static const char digits[] = "0123456789ABCDEF";
    to[0] = '%';
    to[1] = digits[byte >> 4];
    to[2] = digits[byte & 15];
    return to + 3;
}

/* --- first pass: escapes --- */

/* Number of escapes at the place that are one well-formed UTF-8 sequence beyond ASCII (RFC 3629, 4:
 * no overlong form, no surrogate, nothing above U+10FFFF), or 0. */
static int utf8_escapes(const char *at, const char *end)
{
    const int lead = escaped_byte(at, end);
    int low = 0x80, high = 0xbf, more; /* bounds of the second byte, bytes after the first */
    if (lead >= 0xc2 && lead <= 0xdf) {
        more = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        more = 2;
        low = lead == 0xe0 ? 0xa0 : low;
        high = lead == 0xed ? 0x9f : high;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        more = 3;
        low = lead == 0xf0 ? 0x90 : low;
        high = lead == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    for (int i = 1; i <= more; i++) {
        const int byte = escaped_byte(at + (ptrdiff_t)3 * i, end);
        if (byte < low || byte > high) {
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return more + 1;
}

/* One escape, or all of one UTF-8 sequence: *at and *to move on. False: refused. */
static bool pass_escape(const struct mg_uri_rules *rules, const char **at, const char *end,
                        char **to)
{
    const int byte = escaped_byte(*at, end);
    if (byte < 0x20 || byte == 0x7f) {
        return false;
    }
    if ((byte == '/' || byte == '\\') && !rules->keep_encoded_slash) {
        return false;
    }
    if (is_unreserved(byte)) {
        *(*to)++ = (char)byte;
        *at += 3;
        return true;
    }
    const int count = byte < 0x80 || rules->any_utf8 ? 1 : utf8_escapes(*at, end);
    for (int i = 0; i < count; i++) {
        *to = put_escape(*to, escaped_byte(*at, end));
        *at += 3;
    }
    return count > 0;
}

/* Writes the path with every escape in its one form; returns the end, or NULL when refused. */
static char *pass_escapes(const struct mg_uri_rules *rules, mg_str path, char *to)
{
    const char *at = path.ptr, *const end = path.ptr + path.len;
    while (at < end) {
        switch (class_of(*at)) {
        case PLAIN:
        case SLASH:
            *to++ = *at++;
            break;
        case PERCENT:
            if (!pass_escape(rules, &at, end, &to)) {
                return NULL;
            }
            break;
        case QUESTION:
        case ILLEGAL:
            to = put_escape(to, (unsigned char)*at++);
            break;
        default:
            return NULL;
        }
    }
    return to;
}

/* --- second pass: segments --- */

/* Whether one escape stands at the place; they are in upper case by now. */
static bool has_escape(mg_str s, size_t at, const char *escape)
{
    return at + 3 <= s.len && memcmp(s.ptr + at, escape, 3) == 0;
}

/* A dot segment in disguise: some servers cut parameters off ("..;x") or decode "%2F" before they
 * remove dot segments, and would climb where we did not. Plain "." and ".." are not meant. */
static bool is_disguised(mg_str segment)
{
    /* of a piece between escaped slashes, which stand only if the rules let them */
    size_t start = 0;
    while (start < segment.len) {
        size_t at = start;
        while (at < segment.len && segment.ptr[at] == '.') {
            at++;
        }
        const bool dots = at - start == 1 || at - start == 2;
        const bool slash = has_escape(segment, at, "%2F") || has_escape(segment, at, "%5C");
        const bool whole = start == 0 && at == segment.len;
        if (dots && !whole &&
            (at == segment.len || slash || segment.ptr[at] == ';' ||
             has_escape(segment, at, "%3B"))) {
            return true;
        }
        while (at < segment.len && !has_escape(segment, at, "%2F") &&
               !has_escape(segment, at, "%5C")) {
            at++;
        }
        start = at + 3;
    }
    return false;
}

/* End of path[0 .. len) without its last segment and the slash before it. */
static size_t without_last(const char *path, size_t len)
{
    while (path[len - 1] != '/') {
        len--;
    }
    return len - 1;
}

/* Merges slashes and removes dot segments in place; returns the new length, 0 when refused. What is
 * written never overtakes what is read. The length kept is that of "/a/b" without a final slash. */
static size_t pass_segments(const struct mg_uri_rules *rules, char *path, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(path + at + 1, '/', len - at - 1);
        const size_t end = slash ? (size_t)(slash - path) : len;
        const mg_str segment = mg_str_make(path + at + 1, end - at - 1);
        const bool last = end == len;
        const bool up = mg_str_equal(segment, MG_STR(".."));
        if ((up && kept == 0) || is_disguised(segment)) {
            return 0;
        }
        if (up) {
            kept = without_last(path, kept);
        } else if (segment.len == 0) {
            /* the final slash below, or one of "//": kept on demand, but not at the root */
            if (!last && rules->keep_slashes && kept > 0) {
                path[kept++] = '/';
            }
        } else if (!mg_str_equal(segment, MG_STR("."))) {
            memmove(path + kept, path + at, end - at);
            kept += end - at;
            at = end;
            continue;
        }
        if (last) {
            path[kept++] = '/';
        }
        at = end;
    }
    return kept;
}

/* --- the whole --- */

/* True when nothing in the path can need a change; false is no verdict. It starts with a slash. */
static bool is_plainly_canonical(mg_str path)
{
    const char *at = path.ptr, *const end = path.ptr + path.len;
    while (at < end) {
        if (class_of(*at) == PLAIN) {
            at++;
        } else if (class_of(*at) == SLASH && (++at == end || (*at != '/' && *at != '.'))) {
            continue;
        } else {
            return false;
        }
    }
    return true;
}

int mg_uri_canonical_path(struct mg_arena *arena, mg_str path, const struct mg_uri_rules *rules,
                          mg_str *out)
{
    if (path.len == 0 || path.ptr[0] != '/') {
        return MG_ETARGET;
    }
    *out = path;
    if (is_plainly_canonical(path)) {
        return 0;
    }
    size_t most;
    if (__builtin_mul_overflow(path.len, (size_t)3, &most)) {
        return MG_ETARGET;
    }
    char *copy = mg_arena_alloc(arena, most);
    const char *end = pass_escapes(rules, path, copy);
    const size_t len = end ? pass_segments(rules, copy, (size_t)(end - copy)) : 0;
    if (len == 0) {
        return MG_ETARGET;
    }
    const mg_str canonical = mg_str_make(copy, len);
    *out = mg_str_equal(canonical, path) ? path : canonical;
    return 0;
}

/* Whether the byte may stand in a query as it is; a '%' only where it begins an escape. */
static bool is_query_byte(const char *at, const char *end)
{
    switch (class_of(*at)) {
    case PLAIN:
    case SLASH:
    case QUESTION:
        return true;
    case PERCENT:
        return escaped_byte(at, end) >= 0;
    default:
        return false;
    }
}

int mg_uri_canonical_query(struct mg_arena *arena, mg_str query, mg_str *out)
{
    *out = query;
    size_t good = 0, most;
    while (good < query.len && (class_of(query.ptr[good]) == PLAIN ||
                                is_query_byte(query.ptr + good, query.ptr + query.len))) {
        good++;
    }
    if (good == query.len) {
        return 0;
    }
    if (__builtin_mul_overflow(query.len, (size_t)3, &most)) {
        return MG_ETARGET;
    }
    char *copy = mg_arena_alloc(arena, most), *to = copy;
    const char *const end = query.ptr + query.len;
    for (const char *at = query.ptr; at < end; at++) {
        if (*at == '#' || (unsigned char)*at < 0x20 || *at == 0x7f) {
            return MG_ETARGET;
        }
        if (is_query_byte(at, end)) {
            *to++ = *at;
        } else {
            to = put_escape(to, (unsigned char)*at);
        }
    }
    *out = mg_str_make(copy, (size_t)(to - copy));
    return 0;
}

/* Takes "http://authority" or "https://authority" off the front (RFC 9112, 3.2.2). */
static int take_authority(mg_str *target, struct mg_uri *out)
{
    const bool secure =
        target->len >= 8 && mg_str_iequal(mg_str_slice(*target, 0, 8), MG_STR("https://"));
    if (!secure &&
        (target->len < 7 || !mg_str_iequal(mg_str_slice(*target, 0, 7), MG_STR("http://")))) {
        return MG_ETARGET;
    }
    const size_t start = secure ? 8 : 7;
    size_t end = start;
    while (end < target->len && target->ptr[end] != '/' && target->ptr[end] != '?') {
        if (target->ptr[end] == '@' || class_of(target->ptr[end]) == REFUSED) {
            return MG_ETARGET;
        }
        end++;
    }
    out->authority = mg_str_slice(*target, start, end);
    out->default_port = secure ? 443 : 80;
    *target = mg_str_slice(*target, end, target->len);
    return out->authority.len > 0 ? 0 : MG_ETARGET;
}

int mg_uri_parse_target(struct mg_arena *arena, mg_str target, enum mg_method method,
                        const struct mg_uri_rules *rules, struct mg_uri *out)
{
    *out = (struct mg_uri){0};
    if (target.len == 0) {
        return MG_ETARGET;
    }
    bool asterisk = mg_str_equal(target, MG_STR("*"));
    if (target.ptr[0] != '/' && !asterisk) {
        const int err = take_authority(&target, out);
        if (err) {
            return err;
        }
        /* "OPTIONS http://host" asks what "OPTIONS *" asks (RFC 9112, 3.2.4) */
        asterisk = target.len == 0 && method == MG_METHOD_OPTIONS;
    }
    if (asterisk) {
        out->path = out->raw_path = MG_STR("*");
        return method == MG_METHOD_OPTIONS ? 0 : MG_ETARGET;
    }
    const ptrdiff_t question = mg_str_find(target, '?', 0);
    const size_t path_end = question < 0 ? target.len : (size_t)question;
    out->has_query = question >= 0;
    out->raw_path = path_end > 0 ? mg_str_slice(target, 0, path_end) : MG_STR("/");
    const int err = mg_uri_canonical_path(arena, out->raw_path, rules, &out->path);
    if (err || !out->has_query) {
        return err;
    }
    return mg_uri_canonical_query(arena, mg_str_slice(target, path_end + 1, target.len),
                                  &out->query);
}

/* --- views --- */

mg_str mg_uri_decode(struct mg_arena *arena, mg_str text, bool plus_is_space)
{
    if (mg_str_find(text, '%', 0) < 0 && (!plus_is_space || mg_str_find(text, '+', 0) < 0)) {
        return text;
    }
    char *copy = mg_arena_alloc(arena, text.len), *to = copy;
    const char *at = text.ptr, *const end = text.ptr + text.len;
    while (at < end) {
        const int byte = escaped_byte(at, end);
        if (byte >= 0) {
            *to++ = (char)byte;
            at += 3;
        } else {
            *to++ = *at == '+' && plus_is_space ? ' ' : *at;
            at++;
        }
    }
    return mg_str_make(copy, (size_t)(to - copy));
}

uint32_t mg_uri_count_args(mg_str query)
{
    uint32_t count = 0;
    bool inside = false;
    for (size_t i = 0; i < query.len; i++) {
        const bool separator = query.ptr[i] == '&';
        count += !separator && !inside;
        inside = !separator;
    }
    return count;
}
