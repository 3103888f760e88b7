/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, pools and retries of upstreams. */
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
