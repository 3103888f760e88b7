/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router with the canonicaliser in front of it. The input is a configuration and questions as
 * text (support/routes.h). What must hold:
 *   - the index finds what trying every entry by the words of the manual finds, and `explain` too;
 *   - a question in any other encoding (escapes, "//", "/./", host case, final dot) is the same
 *     question, so decide(raw) = decide(canonical);
 *   - the path for the upstream is the table's, and canonical, or refused.
 *
 * Covers: core/model/route_compile.c core/model/route_match.c core/model/route_radix.c
 * Covers: core/model/route_literal.c core/model/route_path.c core/model/route_explain.c
 * Covers: core/wire/uri.c core/wire/uri_host.c
 */
#include "support/routes.h"

#include "base/hash.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- one question against the naive answer ---------------------------------------------------- */

struct explained {
    const struct mg_route *route;
    const struct mg_route_path *path;
    unsigned taken;
};

static void on_entry(void *context, const struct mg_route *route, const struct mg_route_path *path,
                     const char *reason)
{
    struct explained *explained = context;
    if (!reason) {
        *explained = (struct explained){route, path, explained->taken + 1};
    }
}

static void require_path(struct mg_arena *arena, const struct mg_match *match,
                         const struct routes_answer *naive, mg_str path)
{
    const struct mg_uri_rules rules = {0};
    const mg_str base = match->route->service->path;
    mg_str out, expected, canonical, checked;
    if (base.len > 0 && (mg_uri_canonical_path(arena, base, &rules, &canonical) ||
                         !mg_str_equal(canonical, base))) {
        return; /* the schema takes canonical ones only */
    }
    expected = routes_upstream_path(arena, naive, base, path);
    const int err = mg_route_upstream_path(arena, match, base, path, &rules, &out);
    const bool good = mg_uri_canonical_path(arena, expected, &rules, &checked) == 0 &&
                      mg_str_equal(checked, expected);
    mg_require(good == (err == 0) && (err || mg_str_equal(out, expected)));
}

static void require_naive(struct mg_arena *arena, const struct mg_config *config,
                          const struct mg_question *question)
{
    struct mg_match match;
    struct explained explained = {.route = NULL};
    const bool found = mg_router_match(config, question, &match);
    const struct routes_answer naive = routes_match(config, question);
    mg_require(match.undecided == (naive.undecided ? naive.route : NULL));
    if (match.undecided) {
        mg_require(!found && !match.route);
        return;
    }
    mg_require(found == (naive.route != NULL) && match.route == naive.route);
    mg_router_explain(config, question, true, on_entry, &explained);
    mg_require(explained.taken == found && explained.route == match.route);
    if (found) {
        mg_require(match.path == naive.path && match.matched == naive.matched);
        mg_require(mg_str_equal(match.host, naive.host) && explained.path == match.path);
        require_path(arena, &match, &naive, question->path);
    }
}

/* --- other encodings of the same -------------------------------------------------------------- */

static bool is_unreserved(char c)
{
    const char small = mg_char_lower(c);
    return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c) != NULL);
}

/* Writes the path anew in an equal encoding, as the random bits say. */
static mg_str vary_path(struct mg_arena *arena, mg_str path, uint64_t random)
{
    char *out = mg_arena_alloc(arena, path.len * 6 + 8), *to = out;
    for (size_t i = 0; i < path.len; i++) {
        const char c = path.ptr[i];
        random = random * 6364136223846793005U + 1442695040888963407U;
        const unsigned choice = (unsigned)(random >> 60);
        if (c == '/') {
            static const char *const slashes[] = {"/", "//", "/./", "/x/../", "/%2E/", "/y/%2e./"};
            const char *slash = slashes[choice % 6];
            memcpy(to, slash, strlen(slash));
            to += strlen(slash);
        } else if (is_unreserved(c) && choice < 4) {
            static const char upper[] = "0123456789ABCDEF", small[] = "0123456789abcdef";
            const char *digits = choice % 2 ? upper : small;
            *to++ = '%';
            *to++ = digits[(unsigned char)c >> 4];
            *to++ = digits[c & 15];
        } else if (c == '%') { /* canonical: two digits follow */
            *to++ = c;
            for (int digit = 0; digit < 2; digit++) {
                i++;
                *to++ = choice < 8 ? mg_char_lower(path.ptr[i]) : path.ptr[i];
            }
        } else {
            *to++ = c;
        }
    }
    return mg_str_make(out, (size_t)(to - out));
}

static mg_str vary_host(struct mg_arena *arena, mg_str host, uint64_t random)
{
    char *out = mg_arena_alloc(arena, host.len + 1);
    for (size_t i = 0; i < host.len; i++) {
        const char c = host.ptr[i];
        out[i] = c >= 'a' && c <= 'z' && random >> (i % 64) & 1 ? (char)(c & ~0x20) : c;
    }
    const bool dot = random & 1 && host.ptr[0] != '[' && host.len < 255;
    out[host.len] = '.';
    return mg_str_make(out, host.len + dot);
}

static void require_same_when_varied(struct mg_arena *arena, const struct mg_config *config,
                                     const struct mg_question *question)
{
    const struct mg_uri_rules rules = {0};
    uint64_t random = mg_hash_mix(question->path, 1);
    for (int i = 0; i < 3; i++) {
        struct mg_question other = *question;
        struct mg_host host;
        struct mg_match match, other_match;
        random = random * 6364136223846793005U + 1442695040888963407U;
        const mg_str varied = vary_path(arena, question->path, random);
        mg_require(mg_uri_canonical_path(arena, varied, &rules, &other.path) == 0);
        mg_require(mg_str_equal(other.path, question->path));
        if (question->host.len > 0) {
            const mg_str text = vary_host(arena, question->host, random);
            mg_require(mg_uri_parse_host(arena, text, &host) == 0 && host.port == -1);
            mg_require(mg_str_equal(host.name, question->host));
            other.host = host.name;
        }
        const bool found = mg_router_match(config, question, &match);
        mg_require(mg_router_match(config, &other, &other_match) == found);
        mg_require(match.route == other_match.route && match.path == other_match.path &&
                   match.matched == other_match.matched &&
                   match.undecided == other_match.undecided);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

/* False where the request is refused before it is routed. */
static bool prepare(struct mg_arena *arena, const struct routes_question *asked,
                    struct mg_question *question)
{
    const struct mg_uri_rules rules = {0};
    struct mg_host host = {.port = -1};
    *question = (struct mg_question){.method = asked->method, .headers = asked->headers};
    if (mg_uri_canonical_path(arena, asked->path, &rules, &question->path) ||
        (asked->host.len > 0 && mg_uri_parse_host(arena, asked->host, &host))) {
        return false;
    }
    question->host = host.name;
    question->port = host.port < 0 ? 80 : (uint16_t)host.port;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_config *config = mg_config_new();
    mg_str text = mg_str_make((const char *)data, size), rest = text;
    struct routes_question asked;
    struct mg_question question;
    char message[256];
    int line;
    while ((line = routes_read(config, &rest, &asked)) == 0) {
    }
    if (mg_router_compile(config, message, sizeof message) == 0) {
        unsigned questions = 0;
        for (; line >= 0 && questions < 8; line = routes_read(config, &rest, &asked)) {
            if (line == 1 && prepare(&config->arena, &asked, &question)) {
                require_naive(&config->arena, config, &question);
                require_same_when_varied(&config->arena, config, &question);
                questions++;
            }
        }
    } else {
        mg_require(strnlen(message, sizeof message) > 0);
    }
    mg_config_free(config);
    return 0;
}
