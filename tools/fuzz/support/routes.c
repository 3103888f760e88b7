/* SPDX-License-Identifier: Apache-2.0 */
#include "support/routes.h"

#include "base/err.h"

#include <stdlib.h>

enum { ROUTES = 16, ITEMS = 6, LIMIT = 1000 };

/* --- reading ---------------------------------------------------------------------------------- */

static mg_str take_until(mg_str *text, char mark)
{
    const ptrdiff_t at = mg_str_find(*text, mark, 0);
    const size_t end = at < 0 ? text->len : (size_t)at;
    const mg_str taken = mg_str_slice(*text, 0, end);
    *text = mg_str_slice(*text, end + 1, text->len);
    return taken;
}

static mg_str lower(struct mg_arena *arena, mg_str text)
{
    char *copy = mg_arena_alloc(arena, text.len + 1);
    for (size_t i = 0; i < text.len; i++) {
        copy[i] = mg_char_lower(text.ptr[i]);
    }
    return mg_str_make(copy, text.len);
}

static struct mg_route *add_route(struct mg_config *config, mg_str flags)
{
    if (!config->routes) {
        config->routes = mg_arena_zalloc(&config->arena, ROUTES * sizeof *config->routes);
        config->gateway.limits.regex_match_limit = LIMIT;
    }
    if (config->route_count == ROUTES) {
        return NULL;
    }
    struct mg_route *route = &config->routes[config->route_count];
    route->service = mg_arena_zalloc(&config->arena, sizeof *route->service);
    route->service->enabled = mg_str_find(flags, 'd', 0) < 0;
    route->strip_path = mg_str_find(flags, 's', 0) >= 0;
    route->limits = &config->gateway.limits;
    route->methods = mg_arena_zalloc(&config->arena, ITEMS * sizeof(mg_str));
    route->hosts = mg_arena_zalloc(&config->arena, ITEMS * sizeof(mg_str));
    route->paths = mg_arena_zalloc(&config->arena, ITEMS * sizeof *route->paths);
    route->headers = mg_arena_zalloc(&config->arena, ITEMS * sizeof *route->headers);
    route->index = config->route_count++;
    return route;
}

/* Labels with at most one asterisk, which is the whole first or last of them; maybe a port. */
static bool is_host_pattern(mg_str text)
{
    const ptrdiff_t colon = mg_str_find(text, ':', 0);
    const mg_str name = colon < 0 ? text : mg_str_slice(text, 0, (size_t)colon);
    uint64_t port = 1;
    if (colon >= 0 && (!mg_str_to_u64(mg_str_slice(text, (size_t)colon + 1, text.len), &port) ||
                       port < 1 || port > 65535)) {
        return false;
    }
    const bool first = mg_str_starts(name, MG_STR("*."));
    const bool last = mg_str_ends(name, MG_STR(".*"));
    const mg_str rest = mg_str_slice(name, first ? 2 : 0, name.len - (last ? 2 : 0));
    return rest.len > 0 && !(first && last) && mg_str_find(rest, '*', 0) < 0 &&
           mg_str_find(rest, ' ', 0) < 0;
}

static void add_header(struct mg_arena *arena, struct mg_route *route, mg_str text)
{
    const mg_str name = lower(arena, take_until(&text, '='));
    struct mg_route_header *header = NULL;
    if (!mg_is_token(name)) {
        return;
    }
    for (uint32_t i = 0; i < route->header_count; i++) {
        if (mg_str_equal(route->headers[i].name, name)) {
            header = &route->headers[i];
        }
    }
    if (!header && route->header_count < ITEMS) {
        header = &route->headers[route->header_count++];
        header->name = name;
        header->values = mg_arena_zalloc(arena, ITEMS * sizeof(mg_str));
    }
    if (header && header->value_count < ITEMS) {
        header->values[header->value_count++] = text;
    }
}

static void add_item(struct mg_config *config, struct mg_route *route, char kind, mg_str text)
{
    uint64_t number;
    if (kind == 'm' && mg_is_token(text) && route->method_count < ITEMS) {
        route->methods[route->method_count++] = text;
    } else if (kind == 'h' && is_host_pattern(text) && route->host_count < ITEMS) {
        route->hosts[route->host_count++] = lower(&config->arena, text);
    } else if (kind == 'p' && mg_str_starts(text, MG_STR("/")) && route->path_count < ITEMS) {
        route->paths[route->path_count++] = (struct mg_route_path){.text = text};
    } else if (kind == '~' && route->path_count < ITEMS) {
        route->paths[route->path_count++] = (struct mg_route_path){.text = text, .is_regex = true};
    } else if (kind == 'P' && mg_str_to_u64(text, &number)) {
        route->regex_priority = (int32_t)(number % 100) - 50;
    } else if (kind == 'H') {
        add_header(&config->arena, route, text);
    } else if (kind == 'b') {
        route->service->path = text;
    }
}

static struct mg_headers *fields_of(struct mg_config *config)
{
    static struct mg_headers fields;
    if (config->file.ptr == NULL) { /* the first time with this configuration */
        mg_headers_init(&fields, &config->arena);
        config->file = MG_STR("fuzz");
    }
    return &fields;
}

int routes_read(struct mg_config *config, mg_str *text, struct routes_question *question)
{
    if (text->len == 0) {
        return -1;
    }
    mg_str line = take_until(text, '\n');
    const char kind = line.len > 0 ? line.ptr[0] : ' ';
    line = mg_str_slice(line, 2, line.len);
    struct mg_headers *fields = fields_of(config);
    if (kind == 'q') {
        question->method = take_until(&line, ' ');
        question->host = take_until(&line, ' ');
        question->path = line;
        question->headers = fields;
        return 1;
    }
    if (kind == 'x') {
        const mg_str name = take_until(&line, ':');
        if (mg_is_token(name) && fields->count < ITEMS) {
            mg_headers_add(fields, name, mg_str_trim(line));
        }
    } else if (config->router) {
        return 0; /* compiled: no more routes */
    } else if (kind == 'r') {
        add_route(config, line);
    } else if (config->route_count > 0) {
        add_item(config, &config->routes[config->route_count - 1], kind, line);
    }
    return 0;
}

/* --- matching --------------------------------------------------------------------------------- */

/* 1, 0, or negative where the match limit was reached and nobody knows; so are those that
 * follow. */
static int run_regex(mg_str pattern, unsigned flags, mg_str subject, struct mg_regex_match *match)
{
    struct mg_regex *regex;
    char message[128];
    if (mg_regex_new(&regex, pattern, flags, message, sizeof message)) {
        return 0; /* the router refuses the whole configuration */
    }
    const int result = mg_regex_exec(regex, subject, 0, LIMIT, match);
    mg_regex_free(regex);
    return result;
}

static bool methods_match(const struct mg_route *route, mg_str method)
{
    bool found = route->method_count == 0;
    for (uint32_t i = 0; i < route->method_count; i++) {
        found = found || mg_str_equal(route->methods[i], method);
    }
    return found;
}

static bool host_matches(mg_str pattern, mg_str host, uint16_t port)
{
    const mg_str whole = pattern;
    const mg_str name = take_until(&pattern, ':');
    uint64_t wanted;
    if (name.len < whole.len && mg_str_to_u64(pattern, &wanted) && wanted != port) {
        return false;
    }
    if (name.len < host.len + 1 && name.ptr[0] == '*') {
        return host.len > name.len - 1 && mg_str_ends(host, mg_str_slice(name, 1, name.len));
    }
    if (name.ptr[name.len - 1] == '*') {
        return host.len > name.len - 1 && mg_str_starts(host, mg_str_slice(name, 0, name.len - 1));
    }
    return mg_str_equal(name, host);
}

static int value_matches(mg_str wanted, mg_str value)
{
    struct mg_regex_match match;
    return mg_str_starts(wanted, MG_STR("~*"))
               ? run_regex(mg_str_slice(wanted, 2, wanted.len), MG_REGEX_CASELESS, value, &match)
               : mg_str_iequal(wanted, value);
}

/* Of all fields and values; what is sure beats what is not. */
static int header_matches(const struct mg_route_header *wanted, const struct mg_headers *headers)
{
    bool found = false, unsure = false;
    for (uint32_t j = 0; j < headers->count; j++) {
        for (uint32_t k = 0; k < wanted->value_count; k++) {
            const int one = mg_str_iequal(headers->items[j].name, wanted->name)
                                ? value_matches(wanted->values[k], headers->items[j].value)
                                : 0;
            found = found || one > 0;
            unsure = unsure || one < 0;
        }
    }
    return found ? 1 : unsure ? -1 : 0;
}

static int headers_match(const struct mg_route *route, const struct mg_headers *headers)
{
    int all = 1;
    for (uint32_t i = 0; i < route->header_count; i++) {
        const int one = header_matches(&route->headers[i], headers);
        all = one == 0 || all == 0 ? 0 : one < 0 ? one : all;
    }
    return all;
}

enum { NOT = -1, UNSURE = -2 };

/* How much of the path it takes, NOT or UNSURE. */
static ptrdiff_t path_matches(const struct mg_route *route, const struct mg_route_path *pattern,
                              mg_str path)
{
    struct mg_regex_match match;
    size_t taken = pattern->text.len;
    if (pattern->is_regex) {
        const int found = run_regex(pattern->text, MG_REGEX_ANCHORED, path, &match);
        if (found <= 0) {
            return found < 0 ? UNSURE : NOT;
        }
        taken = (size_t)(match.at[0].ptr - path.ptr) + match.at[0].len;
    } else if (!mg_str_starts(path, pattern->text)) {
        return NOT;
    }
    const bool boundary =
        taken == path.len || path.ptr[taken] == '/' || (taken > 0 && path.ptr[taken - 1] == '/');
    return route->strip_path && !boundary ? NOT : (ptrdiff_t)taken;
}

/* The keys of the order, highest first; the last one is the place in the file. */
struct order {
    long keys[7];
};

static struct order order_of(const struct mg_route *route, const struct mg_route_path *path)
{
    bool plain = route->host_count > 0;
    for (uint32_t i = 0; i < route->host_count; i++) {
        plain = plain && mg_str_find(route->hosts[i], '*', 0) < 0;
    }
    const bool regex = path && path->is_regex;
    return (struct order){{(route->method_count > 0) + (route->host_count > 0) +
                               (route->header_count > 0) + (route->path_count > 0),
                           plain, (long)route->header_count, regex,
                           regex ? route->regex_priority : 0,
                           path && !regex ? (long)path->text.len : 0, -(long)route->index}};
}

static bool is_before(const struct order *a, const struct order *b)
{
    for (int i = 0; i < 7; i++) {
        if (a->keys[i] != b->keys[i]) {
            return a->keys[i] > b->keys[i];
        }
    }
    return false;
}

/* The host that matches first, *found; a route without hosts takes any. */
static mg_str find_host(const struct mg_route *route, const struct mg_question *question,
                        bool *found)
{
    *found = route->host_count == 0;
    for (uint32_t i = 0; i < route->host_count; i++) {
        if (host_matches(route->hosts[i], question->host, question->port)) {
            *found = true;
            return route->hosts[i];
        }
    }
    return (mg_str){0};
}

struct routes_answer routes_match(const struct mg_config *config,
                                  const struct mg_question *question)
{
    struct routes_answer best = {.route = NULL};
    struct order best_order = {{0}};
    for (uint32_t i = 0; i < config->route_count; i++) {
        const struct mg_route *route = &config->routes[i];
        bool found;
        const mg_str host = find_host(route, question, &found);
        const int headers = headers_match(route, question->headers);
        if (!found || !route->service->enabled || !methods_match(route, question->method) ||
            headers == 0) {
            continue;
        }
        for (uint32_t j = 0; j < route->path_count || (j == 0 && route->path_count == 0); j++) {
            const struct mg_route_path *path = route->path_count > 0 ? &route->paths[j] : NULL;
            const ptrdiff_t taken = path ? path_matches(route, path, question->path) : 0;
            const struct order order = order_of(route, path);
            if (taken != NOT && (!best.route || is_before(&order, &best_order))) {
                best = (struct routes_answer){.route = route,
                                              .path = path,
                                              .matched = taken < 0 ? 0 : (size_t)taken,
                                              .host = host,
                                              .undecided = headers < 0 || taken == UNSURE};
                best_order = order;
            }
        }
    }
    return best;
}

/* --- upstream paths --------------------------------------------------------------------------- */

static mg_str glue(struct mg_arena *arena, mg_str a, const char *between, mg_str b)
{
    return mg_arena_format(arena, "%.*s%s%.*s", MG_STR_ARG(a), between, MG_STR_ARG(b));
}

mg_str routes_upstream_path(struct mg_arena *arena, const struct routes_answer *answer, mg_str base,
                            mg_str path)
{
    const mg_str root = MG_STR("/"), none = MG_STR("");
    base = base.len > 0 ? base : root;
    const bool slash = mg_str_ends(base, root), is_root = mg_str_equal(base, root);
    if (!answer->route->strip_path) {
        return slash                      ? glue(arena, base, "", mg_str_slice(path, 1, path.len))
               : mg_str_equal(path, root) ? base
                                          : glue(arena, base, "", path);
    }
    const mg_str rest = mg_str_slice(path, answer->path ? answer->matched : 1, path.len);
    const bool ends = mg_str_ends(path, root);
    if (rest.len == 0 && slash) {
        return is_root || ends ? base : mg_str_slice(base, 0, base.len - 1);
    }
    if (rest.len == 0) {
        return path.len > 1 && ends ? glue(arena, base, "/", none) : base;
    }
    if (rest.ptr[0] == '/') {
        return glue(arena, slash ? mg_str_slice(base, 0, base.len - 1) : base, "", rest);
    }
    return glue(arena, base, slash ? "" : "/", rest);
}
