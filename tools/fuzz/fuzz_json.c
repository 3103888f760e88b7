/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: what is read is written again, and what was written reads back to a text of the same length
 * (keys of an object may change places). The stack is left as it was found.
 *
 * Covers: core/script/json.c core/script/json_text.c core/script/json_encode.c
 * Covers: core/script/json_decode.c
 */
#include "base/err.h"
#include "script/json.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdbool.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Stack: module, argument -> module, result. False where the function failed. */
static bool call(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_insert(L, -2);
    mg_require(lua_pcall(L, 1, 2, 0) == 0);
    bool failed = lua_isstring(L, -1);
    lua_pop(L, 1);
    return !failed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = luaL_newstate();
    size_t first;
    mg_require(L);
    lua_pushcfunction(L, mg_json_open_safe);
    lua_call(L, 0, 1);
    lua_pushlstring(L, (const char *)data, size);
    if (call(L, "decode")) {
        mg_require(call(L, "encode"));
        lua_tolstring(L, -1, &first);
        mg_require(call(L, "decode"));
        mg_require(call(L, "encode"));
        mg_require(lua_objlen(L, -1) == first);
    }
    mg_require(lua_gettop(L) == 2);
    lua_close(L);
    return 0;
}
