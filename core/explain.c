/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers an explanation: the same steps as core/flow/exchange.c takes, without a client. */
#include "explain.h"

#include "explanation.h"
#include "wire/http1.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_BYTES 16384
#define HTTP_PORT 80
#define HTTPS_PORT 443

struct gather {
    struct mg_arena *arena;
    struct mg_explanation *result;
    struct mg_headers headers;
    size_t plugin_room;
};

/* --- the request --------------------------------------------------------------------------- */

/* "http://host:port/path?query", or "/path?query". */
static int split_url(const char *url, struct mg_explanation *result, mg_str *authority,
                     mg_str *target)
{
    mg_str rest = mg_str_from(url);
    *authority = MG_STR("");
    result->is_https = mg_str_starts(rest, MG_STR("https://"));
    if (result->is_https || mg_str_starts(rest, MG_STR("http://"))) {
        rest = mg_str_slice(rest, result->is_https ? 8 : 7, rest.len);
        size_t end = 0;
        while (end < rest.len && !strchr("/?#", rest.ptr[end])) {
            end++;
        }
        *authority = mg_str_slice(rest, 0, end);
        rest = mg_str_slice(rest, end, rest.len);
    } else if (rest.len == 0 || rest.ptr[0] != '/') {
        return MG_EINVALID;
    }
    const ptrdiff_t fragment = mg_str_find(rest, '#', 0); /* stays with the client */
    rest = mg_str_slice(rest, 0, fragment < 0 ? rest.len : (size_t)fragment);
    *target = rest;
    return 0;
}

/* A URL without a path, or with a query only, asks for "/". */
static mg_str with_path(struct mg_arena *arena, mg_str target)
{
    return target.len > 0 && target.ptr[0] == '/'
               ? target
               : mg_arena_format(arena, "/%.*s", MG_STR_ARG(target));
}

static int take_header(struct gather *gather, const char *line, char *message, size_t bytes)
{
    const mg_str text = mg_str_from(line);
    const ptrdiff_t colon = mg_str_find(text, ':', 0);
    const mg_str name = mg_str_slice(text, 0, colon < 0 ? 0 : (size_t)colon);
    const mg_str value = mg_str_trim(mg_str_slice(text, name.len + 1, text.len));
    if (!mg_is_token(name) || !mg_is_field_value(value)) {
        snprintf(message, bytes, "'%s' is no header such as 'Name: value'", line);
        return MG_EINVALID;
    }
    mg_headers_add(&gather->headers, name, value);
    return 0;
}

static int take_host(struct gather *gather, mg_str authority, char *message, size_t bytes)
{
    struct mg_explanation *result = gather->result;
    const struct mg_header *field = mg_headers_known(&gather->headers, MG_HEADER_HOST);
    const mg_str text = field ? field->value : authority;
    result->host.port = -1;
    if (text.len > 0 && mg_uri_parse_host(gather->arena, text, &result->host)) {
        snprintf(message, bytes, "'%.*s' is no host: the gateway would answer 400",
                 MG_STR_ARG(text));
        return MG_EHOST;
    }
    if (result->host.port < 0) {
        result->host.port = result->is_https ? HTTPS_PORT : HTTP_PORT;
    }
    return 0;
}

static const struct mg_uri_rules *rules_of(const struct mg_config *config)
{
    static const struct mg_uri_rules strict = {.keep_slashes = false};
    return config->gateway.listener_count ? &config->gateway.listeners[0].uri : &strict;
}

static int read_request(struct gather *gather, const struct mg_explain_ask *ask, char *message,
                        size_t bytes)
{
    struct mg_explanation *result = gather->result;
    const enum mg_method method = mg_method_of(mg_str_from(ask->method));
    mg_str authority;
    mg_str target;
    if (method == MG_METHOD_UNKNOWN) {
        snprintf(message, bytes, "'%s' is no method that is served", ask->method);
        return MG_EINVALID;
    }
    if (split_url(ask->url, result, &authority, &target)) {
        snprintf(message, bytes, "'%s' is no URL: http://host/path or /path is", ask->url);
        return MG_EINVALID;
    }
    int err = 0;
    for (size_t i = 0; !err && i < ask->header_count; i++) {
        err = take_header(gather, ask->headers[i], message, bytes);
    }
    err = err ? err : take_host(gather, authority, message, bytes);
    if (err) {
        return err;
    }
    result->method = mg_str_from(ask->method);
    err = mg_uri_parse_target(gather->arena, with_path(gather->arena, target), method,
                              rules_of(result->config), &result->uri);
    if (err) {
        snprintf(message, bytes, "the gateway would answer 400: %s '%.*s'", mg_err_text(err),
                 MG_STR_ARG(target));
    }
    return err;
}

/* --- the answer ---------------------------------------------------------------------------- */

static void on_entry(void *context, const struct mg_route *route, const struct mg_route_path *path,
                     const char *reason)
{
    struct gather *gather = context;
    struct mg_explanation *result = gather->result;
    (void)path;
    if (!reason) {
        return;
    }
    if (result->skipped_count == MG_EXPLANATION_SKIPPED) {
        result->skipped_more++;
        return;
    }
    result->skipped[result->skipped_count++] = (struct mg_skipped_route){
        .route = route, .reason = mg_arena_copy_str(gather->arena, mg_str_from(reason))};
}

static void on_plugin(void *context, const struct mg_checker_plugin *plugin)
{
    struct gather *gather = context;
    struct mg_explanation *result = gather->result;
    if (result->plugin_count == gather->plugin_room) {
        gather->plugin_room = gather->plugin_room ? 2 * gather->plugin_room : 16;
        result->plugins = realloc(result->plugins, gather->plugin_room * sizeof *result->plugins);
        mg_require(result->plugins != NULL);
    }
    struct mg_checker_plugin *copy = &result->plugins[result->plugin_count++];
    *copy = *plugin;
    copy->name = mg_arena_copy_str(gather->arena, plugin->name);
    copy->instance = mg_arena_copy_str(gather->arena, plugin->instance);
    copy->phases = mg_arena_copy_str(gather->arena, plugin->phases);
    copy->scope = mg_arena_copy_str(gather->arena, plugin->scope);
    copy->source = mg_arena_copy_str(gather->arena, plugin->source);
}

static int find_route(struct gather *gather, char *message, size_t bytes)
{
    struct mg_explanation *result = gather->result;
    const struct mg_question question = {.method = result->method,
                                         .host = result->host.name,
                                         .port = (uint16_t)result->host.port,
                                         .path = result->uri.path,
                                         .headers = &gather->headers};
    result->has_match = mg_router_match(result->config, &question, &result->match);
    if (result->match.undecided) {
        snprintf(message, bytes,
                 "the gateway would answer 400: a regex of route '%.*s' reaches the match limit",
                 MG_STR_ARG(result->match.undecided->name));
        return MG_ETARGET;
    }
    mg_router_explain(result->config, &question, false, on_entry, gather);
    if (!result->has_match || !result->match.route->service) {
        result->sent_path = result->uri.path;
        return 0;
    }
    const int err =
        mg_route_upstream_path(gather->arena, &result->match, result->match.route->service->path,
                               result->uri.path, rules_of(result->config), &result->sent_path);
    if (err) {
        snprintf(message, bytes, "the gateway would answer 400: stripping leaves no good path");
    }
    return err;
}

static int gather_all(struct gather *gather, struct mg_checker *checker,
                      const struct mg_explain_ask *ask, char *message, size_t bytes)
{
    int err = read_request(gather, ask, message, bytes);
    err = err ? err : find_route(gather, message, bytes);
    if (err) {
        return err;
    }
    const struct mg_explanation *result = gather->result;
    err = mg_checker_plugins(checker, result->has_match ? result->match.route : NULL, on_plugin,
                             gather);
    if (err) {
        snprintf(message, bytes, "the chain of plugins cannot be told: %s", mg_err_text(err));
        return MG_ELUA;
    }
    return 0;
}

int mg_explain(struct mg_checker *checker, const struct mg_explain_ask *ask, bool json,
               struct mg_buf *out, bool *found, char *message, size_t message_bytes)
{
    struct mg_arena arena;
    struct mg_explanation *result = calloc(1, sizeof *result);
    mg_require(result != NULL);
    struct gather gather = {.arena = &arena, .result = result};
    mg_arena_init(&arena, ARENA_BYTES);
    mg_headers_init(&gather.headers, &arena);
    result->config = mg_checker_config(checker);
    const int err = gather_all(&gather, checker, ask, message, message_bytes);
    *found = result->has_match;
    if (!err && json) {
        mg_explanation_json(result, out);
    } else if (!err) {
        mg_explanation_text(result, out);
    }
    free(result->plugins);
    free(result);
    mg_arena_deinit(&arena);
    return err;
}
