/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole snapshot. Reading runs in a protected call: a Lua error leaves by longjmp over frames
 * that own nothing, since all C memory is the configuration's arena.
 */
#include "script/snapshot.h"

#include "model/route.h"
#include "script/snapshot_entities.h"
#include "script/snapshot_gateway.h"

#include <lauxlib.h>
#include <stdio.h>

/* Pushes handler.IDENTITY_HEADERS of what load_plugin gave, or nothing. */
static bool open_identity(struct mg_snapshot_reader *reader, int loaded)
{
    lua_State *L = reader->L;
    const int top = lua_gettop(L);
    if (lua_istable(L, loaded)) {
        lua_pushstring(L, "handler");
        lua_rawget(L, loaded);
        if (lua_istable(L, -1)) {
            lua_pushstring(L, "IDENTITY_HEADERS");
            lua_rawget(L, -2);
            if (lua_istable(L, -1)) {
                return true;
            }
        }
    }
    lua_settop(L, top);
    return false;
}

/* Adds up the names, and stores them when there is a place for them. */
static uint32_t read_identity_of(struct mg_snapshot_reader *reader, int loaded, mg_str *names)
{
    lua_State *L = reader->L;
    const int top = lua_gettop(L);
    uint32_t count = 0;
    if (open_identity(reader, loaded)) {
        const int list = lua_gettop(L);
        count = (uint32_t)lua_objlen(L, list);
        for (uint32_t i = 0; names && i < count; i++) {
            lua_rawgeti(L, list, (int)i + 1);
            names[i] = mg_snapshot_pop_text(reader, "IDENTITY_HEADERS", true);
        }
    }
    lua_settop(L, top);
    return count;
}

static uint32_t read_identity(struct mg_snapshot_reader *reader, int handlers, mg_str *names)
{
    lua_State *L = reader->L;
    uint32_t count = 0;
    for (lua_pushnil(L); lua_next(L, handlers) != 0; lua_pop(L, 1)) {
        count += read_identity_of(reader, lua_gettop(L), names ? names + count : NULL);
    }
    return count;
}

/* The fields that loaded plugins declare as theirs: nobody outside may set them. */
static void read_identities(struct mg_snapshot_reader *reader, int snapshot)
{
    struct mg_config *config = reader->config;
    if (!mg_snapshot_open(reader, snapshot, "handlers")) {
        return;
    }
    const int handlers = lua_gettop(reader->L);
    config->identity_count = read_identity(reader, handlers, NULL);
    config->identity_names =
        mg_snapshot_array(reader, config->identity_count, sizeof *config->identity_names);
    read_identity(reader, handlers, config->identity_names);
    lua_pop(reader->L, 1);
}

static int read_snapshot(lua_State *L)
{
    struct mg_snapshot_reader reader = {.L = L, .config = lua_touserdata(L, 2)};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_newtable(L);
    reader.entities = lua_gettop(L);
    reader.config->file = mg_snapshot_text(&reader, 1, "file");
    if (!mg_snapshot_open(&reader, 1, "gateway")) {
        return luaL_error(L, "snapshot: there is no 'gateway'");
    }
    const int gateway = lua_gettop(L);
    mg_snapshot_gateway(&reader, gateway);
    mg_snapshot_entities(&reader, 1, gateway);
    read_identities(&reader, 1);
    return 0;
}

int mg_snapshot_build(lua_State *L, int index, struct mg_config *config, char *message,
                      size_t message_bytes)
{
    const int top = lua_gettop(L);
    const int at = index > 0 ? index : top + 1 + index;
    lua_pushcfunction(L, read_snapshot);
    lua_pushvalue(L, at);
    lua_pushlightuserdata(L, config);
    if (lua_pcall(L, 2, 0, 0) != 0) {
        const char *text = lua_tostring(L, -1);
        snprintf(message, message_bytes, "%s", text ? text : "unknown Lua error");
        lua_settop(L, top);
        return MG_ELUA;
    }
    return mg_router_compile(config, message, message_bytes);
}
