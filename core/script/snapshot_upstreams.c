/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, pools, retries and health of upstreams. */
#include "script/snapshot_upstreams.h"

#include "model/retry.h"

#include <lauxlib.h>
#include <string.h>

/* --- retry --- */

static uint32_t condition_of(mg_str word)
{
    static const struct {
        const char *word;
        enum mg_retry_on on;
    } conditions[] = {
        {"connect-failure", MG_RETRY_CONNECT_FAILURE},
        {"reset-before-send", MG_RETRY_RESET_BEFORE_SEND},
        {"retry-after", MG_RETRY_RETRY_AFTER},
        {"reset-before-headers", MG_RETRY_RESET_BEFORE_HEADERS},
        {"head-timeout", MG_RETRY_HEAD_TIMEOUT},
    };
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        if (mg_str_equal(word, mg_str_from(conditions[i].word))) {
            return (uint32_t)conditions[i].on;
        }
    }
    return 0;
}

/* Words and statuses, which take the place of those that were in force. */
static void read_conditions(struct mg_snapshot_reader *reader, int at, struct mg_retry *retry)
{
    if (!mg_snapshot_open(reader, at, "on")) {
        return;
    }
    const int list = lua_gettop(reader->L);
    retry->on = 0;
    memset(retry->statuses, 0, sizeof retry->statuses);
    for (int i = 1; i <= (int)lua_objlen(reader->L, list); i++) {
        lua_rawgeti(reader->L, list, i);
        if (lua_type(reader->L, -1) == LUA_TNUMBER) {
            mg_retry_add_status(retry, (uint16_t)lua_tonumber(reader->L, -1));
            lua_pop(reader->L, 1);
        } else {
            retry->on |= condition_of(mg_snapshot_pop_text(reader, "on", false));
        }
    }
    lua_pop(reader->L, 1);
}

static void read_methods(struct mg_snapshot_reader *reader, int at, struct mg_retry *retry)
{
    uint32_t count;
    const int top = lua_gettop(reader->L);
    if (!mg_snapshot_open(reader, at, "methods")) {
        return;
    }
    lua_settop(reader->L, top);
    const mg_str *names = mg_snapshot_texts(reader, at, "methods", false, &count);
    retry->methods = 0;
    for (uint32_t i = 0; i < count; i++) {
        retry->methods |= 1U << mg_method_of(names[i]);
    }
}

/* What the record `retry` of the table sets. */
static void merge_retry(struct mg_snapshot_reader *reader, int at, struct mg_retry *retry)
{
    static const struct mg_snapshot_field fields[] = {
        MG_SNAPSHOT_FIELD(struct mg_retry, attempts, "attempts"),
        MG_SNAPSHOT_FIELD(struct mg_retry, per_try_timeout, "per_try_timeout"),
        MG_SNAPSHOT_FIELD(struct mg_retry, budget, "budget"),
        {NULL, 0, 0},
    };
    static const struct mg_snapshot_field backoff[] = {
        MG_SNAPSHOT_FIELD(struct mg_retry, backoff_base, "base"),
        MG_SNAPSHOT_FIELD(struct mg_retry, backoff_max, "max"),
        {NULL, 0, 0},
    };
    const int top = lua_gettop(reader->L);
    if (!mg_snapshot_open(reader, at, "retry")) {
        return;
    }
    const int record = lua_gettop(reader->L);
    mg_snapshot_numbers(reader, record, fields, retry);
    read_conditions(reader, record, retry);
    read_methods(reader, record, retry);
    if (mg_snapshot_open(reader, record, "backoff")) {
        mg_snapshot_numbers(reader, lua_gettop(reader->L), backoff, retry);
    }
    lua_settop(reader->L, top);
}

/* --- health --- */

static void merge_outlier(struct mg_snapshot_reader *reader, int at, struct mg_outlier *outlier)
{
    static const struct mg_snapshot_field fields[] = {
        MG_SNAPSHOT_FIELD(struct mg_outlier, consecutive, "consecutive_failures"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, failure_percent, "failure_percent"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, min_requests, "min_requests"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, max_eject_percent, "max_eject_percent"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, panic_percent, "panic_percent"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, ramp, "ramp"),
        {NULL, 0, 0},
    };
    static const struct mg_snapshot_field open[] = {
        MG_SNAPSHOT_FIELD(struct mg_outlier, open_base, "base"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, open_factor, "factor"),
        MG_SNAPSHOT_FIELD(struct mg_outlier, open_max, "max"),
        {NULL, 0, 0},
    };
    const int top = lua_gettop(reader->L);
    if (!mg_snapshot_open(reader, at, "outlier")) {
        return;
    }
    const int record = lua_gettop(reader->L);
    mg_snapshot_numbers(reader, record, fields, outlier);
    if (mg_snapshot_open(reader, record, "open")) {
        mg_snapshot_numbers(reader, lua_gettop(reader->L), open, outlier);
    }
    lua_settop(reader->L, top);
}

/* Sets the bit of each status of the list `http_statuses`. */
static void read_statuses(struct mg_snapshot_reader *reader, int at, uint64_t *set)
{
    if (!mg_snapshot_open(reader, at, "http_statuses")) {
        return;
    }
    const int list = lua_gettop(reader->L);
    for (int i = 1; i <= (int)lua_objlen(reader->L, list); i++) {
        lua_rawgeti(reader->L, list, i);
        const lua_Number status = lua_tonumber(reader->L, -1);
        if (status >= 0 && status < MG_STATUS_BITS) {
            set[(unsigned)status / 64] |= UINT64_C(1) << (unsigned)status % 64;
        }
        lua_pop(reader->L, 1);
    }
    lua_pop(reader->L, 1);
}

/* Kong's record `active` or `passive` at the stack index. */
static void read_rule(struct mg_snapshot_reader *reader, int at, struct mg_health_rule *rule)
{
    static const struct mg_snapshot_field healthy[] = {
        MG_SNAPSHOT_FIELD(struct mg_health_rule, successes, "successes"), {NULL, 0, 0}};
    static const struct mg_snapshot_field unhealthy[] = {
        MG_SNAPSHOT_FIELD(struct mg_health_rule, tcp_failures, "tcp_failures"),
        MG_SNAPSHOT_FIELD(struct mg_health_rule, timeouts, "timeouts"),
        MG_SNAPSHOT_FIELD(struct mg_health_rule, http_failures, "http_failures"),
        {NULL, 0, 0},
    };
    const int top = lua_gettop(reader->L);
    if (mg_snapshot_open(reader, at, "healthy")) {
        mg_snapshot_numbers(reader, lua_gettop(reader->L), healthy, rule);
        read_statuses(reader, lua_gettop(reader->L), rule->healthy);
    }
    lua_settop(reader->L, top);
    if (mg_snapshot_open(reader, at, "unhealthy")) {
        mg_snapshot_numbers(reader, lua_gettop(reader->L), unhealthy, rule);
        read_statuses(reader, lua_gettop(reader->L), rule->unhealthy);
    }
    lua_settop(reader->L, top);
}

/* Seconds, maybe a part of one, as ms; at least one of those where there are any. */
static uint64_t read_seconds(struct mg_snapshot_reader *reader, int at, const char *name)
{
    lua_pushstring(reader->L, name);
    lua_rawget(reader->L, at);
    const double ms = lua_tonumber(reader->L, -1) * 1000;
    lua_pop(reader->L, 1);
    return ms <= 0 ? 0 : ms < 1 ? 1 : (uint64_t)ms;
}

static uint64_t read_interval(struct mg_snapshot_reader *reader, int at, const char *kind)
{
    uint64_t ms = 0;
    if (mg_snapshot_open(reader, at, kind)) {
        ms = read_seconds(reader, lua_gettop(reader->L), "interval");
        lua_pop(reader->L, 1);
    }
    return ms;
}

static uint32_t count_headers(lua_State *L, int map)
{
    uint32_t count = 0;
    for (lua_pushnil(L); lua_next(L, map) != 0; lua_pop(L, 1)) {
        count += lua_istable(L, -1) ? (uint32_t)lua_objlen(L, -1) : 0;
    }
    return count;
}

/* A map of name to values. */
static void read_headers(struct mg_snapshot_reader *reader, int at, struct mg_active_check *check)
{
    lua_State *L = reader->L;
    if (!mg_snapshot_open(reader, at, "headers")) {
        return;
    }
    const int map = lua_gettop(L);
    check->headers = mg_snapshot_array(reader, count_headers(L, map), sizeof *check->headers);
    for (lua_pushnil(L); lua_next(L, map) != 0; lua_pop(L, 1)) {
        uint32_t count;
        luaL_checktype(L, -2, LUA_TSTRING);
        const char *name = lua_tostring(L, -2);
        const mg_str *values = mg_snapshot_texts(reader, map, name, false, &count);
        for (uint32_t i = 0; i < count; i++) {
            check->headers[check->header_count++] = (struct mg_check_header){
                mg_arena_copy_str(&reader->config->arena, mg_str_from(name)), values[i]};
        }
    }
    lua_pop(L, 1);
}

static void read_active(struct mg_snapshot_reader *reader, int at,
                        struct mg_upstream_config *upstream)
{
    struct mg_active_check *check = &upstream->check;
    read_rule(reader, at, &upstream->active);
    check->tcp = mg_str_equal(mg_snapshot_text(reader, at, "type"), MG_STR("tcp"));
    check->timeout = read_seconds(reader, at, "timeout");
    check->concurrency = (uint32_t)mg_snapshot_number(reader, at, "concurrency", 10);
    check->path = mg_snapshot_text(reader, at, "http_path");
    check->healthy_interval = read_interval(reader, at, "healthy");
    check->unhealthy_interval = read_interval(reader, at, "unhealthy");
    read_headers(reader, at, check);
}

void mg_snapshot_health(struct mg_snapshot_reader *reader, int at,
                        struct mg_upstream_config *upstream)
{
    const int top = lua_gettop(reader->L);
    if (!mg_snapshot_open(reader, at, "healthchecks")) {
        return;
    }
    const int checks = lua_gettop(reader->L);
    lua_pushstring(reader->L, "threshold");
    lua_rawget(reader->L, checks);
    upstream->threshold = (uint32_t)(lua_tonumber(reader->L, -1) * 1000);
    lua_pop(reader->L, 1);
    if (mg_snapshot_open(reader, checks, "passive")) {
        read_rule(reader, lua_gettop(reader->L), &upstream->passive);
    }
    lua_settop(reader->L, checks);
    if (mg_snapshot_open(reader, checks, "active")) {
        read_active(reader, lua_gettop(reader->L), upstream);
    }
    lua_settop(reader->L, top);
}

/* --- settings --- */

static void merge_settings(struct mg_snapshot_reader *reader, int at,
                           struct mg_upstream_settings *settings)
{
    static const struct mg_snapshot_field fields[] = {
        MG_SNAPSHOT_FIELD(struct mg_upstream_settings, keepalive, "keepalive"),
        MG_SNAPSHOT_FIELD(struct mg_upstream_settings, keepalive_idle, "keepalive_idle"),
        {NULL, 0, 0},
    };
    static const struct mg_snapshot_field limits[] = {
        MG_SNAPSHOT_FIELD(struct mg_upstream_limits, connections, "connections"),
        MG_SNAPSHOT_FIELD(struct mg_upstream_limits, pending, "pending"),
        MG_SNAPSHOT_FIELD(struct mg_upstream_limits, requests, "requests"),
        MG_SNAPSHOT_FIELD(struct mg_upstream_limits, target_connections, "target_connections"),
        {NULL, 0, 0},
    };
    mg_snapshot_numbers(reader, at, fields, settings);
    settings->allow_link_local =
        mg_snapshot_flag(reader, at, "allow_link_local", settings->allow_link_local);
    if (mg_snapshot_open(reader, at, "limits")) {
        mg_snapshot_numbers(reader, lua_gettop(reader->L), limits, &settings->limits);
        lua_pop(reader->L, 1);
    }
    merge_retry(reader, at, &settings->retry);
    merge_outlier(reader, at, &settings->outlier);
}

/* Host names have no case, and the loader has lowered those of services. */
static bool is_name(lua_State *L, int at, mg_str name)
{
    size_t length;
    const char *text = lua_type(L, at) == LUA_TSTRING ? lua_tolstring(L, at, &length) : NULL;
    return text && mg_str_iequal(mg_str_make(text, length), name);
}

struct mg_upstream_settings mg_snapshot_upstream_settings(struct mg_snapshot_reader *reader, int at,
                                                          mg_str name)
{
    lua_State *L = reader->L;
    struct mg_upstream_settings settings = reader->config->gateway.upstream_defaults;
    const int top = lua_gettop(L);
    if (mg_snapshot_open(reader, at, "upstreams") &&
        mg_snapshot_open(reader, lua_gettop(L), "settings")) {
        const int map = lua_gettop(L);
        for (lua_pushnil(L); lua_next(L, map) != 0; lua_pop(L, 1)) {
            if (is_name(L, -2, name) && lua_istable(L, -1)) {
                merge_settings(reader, lua_gettop(L), &settings);
            }
        }
    }
    lua_settop(L, top);
    return settings;
}

void mg_snapshot_upstream_defaults(struct mg_snapshot_reader *reader, int at)
{
    struct mg_upstream_settings *defaults = &reader->config->gateway.upstream_defaults;
    const int top = lua_gettop(reader->L);
    defaults->retry = mg_retry_usual();
    if (mg_snapshot_open(reader, at, "upstreams") &&
        mg_snapshot_open(reader, lua_gettop(reader->L), "defaults")) {
        merge_settings(reader, lua_gettop(reader->L), defaults);
    }
    lua_settop(reader->L, top);
    merge_retry(reader, at, &defaults->retry);
}
