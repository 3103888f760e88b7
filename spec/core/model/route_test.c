/* SPDX-License-Identifier: Apache-2.0 */
/* Router: what matches, which of several wins, why not, and the upstream path. */
#include "model/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define ROUTES 16

/* A config with room for ROUTES routes; each is filled through the pointer that add gives. */
static struct mg_config *new_config(void)
{
    struct mg_config *config = mg_config_new();
    config->routes = mg_arena_zalloc(&config->arena, ROUTES * sizeof *config->routes);
    config->gateway.limits.regex_match_limit = 10000;
    return config;
}

static struct mg_route *add(struct mg_config *config, const char *name)
{
    assert_true(config->route_count < ROUTES);
    struct mg_route *route = &config->routes[config->route_count];
    route->name = mg_str_from(name);
    route->index = config->route_count++;
    route->limits = &config->gateway.limits;
    return route;
}

/* "GET POST" -> two views */
static mg_str *words(struct mg_config *config, const char *text, uint32_t *count)
{
    mg_str *list = mg_arena_alloc(&config->arena, 16 * sizeof *list);
    *count = 0;
    while (*text) {
        const size_t length = strcspn(text, " ");
        list[(*count)++] = mg_str_make(text, length);
        text += length + strspn(text + length, " ");
    }
    return list;
}

static void set_paths(struct mg_config *config, struct mg_route *route, const char *text)
{
    const mg_str *list = words(config, text, &route->path_count);
    route->paths = mg_arena_zalloc(&config->arena, route->path_count * sizeof *route->paths);
    for (uint32_t i = 0; i < route->path_count; i++) {
        route->paths[i].is_regex = list[i].ptr[0] == '~';
        route->paths[i].text = mg_str_slice(list[i], list[i].ptr[0] == '~', list[i].len);
    }
}

static void set_hosts(struct mg_config *config, struct mg_route *route, const char *text)
{
    route->hosts = words(config, text, &route->host_count);
}

static void set_methods(struct mg_config *config, struct mg_route *route, const char *text)
{
    route->methods = words(config, text, &route->method_count);
}

static void add_header(struct mg_config *config, struct mg_route *route, const char *name,
                       const char *values)
{
    if (!route->headers) {
        route->headers = mg_arena_zalloc(&config->arena, 4 * sizeof *route->headers);
    }
    struct mg_route_header *header = &route->headers[route->header_count++];
    header->name = mg_str_from(name);
    header->values = words(config, values, &header->value_count);
}

static void compile(struct mg_config *config)
{
    char message[256] = "";
    assert_int_equal(mg_router_compile(config, message, sizeof message), 0);
}

static struct mg_question ask(const char *method, const char *host, const char *path)
{
    return (struct mg_question){.method = mg_str_from(method),
                                .host = mg_str_from(host),
                                .port = 80,
                                .path = mg_str_from(path)};
}

/* Name of the route that is taken, or "none". */
static const char *taken(const struct mg_config *config, const struct mg_question *question)
{
    struct mg_match match;
    return mg_router_match(config, question, &match) ? match.route->name.ptr : "none";
}

static const char *taken_get(const struct mg_config *config, const char *host, const char *path)
{
    const struct mg_question question = ask("GET", host, path);
    return taken(config, &question);
}

/* --- what matches --- */

static void a_prefix_is_plain_text_unless_it_is_stripped(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_paths(config, add(config, "plain"), "/foo");
    struct mg_route *strip = add(config, "strip");
    set_paths(config, strip, "/bar /dir/");
    strip->strip_path = true;
    compile(config);
    assert_string_equal(taken_get(config, "h", "/foo"), "plain");
    assert_string_equal(taken_get(config, "h", "/foobar"), "plain");
    assert_string_equal(taken_get(config, "h", "/fo"), "none");
    assert_string_equal(taken_get(config, "h", "/bar"), "strip");
    assert_string_equal(taken_get(config, "h", "/bar/x"), "strip");
    assert_string_equal(taken_get(config, "h", "/barx"), "none");
    assert_string_equal(taken_get(config, "h", "/bar../x"), "none");
    assert_string_equal(taken_get(config, "h", "/dir/x"), "strip");
    assert_string_equal(taken_get(config, "h", "/dir"), "none");
    mg_config_free(config);
}

static void a_regex_is_anchored_as_a_whole(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_paths(config, add(config, "branches"), "~/a|/b$");
    compile(config);
    assert_string_equal(taken_get(config, "h", "/a"), "branches");
    assert_string_equal(taken_get(config, "h", "/ax"), "branches");
    assert_string_equal(taken_get(config, "h", "/b"), "branches");
    assert_string_equal(taken_get(config, "h", "/x/b"), "none");
    assert_string_equal(taken_get(config, "h", "/A"), "none");
    mg_config_free(config);
}

static void a_stripped_regex_ends_at_a_boundary(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "users");
    set_paths(config, route, "~/users/(?<id>\\d+)");
    route->strip_path = true;
    compile(config);
    const struct mg_question question = ask("GET", "h", "/users/42/posts");
    struct mg_match match;
    assert_true(mg_router_match(config, &question, &match));
    assert_int_equal(match.matched, 9);
    assert_int_equal(match.captures.count, 2);
    assert_memory_equal(match.captures.at[1].ptr, "42", 2);
    assert_non_null(match.regex);
    assert_string_equal(taken_get(config, "h", "/users/42x"), "none");
    mg_config_free(config);
}

/* A path on which "(a+)+!$" gives up. It has the '!' without which PCRE2 does not even try. */
#define EVIL "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!b"

static void check_undecided(const struct mg_config *config, const struct mg_question *question,
                            const struct mg_route *route)
{
    struct mg_match match;
    assert_false(mg_router_match(config, question, &match));
    assert_null(match.route);
    assert_ptr_equal(match.undecided, route);
}

static void a_regex_over_its_match_limit_leaves_the_request_undecided(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *post = add(config, "post");
    set_methods(config, post, "POST");
    set_paths(config, post, "/");
    struct mg_route *evil = add(config, "evil");
    set_paths(config, evil, "~/(a+)+!$ ~/aa.*");
    set_paths(config, add(config, "rest"), "/");
    compile(config);
    assert_string_equal(taken_get(config, "h", "/aaa!"), "evil");
    assert_string_equal(taken_get(config, "h", "/b"), "rest");
    struct mg_question question = ask("GET", "h", EVIL);
    check_undecided(config, &question, evil);
    question.method = MG_STR("POST"); /* a route that comes before it is sure */
    assert_string_equal(taken(config, &question), "post");
    mg_config_free(config);
}

static void a_header_regex_over_its_limit_leaves_it_undecided_too(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *evil = add(config, "evil");
    add_header(config, evil, "x-a", "~*^(a+)+!$ right");
    add_header(config, evil, "x-b", "yes");
    set_paths(config, evil, "/ ~/regex");
    set_paths(config, add(config, "rest"), "/");
    compile(config);
    struct mg_arena arena;
    struct mg_headers headers;
    mg_arena_init(&arena, 256);
    mg_headers_init(&headers, &arena);
    mg_headers_add(&headers, MG_STR("X-A"), mg_str_slice(MG_STR(EVIL), 1, 99));
    struct mg_question question = ask("GET", "h", "/");
    question.headers = &headers;
    assert_string_equal(taken(config, &question), "rest"); /* another header decides */
    mg_headers_add(&headers, MG_STR("X-B"), MG_STR("yes"));
    check_undecided(config, &question, evil);
    question.path = MG_STR("/regex");
    check_undecided(config, &question, evil);
    mg_headers_add(&headers, MG_STR("X-A"), MG_STR("right")); /* any value is enough */
    assert_string_equal(taken(config, &question), "evil");
    mg_arena_deinit(&arena);
    mg_config_free(config);
}

static void hosts_may_have_wildcards_and_ports(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_hosts(config, add(config, "exact"), "a.example");
    set_hosts(config, add(config, "port"), "p.example:8443");
    set_hosts(config, add(config, "left"), "*.wild.example");
    set_hosts(config, add(config, "right"), "api.*");
    set_hosts(config, add(config, "v6"), "[::1]:8443 [::2]");
    compile(config);
    assert_string_equal(taken_get(config, "a.example", "/"), "exact");
    assert_string_equal(taken_get(config, "b.example", "/"), "none");
    assert_string_equal(taken_get(config, "", "/"), "none");
    assert_string_equal(taken_get(config, "x.wild.example", "/"), "left");
    assert_string_equal(taken_get(config, "x.y.wild.example", "/"), "left");
    assert_string_equal(taken_get(config, "wild.example", "/"), "none");
    assert_string_equal(taken_get(config, ".wild.example", "/"), "none");
    assert_string_equal(taken_get(config, "xwild.example", "/"), "none");
    assert_string_equal(taken_get(config, "api.example", "/"), "right");
    assert_string_equal(taken_get(config, "api.co.uk", "/"), "right");
    assert_string_equal(taken_get(config, "api.", "/"), "none");
    assert_string_equal(taken_get(config, "p.example", "/"), "none");
    assert_string_equal(taken_get(config, "[::2]", "/"), "v6");
    struct mg_question question = ask("GET", "p.example", "/");
    question.port = 8443;
    assert_string_equal(taken(config, &question), "port");
    question.host = MG_STR("[::1]");
    assert_string_equal(taken(config, &question), "v6");
    mg_config_free(config);
}

static void headers_match_by_value_or_regex_without_case(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "beta");
    add_header(config, route, "x-version", "beta ~*^v[23]$");
    add_header(config, route, "X-Zone", "eu");
    compile(config);
    struct mg_headers headers;
    mg_headers_init(&headers, &config->arena);
    struct mg_question question = ask("GET", "h", "/");
    question.headers = &headers;
    assert_string_equal(taken(config, &question), "none");
    mg_headers_add(&headers, MG_STR("X-VERSION"), MG_STR("v1"));
    mg_headers_add(&headers, MG_STR("x-zone"), MG_STR("EU"));
    assert_string_equal(taken(config, &question), "none");
    mg_headers_add(&headers, MG_STR("X-Version"), MG_STR("V2")); /* one of the values is enough */
    assert_string_equal(taken(config, &question), "beta");
    mg_headers_set(&headers, MG_STR("X-Version"), MG_STR("Beta"));
    assert_string_equal(taken(config, &question), "beta");
    mg_headers_set(&headers, MG_STR("X-Version"), MG_STR("beta2"));
    assert_string_equal(taken(config, &question), "none");
    mg_config_free(config);
}

static void routes_of_disabled_services_do_not_exist(void **state)
{
    (void)state;
    struct mg_service off = {.enabled = false}, on = {.enabled = true};
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "off");
    set_paths(config, route, "/a");
    route->service = &off;
    route = add(config, "on");
    set_paths(config, route, "/");
    route->service = &on;
    compile(config);
    assert_string_equal(taken_get(config, "h", "/a"), "on");
    mg_config_free(config);
}

static void a_router_without_routes_matches_nothing(void **state)
{
    (void)state;
    struct mg_config *config = mg_config_new();
    compile(config);
    assert_string_equal(taken_get(config, "a.b", "/"), "none");
    mg_config_free(config);
}

static void a_bad_regex_is_named(void **state)
{
    (void)state;
    char message[256];
    struct mg_config *config = new_config();
    set_paths(config, add(config, "first"), "/ok ~/ok");
    set_paths(config, add(config, "broken"), "~/a(b");
    assert_int_equal(mg_router_compile(config, message, sizeof message), MG_EINVALID);
    assert_non_null(strstr(message, "route 'broken': paths: bad regex '/a(b': "));
    mg_config_free(config);

    config = new_config();
    add_header(config, add(config, "head"), "x-a", "~*[");
    assert_int_equal(mg_router_compile(config, message, sizeof message), MG_EINVALID);
    assert_non_null(strstr(message, "route 'head': headers: bad regex '[': "));
    mg_config_free(config);
}

/* --- which one wins: 10.2, keys 1 to 7 --- */

static void more_kinds_of_field_win(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_paths(config, add(config, "path"), "/a/very/long/path");
    struct mg_route *route = add(config, "method and path");
    set_paths(config, route, "/a");
    set_methods(config, route, "POST GET");
    compile(config);
    assert_string_equal(taken_get(config, "h", "/a/very/long/path"), "method and path");
    const struct mg_question question = ask("PUT", "h", "/a/very/long/path");
    assert_string_equal(taken(config, &question), "path");
    mg_config_free(config);
}

static void hosts_without_wildcard_win(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "wild");
    set_hosts(config, route, "*.example");
    set_paths(config, route, "/a/long");
    route = add(config, "mixed");
    set_hosts(config, route, "a.example *.other");
    set_paths(config, route, "/a/lo");
    route = add(config, "exact");
    set_hosts(config, route, "a.example");
    set_paths(config, route, "/a");
    compile(config);
    assert_string_equal(taken_get(config, "a.example", "/a/long"), "exact");
    assert_string_equal(taken_get(config, "b.example", "/a/long"), "wild");
    mg_config_free(config);
}

static void more_headers_win(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "one");
    add_header(config, route, "x-a", "1");
    set_paths(config, route, "~/a.*");
    route = add(config, "two");
    add_header(config, route, "x-a", "1");
    add_header(config, route, "x-b", "1");
    set_paths(config, route, "/");
    compile(config);
    struct mg_headers headers;
    mg_headers_init(&headers, &config->arena);
    mg_headers_add(&headers, MG_STR("x-a"), MG_STR("1"));
    mg_headers_add(&headers, MG_STR("x-b"), MG_STR("1"));
    struct mg_question question = ask("GET", "h", "/a");
    question.headers = &headers;
    assert_string_equal(taken(config, &question), "two");
    mg_config_free(config);
}

static void regexes_win_over_prefixes_by_priority(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_paths(config, add(config, "prefix"), "/a/b/c/d");
    struct mg_route *low = add(config, "low");
    set_paths(config, low, "~/a/.*");
    low->regex_priority = -1;
    set_paths(config, add(config, "zero"), "~/a/b");
    set_paths(config, add(config, "zero again"), "~/a/b/c");
    compile(config);
    assert_string_equal(taken_get(config, "h", "/a/b/c/d"), "zero");
    assert_string_equal(taken_get(config, "h", "/a/x"), "low");
    mg_config_free(config);
}

static void longer_prefixes_win_and_then_the_earlier_line(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    set_paths(config, add(config, "short"), "/a");
    set_paths(config, add(config, "both"), "/ /a/b");
    set_paths(config, add(config, "later"), "/a/b /a/c");
    compile(config);
    assert_string_equal(taken_get(config, "h", "/a/b/c"), "both");
    assert_string_equal(taken_get(config, "h", "/a/c"), "later");
    assert_string_equal(taken_get(config, "h", "/a/d"), "short");
    assert_string_equal(taken_get(config, "h", "/b"), "both");
    mg_config_free(config);
}

/* --- explain --- */

struct lines {
    char text[2048];
    size_t length;
};

static void on_entry(void *context, const struct mg_route *route, const struct mg_route_path *path,
                     const char *reason)
{
    struct lines *lines = context;
    const mg_str text = path ? path->text : MG_STR("-");
    lines->length += (size_t)snprintf(
        lines->text + lines->length, sizeof lines->text - lines->length, "%.*s %.*s: %s\n",
        MG_STR_ARG(route->name), MG_STR_ARG(text), reason ? reason : "TAKEN");
}

static void explain_names_the_first_reason_of_each_entry(void **state)
{
    (void)state;
    struct mg_config *config = new_config();
    struct mg_route *route = add(config, "post");
    set_methods(config, route, "POST PUT PATCH");
    set_hosts(config, route, "h");
    set_paths(config, route, "/x");
    route = add(config, "host");
    set_hosts(config, route, "a.example *.b");
    set_paths(config, route, "/x");
    route = add(config, "head");
    add_header(config, route, "x-a", "1 2");
    set_paths(config, route, "/x");
    set_paths(config, add(config, "regex"), "~/y ~/z");
    route = add(config, "strip");
    route->strip_path = true;
    set_paths(config, route, "/x/in");
    set_paths(config, add(config, "yes"), "/x/i");
    set_paths(config, add(config, "late"), "/");
    compile(config);
    const struct mg_question question = ask("GET", "h", "/x/inside");
    struct lines lines = {.length = 0};
    mg_router_explain(config, &question, true, on_entry, &lines);
    assert_string_equal(lines.text,
                        "post /x: method is not POST, PUT or PATCH\n"
                        "head /x: header x-a is missing\n"
                        "host /x: host is not a.example or *.b\n"
                        "regex /y: path does not match ~/y or ~/z\n"
                        "strip /x/in: path goes on inside the segment after /x/in, and strip_path "
                        "takes whole segments only\n"
                        "yes /x/i: TAKEN\n"
                        "late /: it matches too, but comes later in the order\n");
    lines.length = 0;
    mg_router_explain(config, &question, false, on_entry, &lines);
    assert_string_equal(strrchr(lines.text, 'y'), "yes /x/i: TAKEN\n");
    mg_config_free(config);
}

/* --- the upstream path: 10.4 --- */

static void expect_path(bool strip, const char *prefix, const char *base, const char *path,
                        const char *wanted)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 1024);
    const struct mg_uri_rules rules = {.keep_slashes = false};
    struct mg_route route = {.strip_path = strip};
    const struct mg_route_path route_path = {.text = mg_str_from(prefix)};
    const struct mg_match match = {.route = &route,
                                   .path = prefix ? &route_path : NULL,
                                   .matched = prefix ? strlen(prefix) : 0};
    mg_str out;
    const int err =
        mg_route_upstream_path(&arena, &match, mg_str_from(base), mg_str_from(path), &rules, &out);
    if (!wanted) {
        assert_int_equal(err, MG_ETARGET);
    } else {
        assert_int_equal(err, 0);
        assert_int_equal(out.len, strlen(wanted));
        assert_memory_equal(out.ptr, wanted, out.len);
    }
    mg_arena_deinit(&arena);
}

static void a_stripped_path_joins_the_base_with_one_slash(void **state)
{
    (void)state;
    expect_path(true, "/foo", "/", "/foo", "/");
    expect_path(true, "/foo", "", "/foo", "/");
    expect_path(true, "/foo/", "/", "/foo/", "/");
    expect_path(true, "/foo/", "/base/", "/foo/", "/base/");
    expect_path(true, "/foo", "/base/", "/foo", "/base");
    expect_path(true, "/foo", "/", "/foo/bar", "/bar");
    expect_path(true, "/foo", "/base/", "/foo/bar", "/base/bar");
    expect_path(true, "/foo/", "/base/", "/foo/bar", "/base/bar");
    expect_path(true, "/foo", "/base", "/foo", "/base");
    expect_path(true, "/foo/", "/base", "/foo/", "/base/");
    expect_path(true, "/", "/base", "/", "/base");
    expect_path(true, "/foo", "/base", "/foo/", "/base/");
    expect_path(true, "/foo", "/base", "/foo/bar", "/base/bar");
    expect_path(true, "/foo/", "/base", "/foo/bar", "/base/bar");
    expect_path(true, NULL, "/base", "/bar", "/base/bar");
    expect_path(true, NULL, "/base", "/", "/base");
    expect_path(true, NULL, "/", "/bar/", "/bar/");
}

static void an_unstripped_path_follows_the_base(void **state)
{
    (void)state;
    expect_path(false, "/foo", "/", "/foo/bar", "/foo/bar");
    expect_path(false, "/foo", "", "/foobar", "/foobar");
    expect_path(false, "/foo", "/base/", "/foo", "/base/foo");
    expect_path(false, "/", "/base/", "/", "/base/");
    expect_path(false, "/", "/base", "/", "/base");
    expect_path(false, "/", "/base", "/x", "/base/x");
    expect_path(false, NULL, "/base", "/x", "/base/x");
    expect_path(false, NULL, "/", "*", "*");
}

static void a_path_that_stripping_makes_ambiguous_is_refused(void **state)
{
    (void)state;
    expect_path(true, "/api", "/", "/api../admin", NULL);
    expect_path(true, "/api", "/base", "/api./x", NULL);
    expect_path(true, "/a", "/base", "/a..", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_is_plain_text_unless_it_is_stripped),
        cmocka_unit_test(a_regex_is_anchored_as_a_whole),
        cmocka_unit_test(a_stripped_regex_ends_at_a_boundary),
        cmocka_unit_test(a_regex_over_its_match_limit_leaves_the_request_undecided),
        cmocka_unit_test(a_header_regex_over_its_limit_leaves_it_undecided_too),
        cmocka_unit_test(hosts_may_have_wildcards_and_ports),
        cmocka_unit_test(headers_match_by_value_or_regex_without_case),
        cmocka_unit_test(routes_of_disabled_services_do_not_exist),
        cmocka_unit_test(a_router_without_routes_matches_nothing),
        cmocka_unit_test(a_bad_regex_is_named),
        cmocka_unit_test(more_kinds_of_field_win),
        cmocka_unit_test(hosts_without_wildcard_win),
        cmocka_unit_test(more_headers_win),
        cmocka_unit_test(regexes_win_over_prefixes_by_priority),
        cmocka_unit_test(longer_prefixes_win_and_then_the_earlier_line),
        cmocka_unit_test(explain_names_the_first_reason_of_each_entry),
        cmocka_unit_test(a_stripped_path_joins_the_base_with_one_slash),
        cmocka_unit_test(an_unstripped_path_follows_the_base),
        cmocka_unit_test(a_path_that_stripping_makes_ambiguous_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
