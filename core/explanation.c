/* SPDX-License-Identifier: Apache-2.0 */
/* The two forms of an explanation. */
#include "explanation.h"

#include "json_out.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_COLUMNS 15
#define NAME_COLUMNS_MAX 40

/* "a, b or c"; "any" when there is none. */
static void put_choice(struct mg_buf *out, const mg_str *items, uint32_t count)
{
    if (count == 0) {
        mg_buf_put(out, "any");
    }
    for (uint32_t i = 0; i < count; i++) {
        mg_buf_put(out, "%s%.*s", i == 0 ? "" : (i + 1 == count ? " or " : ", "),
                   MG_STR_ARG(items[i]));
    }
}

/* "2s", "250ms", "none" */
static const char *time_text(uint64_t ms, char text[32])
{
    if (ms == 0) {
        snprintf(text, 32, "none");
    } else {
        snprintf(text, 32, ms % 1000 ? "%" PRIu64 "ms" : "%" PRIu64 "s",
                 ms % 1000 ? ms : ms / 1000);
    }
    return text;
}

static mg_str route_name(const struct mg_route *route)
{
    return route->name.len ? route->name : route->id;
}

static void put_route_name(struct mg_buf *out, const struct mg_explanation *explanation,
                           const struct mg_route *route)
{
    const mg_str name = route_name(route);
    mg_buf_put(out, "%-*.*s %.*s:%u", NAME_COLUMNS, MG_STR_ARG(name),
               MG_STR_ARG(explanation->config->file), route->line);
}

/* --- text ---------------------------------------------------------------------------------- */

static void put_request(struct mg_buf *out, const struct mg_explanation *explanation)
{
    const struct mg_uri *uri = &explanation->uri;
    mg_buf_put(
        out, "request   %.*s %.*s %.*s", MG_STR_ARG(explanation->method),
        MG_STR_ARG(explanation->host.name.len ? explanation->host.name : MG_STR("(no host)")),
        MG_STR_ARG(uri->path));
    const bool canonical = mg_str_equal(uri->path, uri->raw_path);
    const bool changed = explanation->has_match && !mg_str_equal(explanation->sent_path, uri->path);
    if (!canonical || changed) {
        mg_buf_put(out, " (%s", canonical ? "" : "canonical");
        if (changed) {
            const bool stripped = explanation->match.route->strip_path;
            mg_buf_put(out, "%ssent as %.*s%s", canonical ? "" : "; ",
                       MG_STR_ARG(explanation->sent_path), stripped ? ": strip_path" : "");
        }
        mg_buf_put(out, ")");
    }
    mg_buf_put(out, "\n");
}

static void put_route(struct mg_buf *out, const struct mg_explanation *explanation)
{
    if (!explanation->has_match) {
        mg_buf_put(out, "route     none: 404 \"no Route matched with those values\"\n");
        return;
    }
    const struct mg_match *match = &explanation->match;
    mg_buf_put(out, "route     ");
    put_route_name(out, explanation, match->route);
    mg_buf_put(out, "   host ");
    if (match->host.len) {
        mg_buf_put(out, "%.*s", MG_STR_ARG(match->host));
    } else {
        mg_buf_put(out, "any");
    }
    mg_buf_put(out, ", path ");
    if (match->path) {
        mg_buf_put(out, "%s%.*s", match->path->is_regex ? "~" : "", MG_STR_ARG(match->path->text));
    } else {
        mg_buf_put(out, "any");
    }
    mg_buf_put(out, ", methods ");
    put_choice(out, match->route->methods, match->route->method_count);
    mg_buf_put(out, "\n");
    if (explanation->is_https ? !match->route->https : !match->route->http) {
        mg_buf_put(out, "          its protocols leave out %s: %u\n",
                   explanation->is_https ? "https" : "http", match->route->https_redirect_status);
    }
}

static mg_str chain_name(const struct mg_checker_plugin *plugin)
{
    return plugin->instance.len ? plugin->instance : plugin->name;
}

static void put_chain(struct mg_buf *out, const struct mg_explanation *explanation)
{
    const char *label = "chain";
    int columns = NAME_COLUMNS - 2; /* as elsewhere, or as the longest name needs */
    for (size_t i = 0; i < explanation->plugin_count; i++) {
        const size_t length = chain_name(&explanation->plugins[i]).len;
        columns = length > (size_t)columns && length < NAME_COLUMNS_MAX ? (int)length : columns;
    }
    if (explanation->plugin_count == 0) {
        mg_buf_put(out, "chain     no plugins\n");
    }
    for (size_t i = 0; i < explanation->plugin_count; i++) {
        const struct mg_checker_plugin *plugin = &explanation->plugins[i];
        const mg_str name = chain_name(plugin);
        mg_buf_put(out, "%-9s %zu %-*.*s priority %g, %.*s%s, runs in %.*s\n", label, i + 1,
                   columns, MG_STR_ARG(name), plugin->priority, MG_STR_ARG(plugin->scope),
                   plugin->by_consumer ? " (a consumer may change it)" : "",
                   MG_STR_ARG(plugin->phases));
        label = "";
    }
}

static const char *balance_text(enum mg_balance balance)
{
    static const char *const texts[] = {"round-robin", "least-connections", "consistent-hashing"};
    return texts[balance];
}

static bool is_unix(mg_str host)
{
    return mg_str_starts(host, MG_STR("unix:"));
}

static void put_place(struct mg_buf *out, mg_str host, uint16_t port)
{
    mg_buf_put(out, "%.*s", MG_STR_ARG(host));
    if (!is_unix(host)) {
        mg_buf_put(out, ":%u", port);
    }
}

static void put_targets(struct mg_buf *out, const struct mg_upstream_config *upstream)
{
    mg_buf_put(out, "%s over ", balance_text(upstream->algorithm));
    for (uint32_t i = 0; i < upstream->target_count; i++) {
        const struct mg_target *target = &upstream->targets[i];
        mg_buf_put(out, "%s", i ? ", " : "");
        put_place(out, target->host, target->port);
        if (target->weight != 100) {
            mg_buf_put(out, " (weight %u)", target->weight);
        }
    }
    if (upstream->target_count == 0) {
        mg_buf_put(out, "no targets: 503");
    }
}

static void put_upstream(struct mg_buf *out, const struct mg_explanation *explanation)
{
    const struct mg_service *service = explanation->match.route->service;
    char connect[32];
    char write[32];
    char read[32];
    char total[32];
    if (!service) {
        mg_buf_put(out,
                   "upstream  none: 503 \"no Service found with those values\" unless a plugin "
                   "answers\n");
        return;
    }
    const mg_str name = service->name.len ? service->name : service->id;
    mg_buf_put(out, "upstream  %-*.*s ", NAME_COLUMNS, MG_STR_ARG(name));
    if (service->upstream) {
        put_targets(out, service->upstream);
    } else {
        put_place(out, service->host, service->port);
    }
    const int32_t retries =
        service->retries >= 0 ? service->retries : (int32_t)service->settings.retry.attempts;
    mg_buf_put(out, "\ntimeouts  connect %s, write %s, read %s, total %s; %d %s\n",
               time_text(service->connect_timeout, connect),
               time_text(service->write_timeout, write), time_text(service->read_timeout, read),
               time_text(explanation->match.route->limits->request_timeout, total), retries,
               retries == 1 ? "retry" : "retries");
}

static void put_skipped(struct mg_buf *out, const struct mg_explanation *explanation)
{
    const char *label = "not taken";
    for (size_t i = 0; i < explanation->skipped_count; i++) {
        const struct mg_skipped_route *skipped = &explanation->skipped[i];
        mg_buf_put(out, "%-9s ", label);
        put_route_name(out, explanation, skipped->route);
        mg_buf_put(out, "   %.*s\n", MG_STR_ARG(skipped->reason));
        label = "";
    }
    if (explanation->skipped_more > 0) {
        mg_buf_put(out, "          and %zu more\n", explanation->skipped_more);
    }
}

void mg_explanation_text(const struct mg_explanation *explanation, struct mg_buf *out)
{
    put_request(out, explanation);
    put_route(out, explanation);
    put_chain(out, explanation);
    if (explanation->has_match) {
        put_upstream(out, explanation);
    }
    put_skipped(out, explanation);
}

/* --- JSON ---------------------------------------------------------------------------------- */

static void json_route(struct mg_json_out *json, const struct mg_explanation *explanation)
{
    const struct mg_route *route = explanation->match.route;
    mg_json_out_key(json, MG_STR("route"));
    if (!explanation->has_match) {
        mg_json_out_null(json);
        return;
    }
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "id", route->id);
    mg_json_out_text_field(json, "name", route_name(route));
    mg_json_out_text_field(json, "file", explanation->config->file);
    mg_json_out_number_field(json, "line", route->line);
    mg_json_out_key(json, MG_STR("path"));
    if (explanation->match.path) {
        mg_json_out_text(json, explanation->match.path->text);
    } else {
        mg_json_out_null(json);
    }
    mg_json_out_close(json, '}');
}

static void json_plugins(struct mg_json_out *json, const struct mg_explanation *explanation)
{
    mg_json_out_key(json, MG_STR("plugins"));
    mg_json_out_open(json, '[');
    for (size_t i = 0; i < explanation->plugin_count; i++) {
        const struct mg_checker_plugin *plugin = &explanation->plugins[i];
        mg_json_out_open(json, '{');
        mg_json_out_text_field(json, "name", plugin->name);
        mg_json_out_text_field(json, "instance_name", plugin->instance);
        mg_json_out_text_field(json, "phases", plugin->phases);
        mg_json_out_text_field(json, "scope", plugin->scope);
        mg_json_out_text_field(json, "source", plugin->source);
        mg_json_out_close(json, '}');
    }
    mg_json_out_close(json, ']');
}

static void json_target(struct mg_json_out *json, mg_str host, uint16_t port, uint32_t weight)
{
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "host", host);
    mg_json_out_number_field(json, "port", port);
    mg_json_out_number_field(json, "weight", weight);
    mg_json_out_close(json, '}');
}

static void json_service(struct mg_json_out *json, const struct mg_explanation *explanation)
{
    const struct mg_service *service =
        explanation->has_match ? explanation->match.route->service : NULL;
    mg_json_out_key(json, MG_STR("service"));
    if (!service) {
        mg_json_out_null(json);
        return;
    }
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "id", service->id);
    mg_json_out_text_field(json, "name", service->name);
    mg_json_out_text_field(json, "path", explanation->sent_path);
    mg_json_out_number_field(json, "connect_timeout_ms", service->connect_timeout);
    mg_json_out_number_field(json, "write_timeout_ms", service->write_timeout);
    mg_json_out_number_field(json, "read_timeout_ms", service->read_timeout);
    mg_json_out_key(json, MG_STR("targets"));
    mg_json_out_open(json, '[');
    const struct mg_upstream_config *upstream = service->upstream;
    for (uint32_t i = 0; upstream && i < upstream->target_count; i++) {
        json_target(json, upstream->targets[i].host, upstream->targets[i].port,
                    upstream->targets[i].weight);
    }
    if (!upstream) {
        json_target(json, service->host, service->port, 100);
    }
    mg_json_out_close(json, ']');
    mg_json_out_close(json, '}');
}

static void json_skipped(struct mg_json_out *json, const struct mg_explanation *explanation)
{
    mg_json_out_key(json, MG_STR("not_taken"));
    mg_json_out_open(json, '[');
    for (size_t i = 0; i < explanation->skipped_count; i++) {
        const struct mg_skipped_route *skipped = &explanation->skipped[i];
        mg_json_out_open(json, '{');
        mg_json_out_text_field(json, "name", route_name(skipped->route));
        mg_json_out_number_field(json, "line", skipped->route->line);
        mg_json_out_text_field(json, "reason", skipped->reason);
        mg_json_out_close(json, '}');
    }
    mg_json_out_close(json, ']');
}

void mg_explanation_json(const struct mg_explanation *explanation, struct mg_buf *out)
{
    struct mg_json_out json = {.buf = out};
    mg_json_out_open(&json, '{');
    mg_json_out_number_field(&json, "format", 1);
    mg_json_out_text_field(&json, "method", explanation->method);
    mg_json_out_text_field(&json, "host", explanation->host.name);
    mg_json_out_text_field(&json, "path", explanation->uri.path);
    json_route(&json, explanation);
    json_plugins(&json, explanation);
    json_service(&json, explanation);
    json_skipped(&json, explanation);
    mg_json_out_close(&json, '}');
    (void)!mg_buf_append(out, MG_STR("\n"));
}
