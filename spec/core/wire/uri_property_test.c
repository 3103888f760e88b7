/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/uri: a property test of canonical paths against a slow reference that follows the text of
 * docs/threat-model.md and the RFC with lists of symbols instead of bytes in place.
 */
#include "wire/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct mg_uri_rules strict = {0};

enum { MAX_SYMBOLS = 400 };

/* A path as symbols: a byte as it stands, or ESCAPED + byte. */
struct symbols {
    int at[MAX_SYMBOLS];
    int count;
};

enum { ESCAPED = 0x1000 };

static bool reference_read(const char *text, size_t len, struct symbols *out)
{
#define UNRESERVED "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    static const char unreserved_set[] = UNRESERVED, legal[] = UNRESERVED "!$&'()*+,;=:@/";
    out->count = 0;
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        int symbol = c;
        if (c == '#' || c == '\\' || c < 0x20 || c >= 0x7f) {
            return false;
        }
        if (c == '%') {
            char digits[3] = {0}, *end;
            if (i + 2 >= len) {
                return false;
            }
            memcpy(digits, text + i + 1, 2);
            symbol = (int)strtol(digits, &end, 16);
            if (end != digits + 2 || digits[0] == '+' || digits[0] == '-' || digits[0] == ' ') {
                return false;
            }
            const bool unreserved = symbol > 0 && strchr(unreserved_set, symbol) != NULL;
            symbol = unreserved ? symbol : ESCAPED + symbol;
            i += 2;
        } else if (strchr(legal, c) == NULL) {
            symbol = ESCAPED + c;
        }
        out->at[out->count++] = symbol;
    }
    return true;
}

/* Decodes UTF-8 to a number and asks whether that number is written in its shortest form. */
static bool reference_utf8(const struct symbols *in)
{
    for (int i = 0; i < in->count;) {
        const int lead = in->at[i] - ESCAPED;
        if (lead < 0x80) {
            i++;
            continue;
        }
        const int length = lead >= 0xf0 && lead < 0xf8   ? 4
                           : lead >= 0xe0 && lead < 0xf0 ? 3
                           : lead >= 0xc0 && lead < 0xe0 ? 2
                                                         : 0;
        if (length == 0 || i + length > in->count) {
            return false;
        }
        int code = lead & (0xff >> (length + 1));
        for (int k = 1; k < length; k++) {
            const int more = in->at[i + k] - ESCAPED;
            if (more < 0x80 || more > 0xbf) {
                return false;
            }
            code = code << 6 | (more & 0x3f);
        }
        const int least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
        if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
            return false;
        }
        i += length;
    }
    return true;
}

struct segment {
    int from, to;
};

/* "." or "..", then nothing or a parameter: 1, 2 plain; -1 disguised; 0 something else. */
static int reference_dots(const struct symbols *in, struct segment segment)
{
    int dots = 0;
    while (segment.from + dots < segment.to && in->at[segment.from + dots] == '.') {
        dots++;
    }
    if (dots != 1 && dots != 2) {
        return 0;
    }
    if (segment.from + dots == segment.to) {
        return dots;
    }
    const int next = in->at[segment.from + dots];
    return next == ';' || next == ESCAPED + ';' ? -1 : 0;
}

static bool reference(const char *text, size_t len, char *out)
{
    struct symbols in;
    if (len == 0 || text[0] != '/' || !reference_read(text, len, &in) || !reference_utf8(&in)) {
        return false;
    }
    struct segment stack[MAX_SYMBOLS];
    int depth = 0;
    bool directory = false; /* the result ends with a slash */
    for (int i = 0; i < in.count;) {
        struct segment segment = {i + 1, i + 1};
        while (segment.to < in.count && in.at[segment.to] != '/') {
            const int symbol = in.at[segment.to] - ESCAPED;
            if (symbol == '/' || symbol == '\\' || (symbol >= 0 && symbol < 0x20) ||
                symbol == 0x7f) {
                return false;
            }
            segment.to++;
        }
        const int dots = reference_dots(&in, segment);
        if (dots < 0 || (dots == 2 && depth == 0)) {
            return false;
        }
        depth -= dots == 2;
        directory = dots > 0 || segment.from == segment.to;
        if (!directory) {
            stack[depth++] = segment;
        }
        i = segment.to;
    }
    char *at = out;
    for (int i = 0; i < depth; i++) {
        *at++ = '/';
        for (int k = stack[i].from; k < stack[i].to; k++) {
            at += snprintf(at, 4, in.at[k] >= ESCAPED ? "%%%02X" : "%c",
                           in.at[k] >= ESCAPED ? in.at[k] - ESCAPED : in.at[k]);
        }
    }
    if (directory) {
        *at++ = '/';
    }
    *at = '\0';
    return true;
}

/* Appends one random piece of what attackers and clients write. */
static size_t add_piece(char *text, size_t len)
{
    static const char *const pieces[] = {
        "/",          "/",         "//",           "/.",
        "/..",        "/./",       "/../",         "/a/../",
        "/api",       "/admin",    "/a.b",         "%2e",
        "%2E",        "%2e%2e",    "..;x",         "/..;/",
        "%3b",        ";v=1",      "%252e",        "%25",
        "%2f",        "%5c",       "\\",           "#",
        "%",          "%zz",       "%c3%a9",       "%C3",
        "%A9",        "%e2%82%ac", "%f0%9f%98%80", "%ff",
        " ",          "|",         "[x]",          "?",
        "%00",        "%0a",       "%7f",          "~u",
        ".",          "..",        "...",          "%ed%a0%80",
        "%c0%ae",     "\x80",      "+&=@:",        "%2b%40%3A",
        "index.html", "%41%6a%7e",
    };
    const char *piece = pieces[(size_t)rand() % (sizeof pieces / sizeof pieces[0])];
    const size_t more = strlen(piece);
    memcpy(text + len, piece, more);
    return len + more;
}

/* A known path with any of its letters written as escapes, and some extra pieces. */
static size_t random_path(char *text)
{
    static const char *const known[] = {"/api/admin/users/1", "/a/../public/./x.html", "/",
                                        "//x//y/"};
    const char *base = known[rand() % 4];
    size_t len = 0;
    for (size_t i = 0; base[i]; i++) {
        if (rand() % 5 == 0) {
            len += (size_t)snprintf(text + len, 4, rand() % 2 ? "%%%02x" : "%%%02X", base[i]);
        } else {
            text[len++] = base[i];
        }
        if (rand() % 16 == 0) {
            len = add_piece(text, len);
        }
    }
    for (int more = rand() % 3; more > 0; more--) {
        len = add_piece(text, len);
    }
    return len;
}

static void canonical_paths_agree_with_the_reference_on_random_encodings(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 4096);
    int accepted = 0, refused = 0;
    srand(3986);
    for (int round = 0; round < 400000; round++) {
        char text[MAX_SYMBOLS], expected[4 * MAX_SYMBOLS];
        size_t len = random_path(text);
        if (rand() % 2) { /* a raw escaped slash or such is in most of them otherwise */
            for (size_t i = 0; i + 3 <= len; i++) {
                if (strncmp(text + i, "%2", 2) == 0 && (text[i + 2] | 0x20) == 'f') {
                    text[i + 2] = 'd';
                }
            }
        }
        mg_str out, again;
        const bool good = reference(text, len, expected);
        const int err = mg_uri_canonical_path(&arena, mg_str_make(text, len), &strict, &out);
        if (good != (err == 0) || (good && !mg_str_equal(out, mg_str_from(expected)))) {
            print_error("'%.*s': reference %s, ours %.*s\n", (int)len, text,
                        good ? expected : "refused", err ? 7 : (int)out.len,
                        err ? "refused" : out.ptr);
            fail();
        }
        accepted += good;
        refused += !good;
        if (good) {
            assert_int_equal(mg_uri_canonical_path(&arena, out, &strict, &again), 0);
            assert_ptr_equal(again.ptr, out.ptr); /* canonical twice changes nothing */
        }
        mg_arena_reset(&arena);
    }
    assert_true(accepted > 100000 && refused > 10000);
    mg_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_paths_agree_with_the_reference_on_random_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
