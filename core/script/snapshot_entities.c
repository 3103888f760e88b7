/* SPDX-License-Identifier: Apache-2.0 */
/* Entities, in an order in which every reference points to one already read. */
#include "script/snapshot_entities.h"

#include "script/snapshot_gateway.h"
#include "script/snapshot_upstreams.h"

#include <lauxlib.h>
#include <stdlib.h>

/* Calls read for each table of an array field, with its stack index and position. */
static void each(struct mg_snapshot_reader *reader, int at, const char *name, int gateway,
                 void (*read)(struct mg_snapshot_reader *reader, int item, int gateway,
                              uint32_t index))
{
    if (!mg_snapshot_open(reader, at, name)) {
        return;
    }
    const int list = lua_gettop(reader->L);
    const uint32_t count = (uint32_t)lua_objlen(reader->L, list);
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(reader->L, list, (int)i + 1);
        luaL_checktype(reader->L, -1, LUA_TTABLE);
        read(reader, lua_gettop(reader->L), gateway, i);
        lua_settop(reader->L, list);
    }
    lua_pop(reader->L, 1);
}

/* --- upstreams --- */

static enum mg_balance read_algorithm(struct mg_snapshot_reader *reader, int at)
{
    const mg_str name = mg_snapshot_text(reader, at, "algorithm");
    if (mg_str_equal(name, MG_STR("least-connections"))) {
        return MG_BALANCE_LEAST_CONNECTIONS;
    }
    if (mg_str_equal(name, MG_STR("latency"))) {
        return MG_BALANCE_LATENCY;
    }
    return mg_str_equal(name, MG_STR("consistent-hashing")) ? MG_BALANCE_CONSISTENT_HASH
                                                            : MG_BALANCE_ROUND_ROBIN;
}

struct hash_fields { /* names of the fields that say what is hashed */
    const char *on, *header, *query_arg, *uri_capture;
};

static enum mg_hash_on read_hash(struct mg_snapshot_reader *reader, int at,
                                 const struct hash_fields *fields, mg_str *name)
{
    const struct {
        const char *word;
        enum mg_hash_on on;
        const char *field; /* that names the thing */
    } kinds[] = {
        {"consumer", MG_HASH_CONSUMER, NULL},
        {"ip", MG_HASH_IP, NULL},
        {"path", MG_HASH_PATH, NULL},
        {"cookie", MG_HASH_COOKIE, "hash_on_cookie"}, /* one cookie serves both */
        {"header", MG_HASH_HEADER, fields->header},
        {"query_arg", MG_HASH_QUERY_ARG, fields->query_arg},
        {"uri_capture", MG_HASH_URI_CAPTURE, fields->uri_capture},
    };
    const mg_str word = mg_snapshot_text(reader, at, fields->on);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (mg_str_equal(word, mg_str_from(kinds[i].word))) {
            if (kinds[i].field) {
                *name = mg_snapshot_text(reader, at, kinds[i].field);
            }
            return kinds[i].on;
        }
    }
    return MG_HASH_NONE;
}

static void read_targets(struct mg_snapshot_reader *reader, int at,
                         struct mg_upstream_config *upstream)
{
    upstream->target_count = mg_snapshot_count(reader, at, "targets");
    upstream->targets =
        mg_snapshot_array(reader, upstream->target_count, sizeof *upstream->targets);
    if (!mg_snapshot_open(reader, at, "targets")) {
        return;
    }
    const int list = lua_gettop(reader->L);
    for (uint32_t i = 0; i < upstream->target_count; i++) {
        lua_rawgeti(reader->L, list, (int)i + 1);
        const int item = lua_gettop(reader->L);
        luaL_checktype(reader->L, item, LUA_TTABLE);
        struct mg_target *target = &upstream->targets[i];
        const mg_str host = mg_snapshot_text(reader, item, "host");
        target->host =
            mg_str_starts(host, MG_STR("unix:")) ? host : mg_snapshot_lower(reader, item, "host");
        target->port = (uint16_t)mg_snapshot_number(reader, item, "port", 8000);
        target->weight = (uint32_t)mg_snapshot_number(reader, item, "weight", 100);
        lua_pop(reader->L, 1);
    }
    lua_pop(reader->L, 1);
}

static void read_upstream(struct mg_snapshot_reader *reader, int item, int gateway, uint32_t index)
{
    static const struct hash_fields on = {"hash_on", "hash_on_header", "hash_on_query_arg",
                                          "hash_on_uri_capture"};
    static const struct hash_fields fallback = {"hash_fallback", "hash_fallback_header",
                                                "hash_fallback_query_arg",
                                                "hash_fallback_uri_capture"};
    struct mg_upstream_config *upstream = &reader->config->upstreams[index];
    upstream->id = mg_snapshot_text(reader, item, "id");
    upstream->name = mg_snapshot_text(reader, item, "name");
    upstream->algorithm = read_algorithm(reader, item);
    upstream->hash_on = read_hash(reader, item, &on, &upstream->hash_name);
    upstream->hash_fallback = read_hash(reader, item, &fallback, &upstream->hash_fallback_name);
    upstream->hash_cookie_path = mg_snapshot_text(reader, item, "hash_on_cookie_path");
    upstream->host_header = mg_snapshot_text(reader, item, "host_header");
    upstream->slots = (uint32_t)mg_snapshot_number(reader, item, "slots", 10000);
    upstream->settings = mg_snapshot_upstream_settings(reader, gateway, upstream->name);
    mg_snapshot_health(reader, item, upstream);
    read_targets(reader, item, upstream);
    mg_snapshot_remember(reader, item, upstream);
}

/* --- services --- */

static void read_service(struct mg_snapshot_reader *reader, int item, int gateway, uint32_t index)
{
    const struct mg_limits *limits = &reader->config->gateway.limits;
    struct mg_service *service = &reader->config->services[index];
    service->id = mg_snapshot_text(reader, item, "id");
    service->name = mg_snapshot_text(reader, item, "name");
    service->host = mg_snapshot_text(reader, item, "host");
    service->port = mg_str_starts(service->host, MG_STR("unix:"))
                        ? 0
                        : (uint16_t)mg_snapshot_number(reader, item, "port", 80);
    service->path = mg_snapshot_text(reader, item, "path");
    service->connect_timeout =
        mg_snapshot_number(reader, item, "connect_timeout", limits->connect_timeout);
    service->read_timeout = mg_snapshot_number(reader, item, "read_timeout", limits->read_timeout);
    service->write_timeout =
        mg_snapshot_number(reader, item, "write_timeout", limits->write_timeout);
    service->retries = mg_snapshot_int32(reader, item, "retries", -1);
    service->enabled = mg_snapshot_flag(reader, item, "enabled", true);
    service->upstream = mg_snapshot_reference(reader, item, "upstream");
    service->settings = service->upstream
                            ? service->upstream->settings
                            : mg_snapshot_upstream_settings(reader, gateway, service->host);
    service->line = (uint32_t)mg_snapshot_number(reader, item, "__line", 0);
    mg_snapshot_remember(reader, item, service);
}

/* --- routes --- */

static void read_paths(struct mg_snapshot_reader *reader, int at, struct mg_route *route)
{
    const mg_str *texts = mg_snapshot_texts(reader, at, "paths", false, &route->path_count);
    route->paths = mg_snapshot_array(reader, route->path_count, sizeof *route->paths);
    for (uint32_t i = 0; i < route->path_count; i++) {
        const bool is_regex = mg_str_starts(texts[i], MG_STR("~"));
        route->paths[i].is_regex = is_regex;
        route->paths[i].text = mg_str_slice(texts[i], is_regex ? 1 : 0, texts[i].len);
    }
}

static int compare_headers(const void *a, const void *b)
{
    return mg_str_compare(((const struct mg_route_header *)a)->name,
                          ((const struct mg_route_header *)b)->name);
}

/* Plain values become lower case; a regex keeps its letters ("\D" is not "\d"). */
static void lower_plain_values(struct mg_route_header *header)
{
    for (uint32_t i = 0; i < header->value_count; i++) {
        if (mg_str_starts(header->values[i], MG_STR("~*"))) {
            continue;
        }
        char *text = (char *)header->values[i].ptr; /* our own copy */
        for (size_t j = 0; j < header->values[i].len; j++) {
            text[j] = mg_char_lower(text[j]);
        }
    }
}

/* A map of name to values; sorted by name, since a Lua table has no order. */
static void read_route_headers(struct mg_snapshot_reader *reader, int at, struct mg_route *route)
{
    lua_State *L = reader->L;
    if (!mg_snapshot_open(reader, at, "headers")) {
        return;
    }
    const int map = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, map) != 0; lua_pop(L, 1)) {
        route->header_count++;
    }
    route->headers = mg_snapshot_array(reader, route->header_count, sizeof *route->headers);
    struct mg_route_header *header = route->headers;
    for (lua_pushnil(L); lua_next(L, map) != 0; lua_pop(L, 1), header++) {
        luaL_checktype(L, -2, LUA_TSTRING); /* lua_tolstring would change another key */
        const char *name = lua_tostring(L, -2);
        header->values = mg_snapshot_texts(reader, map, name, false, &header->value_count);
        header->name = mg_arena_copy_str(&reader->config->arena, mg_str_from(name));
        lower_plain_values(header);
    }
    if (route->header_count > 1) {
        qsort(route->headers, route->header_count, sizeof *route->headers, compare_headers);
    }
    lua_pop(L, 1);
}

static void read_protocols(struct mg_snapshot_reader *reader, int at, struct mg_route *route)
{
    uint32_t count;
    const mg_str *protocols = mg_snapshot_texts(reader, at, "protocols", false, &count);
    route->http = route->https = count == 0;
    for (uint32_t i = 0; i < count; i++) {
        route->http = route->http || mg_str_equal(protocols[i], MG_STR("http"));
        route->https = route->https || mg_str_equal(protocols[i], MG_STR("https"));
    }
}

/* Was the timeout written in the service itself? (Else it was filled in from gateway.limits.) */
static bool is_own(struct mg_snapshot_reader *reader, int route, const char *field)
{
    const int top = lua_gettop(reader->L);
    bool own = false;
    if (mg_snapshot_open(reader, route, "service") &&
        mg_snapshot_open(reader, lua_gettop(reader->L), "own")) {
        own = mg_snapshot_flag(reader, lua_gettop(reader->L), field, false);
    }
    lua_settop(reader->L, top);
    return own;
}

static void take_service_timeouts(struct mg_snapshot_reader *reader, int route_at,
                                  const struct mg_service *service, struct mg_limits *limits)
{
    if (is_own(reader, route_at, "connect_timeout")) {
        limits->connect_timeout = service->connect_timeout;
    }
    if (is_own(reader, route_at, "read_timeout")) {
        limits->read_timeout = service->read_timeout;
    }
    if (is_own(reader, route_at, "write_timeout")) {
        limits->write_timeout = service->write_timeout;
    }
}

/* gateway.routes.settings.NAME: pushes the table, or nothing. */
static bool open_settings(struct mg_snapshot_reader *reader, int gateway, mg_str name)
{
    lua_State *L = reader->L;
    const int top = lua_gettop(L);
    if (name.len > 0 && mg_snapshot_open(reader, gateway, "routes") &&
        mg_snapshot_open(reader, lua_gettop(L), "settings")) {
        lua_pushlstring(L, name.ptr, name.len);
        lua_rawget(L, -2);
        if (lua_istable(L, -1)) {
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

/* Limits, most specific first: the service's own timeouts, the route's settings, the gateway. */
static void read_settings(struct mg_snapshot_reader *reader, int item, int gateway,
                          struct mg_route *route)
{
    lua_State *L = reader->L;
    const int top = lua_gettop(L);
    struct mg_limits limits = reader->config->gateway.limits;
    route->websocket = true;
    if (open_settings(reader, gateway, route->name)) {
        const int settings = lua_gettop(L);
        route->websocket = mg_snapshot_flag(reader, settings, "websocket", true);
        route->trailers =
            mg_snapshot_texts(reader, settings, "trailers", true, &route->trailer_count);
        if (mg_snapshot_open(reader, settings, "limits")) {
            mg_snapshot_limits(reader, lua_gettop(L), &limits);
        }
    }
    lua_settop(L, top);
    if (route->service) {
        take_service_timeouts(reader, item, route->service, &limits);
    }
    route->limits = &reader->config->gateway.limits;
    if (memcmp(&limits, route->limits, sizeof limits) != 0) {
        struct mg_limits *own = mg_arena_alloc(&reader->config->arena, sizeof *own);
        *own = limits;
        route->limits = own;
    }
}

static void read_route(struct mg_snapshot_reader *reader, int item, int gateway, uint32_t index)
{
    struct mg_route *route = &reader->config->routes[index];
    route->id = mg_snapshot_text(reader, item, "id");
    route->name = mg_snapshot_text(reader, item, "name");
    route->service = mg_snapshot_reference(reader, item, "service");
    route->methods = mg_snapshot_texts(reader, item, "methods", false, &route->method_count);
    route->hosts = mg_snapshot_texts(reader, item, "hosts", true, &route->host_count);
    read_paths(reader, item, route);
    read_route_headers(reader, item, route);
    read_protocols(reader, item, route);
    route->strip_path = mg_snapshot_flag(reader, item, "strip_path", true);
    route->preserve_host = mg_snapshot_flag(reader, item, "preserve_host", false);
    route->request_buffering = mg_snapshot_flag(reader, item, "request_buffering", true);
    route->response_buffering = mg_snapshot_flag(reader, item, "response_buffering", true);
    route->https_redirect_status =
        (uint16_t)mg_snapshot_number(reader, item, "https_redirect_status_code", 426);
    route->regex_priority = mg_snapshot_int32(reader, item, "regex_priority", 0);
    route->index = index;
    route->line = (uint32_t)mg_snapshot_number(reader, item, "__line", 0);
    read_settings(reader, item, gateway, route);
    mg_snapshot_remember(reader, item, route);
}

void mg_snapshot_entities(struct mg_snapshot_reader *reader, int at, int gateway)
{
    struct mg_config *config = reader->config;
    config->upstream_count = mg_snapshot_count(reader, at, "upstreams");
    config->service_count = mg_snapshot_count(reader, at, "services");
    config->route_count = mg_snapshot_count(reader, at, "routes");
    config->upstreams =
        mg_snapshot_array(reader, config->upstream_count, sizeof *config->upstreams);
    config->services = mg_snapshot_array(reader, config->service_count, sizeof *config->services);
    config->routes = mg_snapshot_array(reader, config->route_count, sizeof *config->routes);
    each(reader, at, "upstreams", gateway, read_upstream);
    each(reader, at, "services", gateway, read_service);
    each(reader, at, "routes", gateway, read_route);
}
