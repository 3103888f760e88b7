/* SPDX-License-Identifier: Apache-2.0 */
/* The section `gateway:`. */
#include "script/snapshot_gateway.h"

#include "script/snapshot_upstreams.h"

#include <lauxlib.h>

#define TRAILER_BYTES 8192  /* of all trailers of a message (hardening, section 1) */
#define RESPONSE_FIELDS 200 /* of an upstream's answer (the same) */
#define STATUS_LINE_BYTES 8192

#define LIMIT(member, name) MG_SNAPSHOT_FIELD(struct mg_limits, member, name)

static const struct mg_snapshot_field limit_fields[] = {
    LIMIT(header_timeout, "header_timeout"),
    LIMIT(body_timeout, "body_timeout"),
    LIMIT(body_total_timeout, "body_total_timeout"),
    LIMIT(send_timeout, "send_timeout"),
    LIMIT(keepalive_timeout, "keepalive_timeout"),
    LIMIT(tunnel_timeout, "tunnel_timeout"),
    LIMIT(body_min_rate, "body_min_rate"),
    LIMIT(connect_timeout, "upstream_connect_timeout"),
    LIMIT(read_timeout, "upstream_read_timeout"),
    LIMIT(write_timeout, "upstream_write_timeout"),
    LIMIT(request_timeout, "request_timeout"),
    LIMIT(request_head.request_line, "request_line"),
    LIMIT(request_head.header_bytes, "header_bytes"),
    LIMIT(request_head.header_line, "header_line"),
    LIMIT(request_head.header_name, "header_name"),
    LIMIT(request_head.header_count, "header_count"),
    LIMIT(query_args, "query_args"),
    LIMIT(cookies, "cookies"),
    LIMIT(chunk.line, "chunk_line"),
    LIMIT(chunk.extensions, "chunk_extensions"),
    LIMIT(chunk.trailers, "trailers"),
    LIMIT(response_head.header_bytes, "response_header_bytes"),
    LIMIT(interim_responses, "interim_responses"),
    LIMIT(request_body, "request_body"),
    LIMIT(request_buffer, "request_buffer"),
    LIMIT(response_buffer, "response_buffer"),
    LIMIT(connections, "connections"),
    LIMIT(connection_requests, "connection_requests"),
    LIMIT(lua_memory, "lua_memory"),
    LIMIT(regex_match_limit, "regex_match_limit"),
    {NULL, 0, 0},
};

void mg_snapshot_limits(struct mg_snapshot_reader *reader, int at, struct mg_limits *limits)
{
    mg_snapshot_numbers(reader, at, limit_fields, limits);
    /* an answer's head has one limit for all its bytes */
    limits->response_head.header_line = limits->response_head.header_bytes;
    limits->response_head.header_name = limits->response_head.header_bytes;
    limits->response_head.header_count = RESPONSE_FIELDS;
    limits->response_head.request_line = STATUS_LINE_BYTES;
    limits->chunk.trailer_bytes = TRAILER_BYTES;
}

static void read_listeners(struct mg_snapshot_reader *reader, int at)
{
    struct mg_gateway *gateway = &reader->config->gateway;
    gateway->listener_count = mg_snapshot_count(reader, at, "listeners");
    gateway->listeners =
        mg_snapshot_array(reader, gateway->listener_count, sizeof *gateway->listeners);
    if (!mg_snapshot_open(reader, at, "listeners")) {
        return;
    }
    const int list = lua_gettop(reader->L);
    for (uint32_t i = 0; i < gateway->listener_count; i++) {
        lua_rawgeti(reader->L, list, (int)i + 1);
        const int item = lua_gettop(reader->L);
        luaL_checktype(reader->L, item, LUA_TTABLE);
        gateway->listeners[i] = (struct mg_listener_config){
            .address = mg_snapshot_text(reader, item, "address"),
            .backlog = mg_snapshot_int32(reader, item, "backlog", 1024),
            .uri = {
                .keep_slashes = !mg_snapshot_flag(reader, item, "merge_slashes", true),
                .keep_encoded_slash =
                    mg_str_equal(mg_snapshot_text(reader, item, "encoded_slash"), MG_STR("keep")),
                .any_utf8 = mg_str_equal(mg_snapshot_text(reader, item, "utf8"), MG_STR("any"))}};
        lua_pop(reader->L, 1);
    }
    lua_pop(reader->L, 1);
}

static void read_trusted(struct mg_snapshot_reader *reader, int at)
{
    struct mg_gateway *gateway = &reader->config->gateway;
    const mg_str *texts =
        mg_snapshot_texts(reader, at, "trusted_ips", false, &gateway->trusted_count);
    gateway->trusted = mg_snapshot_array(reader, gateway->trusted_count, sizeof *gateway->trusted);
    for (uint32_t i = 0; i < gateway->trusted_count; i++) {
        if (mg_cidr_parse(texts[i], &gateway->trusted[i])) {
            luaL_error(reader->L, "snapshot: trusted_ips: '%s' is no range", texts[i].ptr);
        }
    }
}

/* --- small records --- */

/* Text, false for none, true for a name of ours. */
static mg_str text_or_flag(struct mg_snapshot_reader *reader, int at, const char *name,
                           mg_str if_true)
{
    lua_pushstring(reader->L, name);
    lua_rawget(reader->L, at);
    if (lua_type(reader->L, -1) == LUA_TBOOLEAN) {
        const bool is_true = lua_toboolean(reader->L, -1);
        lua_pop(reader->L, 1);
        return is_true ? if_true : MG_STR("");
    }
    lua_pop(reader->L, 1);
    return mg_snapshot_text(reader, at, name);
}

static void read_headers(struct mg_snapshot_reader *reader, int at)
{
    struct mg_gateway *gateway = &reader->config->gateway;
    if (!mg_snapshot_open(reader, at, "headers")) {
        return;
    }
    const int headers = lua_gettop(reader->L);
    gateway->headers.request_id =
        text_or_flag(reader, headers, "request_id", MG_STR("X-Request-ID"));
    gateway->headers.request_id_kind = mg_header_id_of(gateway->headers.request_id);
    gateway->headers.via = text_or_flag(reader, headers, "via", MG_STR("moongate"));
    if (gateway->headers.via.len > 0) {
        gateway->headers.via_1_1 =
            mg_arena_format(&reader->config->arena, "1.1 %.*s", MG_STR_ARG(gateway->headers.via));
    }
    gateway->headers.server = text_or_flag(reader, headers, "server", MG_STR("moongate"));
    gateway->headers.latency = mg_snapshot_flag(reader, headers, "latency", false);
    gateway->headers.kong_names = mg_snapshot_flag(reader, headers, "kong_names", false);
    lua_pop(reader->L, 1);
}

#define GATEWAY(member, name) MG_SNAPSHOT_FIELD(struct mg_gateway, member, name)

/* Records of plain numbers: section, its fields. */
static void read_records(struct mg_snapshot_reader *reader, int at)
{
    static const struct mg_snapshot_field dns[] = {GATEWAY(dns.timeout, "timeout"),
                                                   GATEWAY(dns.tries, "tries"),
                                                   GATEWAY(dns.stale, "stale"),
                                                   GATEWAY(dns.negative, "negative"),
                                                   {NULL, 0, 0}};
    static const struct mg_snapshot_field shutdown[] = {
        GATEWAY(drain_delay, "drain_delay"), GATEWAY(drain_timeout, "drain_timeout"), {NULL, 0, 0}};
    static const struct mg_snapshot_field plugins[] = {
        GATEWAY(watchdog_ms, "watchdog_ms"),
        GATEWAY(init_timeout, "init_timeout"),
        GATEWAY(plugins_drain_timeout, "drain_timeout"),
        GATEWAY(max_generations, "max_generations"),
        {NULL, 0, 0}};
    static const struct {
        const char *name;
        const struct mg_snapshot_field *fields;
    } records[] = {{"dns", dns}, {"shutdown", shutdown}, {"plugins", plugins}};
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        if (mg_snapshot_open(reader, at, records[i].name)) {
            mg_snapshot_numbers(reader, lua_gettop(reader->L), records[i].fields,
                                &reader->config->gateway);
            lua_pop(reader->L, 1);
        }
    }
}

static void read_log(struct mg_snapshot_reader *reader, int at)
{
    struct mg_gateway *gateway = &reader->config->gateway;
    if (mg_snapshot_open(reader, at, "log")) {
        const int log = lua_gettop(reader->L);
        gateway->log.level = mg_snapshot_text(reader, log, "level");
        gateway->log.file = mg_snapshot_text(reader, log, "error_log");
        lua_pop(reader->L, 1);
    }
}

/* "auto" or a number. */
static void read_workers(struct mg_snapshot_reader *reader, int at)
{
    lua_pushstring(reader->L, "workers");
    lua_rawget(reader->L, at);
    const bool is_number = lua_type(reader->L, -1) == LUA_TNUMBER;
    lua_pop(reader->L, 1);
    if (is_number) {
        reader->config->gateway.workers = (uint32_t)mg_snapshot_int32(reader, at, "workers", 0);
    }
}

void mg_snapshot_gateway(struct mg_snapshot_reader *reader, int at)
{
    struct mg_gateway *gateway = &reader->config->gateway;
    if (mg_snapshot_open(reader, at, "limits")) {
        mg_snapshot_limits(reader, lua_gettop(reader->L), &gateway->limits);
        lua_pop(reader->L, 1);
    }
    read_listeners(reader, at);
    read_trusted(reader, at);
    mg_snapshot_upstream_defaults(reader, at);
    read_headers(reader, at);
    read_records(reader, at);
    read_log(reader, at);
    read_workers(reader, at);
    gateway->shared_memory = mg_snapshot_number(reader, at, "shared_memory", 0);
    gateway->user = mg_snapshot_text(reader, at, "user");
}
