/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML: any bytes give a value with marks and notes, or a refusal with a place. Every table of the
 * value has a mark of each of its entries, and no table holds itself.
 *
 * Covers: core/script/yaml.c core/script/yaml_marks.c core/script/yaml_scalar.c
 */
#include "base/err.h"
#include "script/yaml.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEEPEST = 33 };

/* Stack: value; marks is a stack index. */
static void check_value(lua_State *L, int marks, int depth)
{
    if (!lua_istable(L, -1)) {
        return;
    }
    mg_require(depth < DEEPEST);
    luaL_checkstack(L, 8, "depth");
    int table = lua_gettop(L);
    lua_pushvalue(L, table);
    lua_rawget(L, marks);
    lua_getfield(L, -1, "values");
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pushvalue(L, -2);
        lua_rawget(L, table + 2);
        mg_require(lua_tonumber(L, -1) >= (double)(16384 + 1) * 16384);
        lua_pop(L, 1);
        check_value(L, marks, depth + 1);
        lua_pop(L, 1);
    }
    lua_settop(L, table);
}

static void check_refusal(lua_State *L)
{
    lua_getfield(L, -1, "line");
    mg_require(lua_tonumber(L, -1) >= 1);
    lua_getfield(L, -2, "message");
    mg_require(lua_objlen(L, -1) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = luaL_newstate();
    mg_require(L);
    lua_pushcfunction(L, mg_yaml_open);
    lua_call(L, 0, 1);
    lua_getfield(L, 1, "parse");
    lua_pushlstring(L, (const char *)data, size);
    mg_require(lua_pcall(L, 1, 3, 0) == 0);
    mg_require(lua_gettop(L) == 4);
    if (lua_istable(L, 4)) {
        lua_pushvalue(L, 2);
        check_value(L, 3, 0);
    } else {
        lua_pushvalue(L, 3);
        check_refusal(L);
    }
    lua_close(L);
    return 0;
}
