/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled router against a reference that knows no index: all entries sorted by
 * plugin-interface 10.2 and tried one after the other, for random configurations and questions
 * from a small vocabulary, so that routes overlap. The reference shares no code with the router
 * but PCRE2 itself.
 */
#include "model/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define CONFIGS 5000
#define QUESTIONS 30 /* of each: 150,000 pairs */
#define MOST_ROUTES 12

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const methods[] = {"GET", "POST", "PUT", "PROPFIND"};
static const char *const host_patterns[] = {
    "a.com", "b.a.com",  "*.a.com",      "*.com",  "a.*",       "b.*",   "b.a.*",
    "x.org", "a.com:80", "*.a.com:8080", "b.*:80", "*.b.a.com", "[::1]",
};
static const char *const hosts[] = {"a.com", "b.a.com", "c.b.a.com", "a.org", "x.org",
                                    "com",   "",        "b.a.org",   "[::1]", ".a.com"};
static const char *const prefixes[] = {"/",    "/a", "/a/",   "/ab",    "/a/b", "/a/b/",
                                       "/abc", "/b", "/a/bc", "/a/b/c", "/api", "/a.b"};
static const char *const regexes[] = {
    "/a",      "/a/\\w+",        "/(a|b)/c",       "/a|/b",        "/ab?",      "/a{0}b?",
    "/a\\.b",  "/(?<x>[a-z]+)$", "/(?:a|ab)(/|$)", "/.*c",         "/a/b(?=/)", "/ab*c",
    "/a(?i)B", "/a/?b",          "/[ab]/[^/]+/?$", "/a(b|(c))|/b",
};
static const char *const paths[] = {"/",     "/a",   "/a/",  "/ab",  "/abc",  "/a/b", "/a/b/c",
                                    "/a/bc", "/b",   "/b/c", "/a.b", "/aB",   "/api", "/api/x",
                                    "/a/b/", "/axb", "/a/c", "*",    "/ab/c", "/c"};
static const char *const header_values[] = {"1", "two", "~*^v\\d$", "~*t"};
static const char *const sent_values[] = {"1", "TWO", "v7", "V7x", ""};

static uint32_t seed;

static uint32_t below(size_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % (uint32_t)limit;
}

static mg_str pick(const char *const *words, size_t count)
{
    return mg_str_from(words[below(count)]);
}

static mg_str *pick_some(struct mg_arena *arena, const char *const *words, size_t count,
                         uint32_t most, uint32_t *picked)
{
    mg_str *list = mg_arena_alloc(arena, most * sizeof *list);
    *picked = below(most + 1U);
    for (uint32_t i = 0; i < *picked; i++) {
        list[i] = pick(words, count);
    }
    return list;
}

static void random_paths(struct mg_arena *arena, struct mg_route *route)
{
    route->path_count = below(4);
    route->paths = mg_arena_zalloc(arena, 4 * sizeof *route->paths);
    for (uint32_t i = 0; i < route->path_count; i++) {
        route->paths[i].is_regex = below(3) == 0;
        route->paths[i].text = route->paths[i].is_regex ? pick(regexes, COUNT(regexes))
                                                        : pick(prefixes, COUNT(prefixes));
    }
}

static void random_headers(struct mg_arena *arena, struct mg_route *route)
{
    static const char *const names[] = {"x-a", "X-B"};
    route->header_count = below(3) == 0 ? 1 + below(2) : 0;
    route->headers = mg_arena_zalloc(arena, 2 * sizeof *route->headers);
    for (uint32_t i = 0; i < route->header_count; i++) {
        struct mg_route_header *header = &route->headers[i];
        header->name = mg_str_from(names[i]);
        header->values =
            pick_some(arena, header_values, COUNT(header_values), 2, &header->value_count);
    }
}

static struct mg_config *random_config(void)
{
    static struct mg_service services[2] = {{.enabled = true}, {.enabled = false}};
    struct mg_config *config = mg_config_new();
    struct mg_arena *arena = &config->arena;
    config->gateway.limits.regex_match_limit = 10000;
    config->route_count = below(MOST_ROUTES + 1);
    config->routes = mg_arena_zalloc(arena, MOST_ROUTES * sizeof *config->routes);
    for (uint32_t i = 0; i < config->route_count; i++) {
        struct mg_route *route = &config->routes[i];
        route->index = i;
        route->service = &services[below(10) == 0];
        route->limits = &config->gateway.limits;
        route->strip_path = below(2) == 0;
        route->regex_priority = (int32_t)below(3) - 1;
        route->methods =
            pick_some(arena, methods, COUNT(methods), below(2) * 2, &route->method_count);
        route->hosts =
            pick_some(arena, host_patterns, COUNT(host_patterns), below(2) * 3, &route->host_count);
        random_paths(arena, route);
        random_headers(arena, route);
    }
    char message[256] = "";
    assert_int_equal(mg_router_compile(config, message, sizeof message), 0);
    return config;
}

static struct mg_question random_question(struct mg_headers *headers)
{
    static const uint16_t ports[] = {80, 8080, 443};
    static const char *const names[] = {"X-A", "x-b", "x-c"};
    const uint32_t count = below(4);
    for (uint32_t i = 0; i < count; i++) {
        mg_headers_add(headers, pick(names, COUNT(names)), pick(sent_values, COUNT(sent_values)));
    }
    return (struct mg_question){.method = pick(methods, COUNT(methods)),
                                .host = pick(hosts, COUNT(hosts)),
                                .port = ports[below(COUNT(ports))],
                                .path = pick(paths, COUNT(paths)),
                                .headers = headers};
}

/* --- the reference --- */

struct naive_entry {
    const struct mg_route *route;
    int64_t keys[7]; /* bigger is first */
    bool regex;
    int64_t length; /* of the prefixes; -1 for an entry without paths */
};

/* The library's regexes, compiled once a pattern and mode. */
static int run_regex(mg_str pattern, unsigned flags, mg_str subject, struct mg_regex_match *match)
{
    static struct {
        mg_str pattern;
        unsigned flags;
        struct mg_regex *regex;
    } cache[64];
    size_t at = 0;
    while (cache[at].regex &&
           !(cache[at].flags == flags && mg_str_equal(cache[at].pattern, pattern))) {
        at++;
    }
    if (!cache[at].regex) {
        char message[64];
        assert_int_equal(mg_regex_new(&cache[at].regex, pattern, flags, message, sizeof message),
                         0);
        cache[at].pattern = pattern;
        cache[at].flags = flags;
    }
    return mg_regex_exec(cache[at].regex, subject, 0, 10000, match);
}

static void naive_split(const struct mg_route *route, struct naive_entry *entries, size_t *count)
{
    bool star = false;
    for (uint32_t i = 0; i < route->host_count; i++) {
        star = star || memchr(route->hosts[i].ptr, '*', route->hosts[i].len);
    }
    const struct naive_entry base = {.route = route,
                                     .keys = {(route->method_count > 0) + (route->host_count > 0) +
                                                  (route->header_count > 0) +
                                                  (route->path_count > 0),
                                              route->host_count > 0 && !star, route->header_count,
                                              0, 0, 0, -(int64_t)route->index},
                                     .length = -1};
    if (route->path_count == 0) {
        entries[(*count)++] = base;
    }
    for (uint32_t i = 0; i < route->path_count; i++) {
        struct naive_entry entry = base;
        entry.regex = route->paths[i].is_regex;
        entry.length = entry.regex ? 0 : (int64_t)route->paths[i].text.len;
        entry.keys[3] = entry.regex;
        entry.keys[4] = entry.regex ? route->regex_priority : 0;
        entry.keys[5] = entry.length;
        bool seen = false;
        for (size_t j = 0; j < *count; j++) {
            seen = seen || (entries[j].route == route && entries[j].regex == entry.regex &&
                            entries[j].length == entry.length);
        }
        if (!seen) {
            entries[(*count)++] = entry;
        }
    }
}

static bool is_before(const struct naive_entry *a, const struct naive_entry *b)
{
    for (int i = 0; i < 7; i++) {
        if (a->keys[i] != b->keys[i]) {
            return a->keys[i] > b->keys[i];
        }
    }
    return false;
}

static size_t naive_order(const struct mg_config *config, struct naive_entry *entries)
{
    size_t count = 0;
    for (uint32_t i = 0; i < config->route_count; i++) {
        if (config->routes[i].service->enabled) {
            naive_split(&config->routes[i], entries, &count);
        }
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0 && is_before(&entries[j], &entries[j - 1]); j--) {
            const struct naive_entry swap = entries[j];
            entries[j] = entries[j - 1];
            entries[j - 1] = swap;
        }
    }
    return count;
}

static bool naive_host(mg_str pattern, const struct mg_question *question)
{
    char text[64], host[64];
    snprintf(text, sizeof text, "%.*s", MG_STR_ARG(pattern));
    snprintf(host, sizeof host, "%.*s", MG_STR_ARG(question->host));
    char *colon = text[0] == '[' ? NULL : strchr(text, ':');
    if (colon) {
        char port[8];
        snprintf(port, sizeof port, "%u", question->port);
        if (strcmp(colon + 1, port) != 0) {
            return false;
        }
        *colon = '\0';
    }
    const size_t length = strlen(text), host_length = strlen(host);
    if (text[0] == '*') {
        return host_length >= length && strcmp(host + host_length - (length - 1), text + 1) == 0;
    }
    if (length > 0 && text[length - 1] == '*') {
        return host_length >= length && strncmp(host, text, length - 1) == 0;
    }
    return strcmp(text, host) == 0;
}

static bool naive_header(const struct mg_route_header *header, const struct mg_headers *headers)
{
    for (uint32_t i = 0; i < headers->count; i++) {
        for (uint32_t j = 0; j < header->value_count; j++) {
            const mg_str wanted = header->values[j], value = headers->items[i].value;
            struct mg_regex_match match;
            const bool fits = wanted.ptr[0] == '~'
                                  ? run_regex(mg_str_slice(wanted, 2, wanted.len),
                                              MG_REGEX_CASELESS, value, &match) == 1
                                  : mg_str_iequal(wanted, value);
            if (fits && mg_str_iequal(header->name, headers->items[i].name)) {
                return true;
            }
        }
    }
    return false;
}

static bool naive_path(const struct naive_entry *entry, mg_str path, struct mg_match *match)
{
    match->path = NULL;
    match->matched = 0;
    match->captures.count = 0;
    for (uint32_t i = 0; i < entry->route->path_count; i++) {
        const struct mg_route_path *candidate = &entry->route->paths[i];
        if (candidate->is_regex != entry->regex ||
            (!entry->regex && (int64_t)candidate->text.len != entry->length)) {
            continue;
        }
        size_t taken = candidate->text.len;
        if (entry->regex) {
            if (run_regex(candidate->text, MG_REGEX_ANCHORED, path, &match->captures) != 1) {
                match->captures.count = 0;
                continue;
            }
            taken = match->captures.at[0].len;
        } else if (!(path.len >= taken && memcmp(path.ptr, candidate->text.ptr, taken) == 0)) {
            continue;
        }
        if (entry->route->strip_path && taken < path.len && path.ptr[taken] != '/' &&
            (taken == 0 || path.ptr[taken - 1] != '/')) {
            match->captures.count = 0;
            continue;
        }
        match->path = candidate;
        match->matched = taken;
        return true;
    }
    return entry->length < 0;
}

static bool naive_entry_matches(const struct naive_entry *entry, const struct mg_question *question,
                                struct mg_match *match)
{
    const struct mg_route *route = entry->route;
    bool method = route->method_count == 0, host = route->host_count == 0;
    for (uint32_t i = 0; i < route->method_count; i++) {
        method = method || mg_str_equal(route->methods[i], question->method);
    }
    match->host = (mg_str){0};
    for (uint32_t i = 0; i < route->host_count && !host; i++) {
        host = naive_host(route->hosts[i], question);
        match->host = route->hosts[i];
    }
    bool headers = true;
    for (uint32_t i = 0; i < route->header_count; i++) {
        headers = headers && naive_header(&route->headers[i], question->headers);
    }
    return method && host && headers && naive_path(entry, question->path, match);
}

static void describe(const struct mg_config *config, const struct mg_question *question)
{
    print_message("%.*s host '%.*s' port %u path %.*s\n", MG_STR_ARG(question->method),
                  MG_STR_ARG(question->host), question->port, MG_STR_ARG(question->path));
    for (uint32_t i = 0; i < config->route_count; i++) {
        const struct mg_route *route = &config->routes[i];
        print_message("route %u strip %d priority %d:", i, route->strip_path,
                      route->regex_priority);
        for (uint32_t j = 0; j < route->host_count; j++) {
            print_message(" host %.*s", MG_STR_ARG(route->hosts[j]));
        }
        for (uint32_t j = 0; j < route->path_count; j++) {
            print_message(" %s%.*s", route->paths[j].is_regex ? "~" : "",
                          MG_STR_ARG(route->paths[j].text));
        }
        print_message(" (%u methods, %u headers)\n", route->method_count, route->header_count);
    }
}

struct tally {
    unsigned pairs, matched, by_regex, by_wildcard;
};

static void compare(const struct mg_config *config, const struct naive_entry *entries, size_t count,
                    const struct mg_question *question, struct tally *tally)
{
    struct mg_match wanted = {.route = NULL}, got;
    const struct naive_entry *winner = NULL;
    for (size_t i = 0; i < count && !winner; i++) {
        winner = naive_entry_matches(&entries[i], question, &wanted) ? &entries[i] : NULL;
    }
    const bool found = mg_router_match(config, question, &got);
    const bool same =
        found == (winner != NULL) &&
        (!found ||
         (got.route == winner->route && got.path == wanted.path && got.matched == wanted.matched &&
          mg_str_equal(got.host, wanted.host) && got.captures.count == wanted.captures.count &&
          (got.regex != NULL) == winner->regex));
    if (!same) {
        describe(config, question);
        fail_msg("the router and the reference disagree (seed %u)", seed);
    }
    tally->pairs++;
    tally->matched += found;
    tally->by_regex += found && winner->regex;
    tally->by_wildcard += found && memchr(got.host.ptr ? got.host.ptr : "", '*', got.host.len);
}

static void the_router_equals_the_reference(void **state)
{
    (void)state;
    struct tally tally = {0};
    seed = 2463534242U;
    for (int i = 0; i < CONFIGS; i++) {
        struct mg_config *config = random_config();
        struct naive_entry entries[MOST_ROUTES * 4];
        const size_t count = naive_order(config, entries);
        for (int j = 0; j < QUESTIONS; j++) {
            struct mg_headers headers;
            mg_headers_init(&headers, &config->arena);
            const struct mg_question question = random_question(&headers);
            compare(config, entries, count, &question, &tally);
        }
        mg_config_free(config);
    }
    print_message("%u pairs, %u matched, %u by a regex, %u by a wildcard host\n", tally.pairs,
                  tally.matched, tally.by_regex, tally.by_wildcard);
    assert_int_equal(tally.pairs, CONFIGS * QUESTIONS);
    assert_true(tally.matched > tally.pairs / 4); /* the vocabulary is worth something */
    assert_true(tally.by_regex > tally.pairs / 50);
    assert_true(tally.by_wildcard > tally.pairs / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_router_equals_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
