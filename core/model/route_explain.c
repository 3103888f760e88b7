/* SPDX-License-Identifier: Apache-2.0 */
/* Why a route was taken, or not: the entries in order, each tried alone, without the index. */
#include "model/route_table.h"

#include <stdio.h>

#define REASON_BYTES 512

struct reason {
    char text[REASON_BYTES];
    size_t length;
};

static void add(struct reason *reason, mg_str text)
{
    const size_t room = sizeof reason->text - 1 - reason->length;
    const size_t bytes = text.len < room ? text.len : room;
    if (bytes > 0) {
        memcpy(reason->text + reason->length, text.ptr, bytes);
    }
    reason->length += bytes;
    reason->text[reason->length] = '\0';
}

/* "GET, POST or PUT" */
static void add_choice(struct reason *reason, const mg_str *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            add(reason, i + 1 == count ? MG_STR(" or ") : MG_STR(", "));
        }
        add(reason, items[i]);
    }
}

static void explain_header(struct reason *reason, const struct mg_route_header *header,
                           const struct mg_headers *headers)
{
    add(reason, MG_STR("header "));
    add(reason, header->name);
    if (!headers || !mg_headers_find(headers, header->name, 0)) {
        add(reason, MG_STR(" is missing"));
        return;
    }
    add(reason, MG_STR(" is not "));
    add_choice(reason, header->values, header->value_count);
}

static void explain_path(struct reason *reason, const struct mg_route_entry *entry, mg_str path)
{
    for (uint32_t i = 0; !entry->regexes && i < entry->path_count; i++) {
        if (mg_str_starts(path, entry->paths[i]->text)) {
            add(reason, MG_STR("path goes on inside the segment after "));
            add(reason, entry->paths[i]->text);
            add(reason, MG_STR(", and strip_path takes whole segments only"));
            return;
        }
    }
    add(reason, entry->regexes ? MG_STR("path does not match ") : MG_STR("path is not under "));
    for (uint32_t i = 0; i < entry->path_count; i++) {
        if (i > 0) {
            add(reason, i + 1 == entry->path_count ? MG_STR(" or ") : MG_STR(", "));
        }
        add(reason, entry->regexes ? MG_STR("~") : MG_STR(""));
        add(reason, entry->paths[i]->text);
    }
}

/* Where the entry's path stands in it: the one that matches, else the first; NULL without paths.
 * *matches is true without paths, too. */
static const struct mg_route_path *find_path(const struct mg_route_entry *entry, mg_str path,
                                             bool *matches)
{
    *matches = entry->path_count == 0;
    if (entry->path_count == 0) {
        return NULL;
    }
    struct mg_match match;
    if (entry->regexes) {
        *matches = mg_route_regex_match(entry, path, &match) > 0;
        return *matches ? match.path : entry->paths[0];
    }
    for (uint32_t i = 0; i < entry->path_count; i++) {
        const size_t length = entry->paths[i]->text.len;
        if (mg_str_starts(path, entry->paths[i]->text)) {
            *matches = !entry->route->strip_path || mg_route_is_boundary(path, length);
            return entry->paths[i];
        }
    }
    return entry->paths[0];
}

/* Why the entry does not match; false when it does. */
static bool explain_entry(const struct mg_route_entry *entry, const struct mg_question *question,
                          bool path_matches, struct reason *reason)
{
    const struct mg_route *route = entry->route;
    if (!mg_route_method_matches(route, question->method)) {
        add(reason, MG_STR("method is not "));
        add_choice(reason, route->methods, route->method_count);
        return true;
    }
    if (route->host_count > 0 && mg_route_host_find(entry, question) < 0) {
        add(reason, MG_STR("host is not "));
        add_choice(reason, route->hosts, route->host_count);
        return true;
    }
    const struct mg_route_header *header;
    if (mg_route_headers_match(entry, question->headers, &header) == 0) {
        explain_header(reason, header, question->headers);
        return true;
    }
    if (!path_matches) {
        explain_path(reason, entry, question->path);
        return true;
    }
    return false;
}

void mg_router_explain(const struct mg_config *config, const struct mg_question *question, bool all,
                       void (*fn)(void *context, const struct mg_route *route,
                                  const struct mg_route_path *path, const char *reason),
                       void *context)
{
    const struct mg_router *router = config->router;
    bool taken = false;
    for (uint32_t rank = 0; rank < router->entry_count && (all || !taken); rank++) {
        const struct mg_route_entry *entry = &router->entries[rank];
        struct reason reason = {.length = 0};
        bool path_matches;
        const struct mg_route_path *path = find_path(entry, question->path, &path_matches);
        if (explain_entry(entry, question, path_matches, &reason)) {
            fn(context, entry->route, path, reason.text);
        } else if (taken) {
            fn(context, entry->route, path, "it matches too, but comes later in the order");
        } else {
            taken = true;
            fn(context, entry->route, path, NULL);
        }
    }
}
