/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the entry of the lowest rank that matches. All entries whose host and prefix fit stand
 * in the lists on the way down at most a few trees; each list is read only up to the best rank so
 * far. Regexes come in a second pass, when most of them are already beaten.
 *
 * Whether an entry matches is an int: 1, 0, or negative where a regex reached its match limit. Then
 * nobody knows, and going on to the next entry would let whoever writes such a path choose a route
 * with fewer checks: so it is taken as the entry of its rank, and the search ends undecided.
 */
#include "model/route_table.h"

#include "base/hash.h"

#define NONE UINT32_MAX

struct mg_route_group **mg_router_slot(const struct mg_router *router, enum mg_host_kind kind,
                                       mg_str text)
{
    uint32_t at = (uint32_t)mg_hash_mix(text, (uint64_t)kind) & router->slot_mask;
    while (router->slots[at] &&
           !(router->slots[at]->kind == kind && mg_str_equal(router->slots[at]->text, text))) {
        at = (at + 1) & router->slot_mask;
    }
    return &router->slots[at];
}

struct mg_route_group *mg_router_group(const struct mg_router *router, enum mg_host_kind kind,
                                       mg_str text)
{
    return *mg_router_slot(router, kind, text);
}

bool mg_route_method_matches(const struct mg_route *route, mg_str method)
{
    for (uint32_t i = 0; i < route->method_count; i++) {
        if (mg_str_equal(route->methods[i], method)) {
            return true;
        }
    }
    return route->method_count == 0;
}

static bool host_matches(const struct mg_route_host *pattern, mg_str host, uint16_t port)
{
    if (pattern->port >= 0 && pattern->port != port) {
        return false;
    }
    switch (pattern->kind) {
    case MG_HOST_SUFFIX: /* the asterisk stands for at least one byte */
        return host.len > pattern->text.len && mg_str_ends(host, pattern->text);
    case MG_HOST_PREFIX:
        return host.len > pattern->text.len && mg_str_starts(host, pattern->text);
    default:
        return mg_str_equal(host, pattern->text);
    }
}

int mg_route_host_find(const struct mg_route_entry *entry, const struct mg_question *question)
{
    for (uint32_t i = 0; i < entry->route->host_count; i++) {
        if (host_matches(&entry->hosts[i], question->host, question->port)) {
            return (int)i;
        }
    }
    return -1;
}

static int value_matches(const struct mg_route_header *wanted, mg_str value, uint32_t limit)
{
    int result = 0;
    for (uint32_t i = 0; i < wanted->value_count; i++) {
        struct mg_regex_match match;
        const int one = wanted->regexes[i]
                            ? mg_regex_exec(wanted->regexes[i], value, 0, limit, &match)
                            : mg_str_iequal(wanted->values[i], value);
        if (one > 0) {
            return 1;
        }
        result = one < 0 ? one : result;
    }
    return result;
}

/* Any field with the name, any of its values. */
static int header_matches(const struct mg_route_header *wanted, const struct mg_headers *headers,
                          uint32_t limit)
{
    const struct mg_header *field = headers ? mg_headers_find(headers, wanted->name, 0) : NULL;
    int result = 0;
    while (field) {
        const int one = value_matches(wanted, field->value, limit);
        if (one > 0) {
            return 1;
        }
        result = one < 0 ? one : result;
        field = mg_headers_find(headers, wanted->name, (uint32_t)(field - headers->items) + 1);
    }
    return result;
}

int mg_route_headers_match(const struct mg_route_entry *entry, const struct mg_headers *headers,
                           const struct mg_route_header **missing)
{
    int result = 1;
    *missing = NULL;
    for (uint32_t i = 0; i < entry->route->header_count; i++) {
        const int one = header_matches(&entry->route->headers[i], headers, entry->regex_limit);
        if (one == 0) {
            *missing = &entry->route->headers[i];
            return 0;
        }
        result = one < 0 ? one : result;
    }
    return result;
}

int mg_route_regex_match(const struct mg_route_entry *entry, mg_str path, struct mg_match *match)
{
    for (uint32_t i = 0; i < entry->path_count; i++) {
        struct mg_regex_match found;
        const int one = mg_regex_exec(entry->regexes[i], path, 0, entry->regex_limit, &found);
        if (one < 0) {
            return one;
        }
        const size_t matched = one > 0 ? (size_t)(found.at[0].ptr - path.ptr) + found.at[0].len : 0;
        if (one == 0 || (entry->route->strip_path && !mg_route_is_boundary(path, matched))) {
            continue;
        }
        match->path = entry->paths[i];
        match->matched = matched;
        match->regex = entry->regexes[i];
        match->captures = found;
        return 1;
    }
    return 0;
}

/* Methods, ports and headers of an entry whose host pattern and prefix are known to match. */
static int others_match(const struct mg_route_entry *entry, const struct mg_question *question)
{
    const struct mg_route *route = entry->route;
    const struct mg_route_header *missing;
    if ((route->method_count > 0 && !mg_route_method_matches(route, question->method)) ||
        (entry->needs_port && mg_route_host_find(entry, question) < 0)) {
        return 0;
    }
    return route->header_count > 0 ? mg_route_headers_match(entry, question->headers, &missing) : 1;
}

struct search {
    const struct mg_router *router;
    const struct mg_question *question;
    struct mg_match *match;
    uint32_t best;  /* rank */
    bool undecided; /* of that rank: a limit was reached */
    bool regexes;   /* the second pass */
};

/* Looks in the list for a lower rank than the best. */
static void try_prefixes(struct search *search, const struct mg_ranks *ranks, bool boundary)
{
    for (uint32_t i = 0; i < ranks->count && ranks->at[i] < search->best; i++) {
        const struct mg_route_entry *entry = &search->router->entries[ranks->at[i]];
        const bool fits = boundary || !entry->route->strip_path || entry->path_count == 0;
        const int found = fits ? others_match(entry, search->question) : 0;
        if (found != 0) {
            search->best = ranks->at[i];
            search->undecided = found < 0;
            return;
        }
    }
}

static void try_regexes(struct search *search, const struct mg_ranks *ranks)
{
    for (uint32_t i = 0; i < ranks->count && ranks->at[i] < search->best; i++) {
        const struct mg_route_entry *entry = &search->router->entries[ranks->at[i]];
        const int others = others_match(entry, search->question);
        const int path =
            others ? mg_route_regex_match(entry, search->question->path, search->match) : 0;
        if (path != 0) {
            search->best = ranks->at[i];
            search->undecided = path < 0 || others < 0;
            return;
        }
    }
}

static void search_prefixes(struct search *search, const struct mg_route_group *group)
{
    const mg_str path = search->question->path;
    size_t at = 0;
    for (const struct mg_radix_node *node = group->root; node;
         node = mg_radix_next(node, path, &at)) {
        if (node->plain.count > 0) {
            try_prefixes(search, &node->plain, mg_route_is_boundary(path, at));
        }
    }
}

static void search_regexes(struct search *search, const struct mg_route_group *group)
{
    const mg_str path = search->question->path;
    size_t at = 0;
    for (const struct mg_radix_node *node = group->root; node;
         node = mg_radix_next(node, path, &at)) {
        if (node->regex.count > 0) {
            try_regexes(search, &node->regex);
        }
    }
}

static void search_group(struct search *search, const struct mg_route_group *group)
{
    if (group && search->regexes) {
        search_regexes(search, group);
    } else if (group) {
        search_prefixes(search, group);
    }
}

static bool has_suffix_of(const struct mg_router *router, size_t length)
{
    const size_t index = mg_route_suffix_length(length);
    return (router->suffix_lengths[index / 64] >> index % 64 & 1U) != 0;
}

/* Wildcards: every suffix of the host that begins with a dot, every prefix that ends with one. */
static void search_wildcards(struct search *search)
{
    const struct mg_router *router = search->router;
    const mg_str host = search->question->host;
    for (size_t at = 0; at < host.len; at++) {
        if (host.ptr[at] != '.') {
            continue;
        }
        if (at > 0 && has_suffix_of(router, host.len - at)) {
            search_group(search,
                         mg_router_group(router, MG_HOST_SUFFIX, mg_str_slice(host, at, host.len)));
        }
        if (at + 1 < host.len && router->has_kind[MG_HOST_PREFIX]) {
            search_group(search,
                         mg_router_group(router, MG_HOST_PREFIX, mg_str_slice(host, 0, at + 1)));
        }
    }
}

static void search_pass(struct search *search)
{
    const struct mg_router *router = search->router;
    if (router->has_kind[MG_HOST_EXACT]) {
        search_group(search, mg_router_group(router, MG_HOST_EXACT, search->question->host));
    }
    if (router->has_kind[MG_HOST_SUFFIX] || router->has_kind[MG_HOST_PREFIX]) {
        search_wildcards(search);
    }
    search_group(search, router->any);
}

static const struct mg_route_path *prefix_of(const struct mg_route_entry *entry, mg_str path)
{
    for (uint32_t i = 0; i < entry->path_count; i++) {
        if (mg_str_starts(path, entry->paths[i]->text)) {
            return entry->paths[i];
        }
    }
    return NULL;
}

static void fill_match(const struct mg_route_entry *entry, const struct mg_question *question,
                       struct mg_match *match)
{
    match->route = entry->route;
    match->undecided = NULL;
    if (!entry->regexes) {
        match->path = prefix_of(entry, question->path);
        match->matched = entry->prefix_length;
        match->regex = NULL;
        match->captures.count = 0;
    }
    match->host = (mg_str){0};
    if (entry->route->host_count > 0) {
        match->host = entry->route->hosts[mg_route_host_find(entry, question)];
    }
}

bool mg_router_match(const struct mg_config *config, const struct mg_question *question,
                     struct mg_match *match)
{
    struct search search = {
        .router = config->router, .question = question, .match = match, .best = NONE};
    search_pass(&search);
    if (search.router->has_regexes) {
        search.regexes = true;
        search_pass(&search);
    }
    if (search.best == NONE || search.undecided) {
        *match = (struct mg_match){0};
        match->undecided = search.best == NONE ? NULL : search.router->entries[search.best].route;
        return false;
    }
    fill_match(&search.router->entries[search.best], question, match);
    return true;
}
