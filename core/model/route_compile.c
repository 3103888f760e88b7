/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling the router: routes are split into entries, sorted, and entered in the index by rank. */
#include "model/route_literal.h"
#include "model/route_table.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_HEADERS 255 /* that count in the order */
#define DEFAULT_REGEX_LIMIT 100000

struct compiler {
    struct mg_config *config;
    struct mg_router *router;
    char *message;
    size_t message_bytes;
};

struct mg_route_host mg_route_host_parse(mg_str text)
{
    struct mg_route_host host = {.kind = MG_HOST_EXACT, .text = text, .port = -1};
    const ptrdiff_t colon = mg_str_find(text, ':', 0);
    const ptrdiff_t bracket = mg_str_find(text, ']', 0); /* "[::1]:8080" */
    const ptrdiff_t at = bracket >= 0 ? mg_str_find(text, ':', (size_t)bracket) : colon;
    uint64_t port;
    if (at >= 0 && mg_str_to_u64(mg_str_slice(text, (size_t)at + 1, text.len), &port) &&
        port <= UINT16_MAX) {
        host.port = (int32_t)port;
        host.text = mg_str_slice(text, 0, (size_t)at);
    }
    if (mg_str_starts(host.text, MG_STR("*."))) {
        host.kind = MG_HOST_SUFFIX;
        host.text = mg_str_slice(host.text, 1, host.text.len);
    } else if (mg_str_ends(host.text, MG_STR(".*"))) {
        host.kind = MG_HOST_PREFIX;
        host.text = mg_str_slice(host.text, 0, host.text.len - 1);
    }
    return host;
}

/* --- regexes --- */

static int compile_regex(struct compiler *compiler, const struct mg_route *route, const char *field,
                         mg_str pattern, unsigned flags, struct mg_regex **out)
{
    char why[256] = "";
    if (mg_regex_new(out, pattern, flags, why, sizeof why)) {
        const mg_str name = route->name.len > 0 ? route->name : route->id;
        snprintf(compiler->message, compiler->message_bytes,
                 "route '%.*s': %s: bad regex '%.*s': %s", MG_STR_ARG(name), field,
                 MG_STR_ARG(pattern), why);
        return MG_EINVALID;
    }
    compiler->router->owned[compiler->router->owned_count++] = *out;
    return 0;
}

static bool is_header_regex(mg_str value)
{
    return mg_str_starts(value, MG_STR("~*"));
}

static int compile_headers(struct compiler *compiler, struct mg_route *route)
{
    for (uint32_t i = 0; i < route->header_count; i++) {
        struct mg_route_header *header = &route->headers[i];
        header->regexes = mg_arena_zalloc(&compiler->config->arena,
                                          header->value_count * sizeof(struct mg_regex *));
        for (uint32_t j = 0; j < header->value_count; j++) {
            const mg_str value = header->values[j];
            if (is_header_regex(value)) {
                const int err =
                    compile_regex(compiler, route, "headers", mg_str_slice(value, 2, value.len),
                                  MG_REGEX_CASELESS, &header->regexes[j]);
                if (err) {
                    return err;
                }
            }
        }
    }
    return 0;
}

/* --- entries --- */

static bool is_served(const struct mg_route *route)
{
    return !route->service || route->service->enabled;
}

static uint32_t regex_limit(const struct mg_config *config, const struct mg_route *route)
{
    const struct mg_limits *limits = route->limits ? route->limits : &config->gateway.limits;
    return limits->regex_match_limit ? limits->regex_match_limit : DEFAULT_REGEX_LIMIT;
}

/* What all entries of the route have in common. */
static struct mg_route_entry describe(struct mg_config *config, struct mg_route *route)
{
    struct mg_route_host *hosts = mg_arena_alloc(&config->arena, route->host_count * sizeof *hosts);
    struct mg_route_entry entry = {
        .route = route,
        .hosts = hosts,
        .plain_hosts = route->host_count > 0,
        .kinds = (uint32_t)(route->method_count > 0) + (route->host_count > 0) +
                 (route->header_count > 0) + (route->path_count > 0),
        .regex_limit = regex_limit(config, route),
    };
    for (uint32_t i = 0; i < route->host_count; i++) {
        hosts[i] = mg_route_host_parse(route->hosts[i]);
        entry.needs_port = entry.needs_port || hosts[i].port >= 0;
        entry.plain_hosts = entry.plain_hosts && hosts[i].kind == MG_HOST_EXACT;
    }
    return entry;
}

static bool belongs(const struct mg_route_path *path, const struct mg_route_path *first)
{
    return path->is_regex == first->is_regex &&
           (path->is_regex || path->text.len == first->text.len);
}

/* Collects the paths from first on that share an entry with it: all regexes, or one prefix length.
 * */
static int add_entry(struct compiler *compiler, const struct mg_route_entry *common, uint32_t first)
{
    struct mg_arena *arena = &compiler->config->arena;
    const struct mg_route *route = common->route;
    const struct mg_route_path *model = &route->paths[first];
    struct mg_route_entry *entry = &compiler->router->entries[compiler->router->entry_count++];
    *entry = *common;
    entry->paths = mg_arena_alloc(arena, route->path_count * sizeof(void *));
    if (model->is_regex) {
        entry->regexes = mg_arena_alloc(arena, route->path_count * sizeof(void *));
        compiler->router->has_regexes = true;
    } else {
        entry->prefix_length = (uint32_t)model->text.len;
    }
    for (uint32_t i = first; i < route->path_count; i++) {
        if (!belongs(&route->paths[i], model)) {
            continue;
        }
        if (model->is_regex) {
            const int err = compile_regex(compiler, route, "paths", route->paths[i].text,
                                          MG_REGEX_ANCHORED, &entry->regexes[entry->path_count]);
            if (err) {
                return err;
            }
        }
        entry->paths[entry->path_count++] = &route->paths[i];
    }
    return 0;
}

static bool is_first_of_its_entry(const struct mg_route *route, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        if (belongs(&route->paths[i], &route->paths[at])) {
            return false;
        }
    }
    return true;
}

static int split_route(struct compiler *compiler, struct mg_route *route)
{
    const struct mg_route_entry common = describe(compiler->config, route);
    if (route->path_count == 0) {
        compiler->router->entries[compiler->router->entry_count++] = common;
    }
    for (uint32_t i = 0; i < route->path_count; i++) {
        if (is_first_of_its_entry(route, i)) {
            const int err = add_entry(compiler, &common, i);
            if (err) {
                return err;
            }
        }
    }
    return compile_headers(compiler, route);
}

/* --- order --- */

static uint32_t counted_headers(const struct mg_route *route)
{
    return route->header_count < MOST_HEADERS ? route->header_count : MOST_HEADERS;
}

static int higher_first(uint64_t a, uint64_t b)
{
    return (a < b) - (a > b);
}

static int compare_entries(const void *left, const void *right)
{
    const struct mg_route_entry *a = left, *b = right;
    int order = higher_first(a->kinds, b->kinds);
    order = order ? order : higher_first(a->plain_hosts, b->plain_hosts);
    order = order ? order : higher_first(counted_headers(a->route), counted_headers(b->route));
    order = order ? order : higher_first(a->regexes != NULL, b->regexes != NULL);
    if (order == 0 && a->regexes) {
        order = (a->route->regex_priority < b->route->regex_priority) -
                (a->route->regex_priority > b->route->regex_priority);
    }
    order = order ? order : higher_first(a->prefix_length, b->prefix_length);
    return order ? order : -higher_first(a->route->index, b->route->index);
}

/* --- index --- */

static struct mg_route_group *new_group(struct mg_arena *arena, enum mg_host_kind kind, mg_str text)
{
    struct mg_route_group *group = mg_arena_alloc(arena, sizeof *group);
    *group = (struct mg_route_group){.kind = kind, .text = text, .root = mg_radix_new(arena)};
    return group;
}

static struct mg_route_group *group_of(struct compiler *compiler, const struct mg_route_host *host)
{
    struct mg_route_group **slot = mg_router_slot(compiler->router, host->kind, host->text);
    if (!*slot) {
        *slot = new_group(&compiler->config->arena, host->kind, host->text);
        compiler->router->has_kind[host->kind] = true;
        if (host->kind == MG_HOST_SUFFIX) {
            const size_t length = mg_route_suffix_length(host->text.len);
            compiler->router->suffix_lengths[length / 64] |= 1ULL << length % 64;
        }
    }
    return *slot;
}

static void index_in_group(struct compiler *compiler, struct mg_route_group *group, uint32_t rank)
{
    struct mg_arena *arena = &compiler->config->arena;
    const struct mg_route_entry *entry = &compiler->router->entries[rank];
    if (entry->path_count == 0) {
        mg_radix_append(arena, &group->root->plain, rank);
    }
    for (uint32_t i = 0; i < entry->path_count; i++) {
        if (entry->regexes) {
            const mg_str text = mg_route_literal_prefix(arena, entry->paths[i]->text);
            mg_radix_append(arena, &mg_radix_place(arena, group->root, text)->regex, rank);
        } else {
            const mg_str text = entry->paths[i]->text;
            mg_radix_append(arena, &mg_radix_place(arena, group->root, text)->plain, rank);
        }
    }
}

static void build_index(struct compiler *compiler)
{
    struct mg_router *router = compiler->router;
    struct mg_arena *arena = &compiler->config->arena;
    router->any = new_group(arena, MG_HOST_EXACT, MG_STR(""));
    for (uint32_t rank = 0; rank < router->entry_count; rank++) {
        const struct mg_route_entry *entry = &router->entries[rank];
        for (uint32_t i = 0; i < entry->route->host_count; i++) {
            index_in_group(compiler, group_of(compiler, &entry->hosts[i]), rank);
        }
        if (entry->route->host_count == 0) {
            index_in_group(compiler, router->any, rank);
        }
    }
    mg_radix_freeze(arena, router->any->root);
    for (uint32_t i = 0; i <= router->slot_mask; i++) {
        if (router->slots[i]) {
            mg_radix_freeze(arena, router->slots[i]->root);
        }
    }
}

/* --- the whole --- */

struct sizes {
    size_t entries, hosts, regexes; /* at most */
};

static struct sizes measure(const struct mg_config *config)
{
    struct sizes sizes = {0};
    for (uint32_t i = 0; i < config->route_count; i++) {
        const struct mg_route *route = &config->routes[i];
        sizes.entries += route->path_count > 0 ? route->path_count : 1;
        sizes.hosts += route->host_count;
        sizes.regexes += route->path_count;
        for (uint32_t j = 0; j < route->header_count; j++) {
            sizes.regexes += route->headers[j].value_count;
        }
    }
    return sizes;
}

static struct mg_router *new_router(struct mg_config *config)
{
    struct mg_arena *arena = &config->arena;
    const struct sizes sizes = measure(config);
    uint32_t slots = 4;
    while (slots < 2 * sizes.hosts) {
        slots *= 2;
    }
    struct mg_router *router = mg_arena_zalloc(arena, sizeof *router);
    router->entries = mg_arena_zalloc(arena, sizes.entries * sizeof *router->entries);
    router->owned = mg_arena_alloc(arena, sizes.regexes * sizeof(void *));
    router->slots = mg_arena_zalloc(arena, slots * sizeof(void *));
    router->slot_mask = slots - 1;
    return router;
}

static void free_router(void *router)
{
    mg_router_free(router);
}

int mg_router_compile(struct mg_config *config, char *message, size_t message_bytes)
{
    struct compiler compiler = {.config = config,
                                .router = new_router(config),
                                .message = message,
                                .message_bytes = message_bytes};
    mg_arena_defer(&config->arena, free_router, compiler.router);
    for (uint32_t i = 0; i < config->route_count; i++) {
        if (!is_served(&config->routes[i])) {
            continue;
        }
        const int err = split_route(&compiler, &config->routes[i]);
        if (err) {
            return err;
        }
    }
    struct mg_router *router = compiler.router;
    if (router->entry_count > 1) {
        qsort(router->entries, router->entry_count, sizeof *router->entries, compare_entries);
    }
    build_index(&compiler);
    config->router = router;
    return 0;
}

void mg_router_free(struct mg_router *router)
{
    while (router->owned_count > 0) {
        mg_regex_free(router->owned[--router->owned_count]);
    }
}
