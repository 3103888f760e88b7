/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON: what is read is written again, and what was written reads back to a text of the same length
 * (keys of an object may change places). The stack is left as it was found. The input is a text,
 * or, behind an S, settings of the module and then a text, or, behind a V, settings and then what a
 * Lua value is made of: there a failure is fine, but what is written has to hold.
 *
 * Covers: core/script/json.c core/script/json_text.c core/script/json_encode.c
 * Covers: core/script/json_decode.c
 */
#include "base/err.h"
#include "script/json.h"

#include "support/input.h"

#include <lauxlib.h>
#include <lua.h>

#include <stdbool.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the module ------------------------------------------------------------------------------- */

/* Stack: module, argument -> module, result. False where the function failed. */
static bool call(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 2, 0)) { /* of the module that raises */
        mg_require(lua_isstring(L, -1));
        return false;
    }
    const bool failed = lua_isstring(L, -1);
    lua_pop(L, 1);
    return !failed;
}

/* cjson or cjson.safe, or an instance of its own of one of them. */
static void open_module(lua_State *L, unsigned which)
{
    lua_pushcfunction(L, which & 1 ? mg_json_open : mg_json_open_safe);
    lua_call(L, 0, 1);
    if (which & 2) {
        lua_getfield(L, 1, "new");
        lua_call(L, 0, 1);
        lua_remove(L, 1);
    }
}

/* One argument that a setter may take, or not. */
static void push_argument(lua_State *L, unsigned choice)
{
    switch (choice % 8) {
    case 0:
        lua_pushnil(L);
        break;
    case 1:
        lua_pushliteral(L, "null");
        break;
    case 2:
    case 3:
        lua_pushboolean(L, choice % 2);
        break;
    case 4:
        lua_newtable(L);
        break;
    default:
        lua_pushinteger(L, (lua_Integer)(choice / 8));
        break;
    }
}

static void set(lua_State *L, const char *name, struct input *input, int arguments)
{
    lua_getfield(L, 1, name);
    for (int i = 0; i < arguments; i++) {
        push_argument(L, input_byte(input));
    }
    (void)lua_pcall(L, arguments, 0, 0);
    lua_settop(L, 1);
}

static void set_to(lua_State *L, const char *name, int value)
{
    lua_getfield(L, 1, name);
    lua_pushinteger(L, value);
    lua_call(L, 1, 1);
    mg_require(lua_tointeger(L, -1) == value);
    lua_settop(L, 1);
}

/* Up to a byte that names no setting. Numbers that JSON does not have are read where they are
 * written; and what a value is made into must not be too deep to be read or written again, nor get
 * one name for two keys that are numbers: what was written can be read. */
static void set_up(lua_State *L, struct input *input, bool for_value)
{
    static const char *const setters[] = {"encode_empty_table_as_object",
                                          "encode_escape_forward_slash",
                                          "encode_skip_unsupported_value_types",
                                          "encode_number_precision",
                                          "encode_max_depth",
                                          "encode_keep_buffer",
                                          "decode_max_depth",
                                          "decode_array_with_array_mt",
                                          "decode_refuse_duplicate_names",
                                          "encode_invalid_numbers",
                                          "encode_sparse_array"};
    enum { COUNT = sizeof setters / sizeof setters[0] };
    for (;;) {
        const unsigned which = input_byte(input) - 'a';
        if (which >= COUNT) {
            break;
        }
        set(L, setters[which], input, which == COUNT - 1 ? 3 : 1);
    }
    lua_getfield(L, 1, "decode_invalid_numbers");
    lua_pushboolean(L, true);
    lua_call(L, 1, 0);
    if (for_value) {
        set_to(L, "encode_max_depth", 1000);
        set_to(L, "decode_max_depth", 1000);
        set_to(L, "encode_number_precision", 14);
    }
}

/* --- values ----------------------------------------------------------------------------------- */

static void push_value(lua_State *L, struct input *input, unsigned depth);

/* Entries with number keys, where they may be sparse, with others, or both. */
static void push_table(lua_State *L, struct input *input, unsigned depth)
{
    lua_newtable(L);
    for (unsigned i = 0; i < 20 && input_left(input); i++) {
        const unsigned kind = input_byte(input);
        if (kind < 'a') {
            break;
        }
        if (kind % 4 == 0) {
            lua_pushfstring(L, "key %d", i);
        } else if (kind == 'b') {
            lua_pushboolean(L, true);
        } else {
            lua_pushnumber(L, kind % 4 == 1 ? i + 1 : kind % 4 == 2 ? 100 * i : i + 0.5);
        }
        push_value(L, input, depth + 1);
        lua_rawset(L, -3);
    }
    if (input_byte(input) % 8 == 7) {
        lua_getfield(L, 1, input_byte(input) % 2 ? "array_mt" : "empty_array_mt");
        lua_setmetatable(L, -2);
    }
}

static void push_value(lua_State *L, struct input *input, unsigned depth)
{
    static const double numbers[] = {0, -1, 1.5, 1e300, -1e-300, 1e308 * 10, 123456789012345678.0};
    const unsigned kind = input_byte(input);
    mg_str text;
    luaL_checkstack(L, 10, "values");
    switch (kind % 10) {
    case 0:
        lua_pushboolean(L, kind & 16);
        break;
    case 1:
        lua_pushnumber(L, numbers[kind / 10 % 7]);
        break;
    case 2:
        lua_pushnumber(L, kind & 16 ? __builtin_nan("") : -__builtin_inf());
        break;
    case 3:
        text = input_bytes(input, kind / 10);
        lua_pushlstring(L, text.ptr, text.len);
        break;
    case 4:
        lua_pushcfunction(L, mg_json_open);
        break;
    case 5:
        lua_pushlightuserdata(L, kind & 16 ? NULL : L);
        break;
    case 6:
        lua_getfield(L, 1, "empty_array");
        break;
    case 7:
        lua_newthread(L);
        break;
    default:
        if (depth < 40) {
            push_table(L, input, depth);
        } else {
            lua_pushnil(L);
        }
        break;
    }
}

/* --- what holds ------------------------------------------------------------------------------- */

/* The value on top is written, read, and written again. */
static bool round_trip(lua_State *L)
{
    size_t first;
    if (!call(L, "encode")) {
        return false;
    }
    lua_tolstring(L, -1, &first);
    mg_require(call(L, "decode"));
    mg_require(call(L, "encode"));
    mg_require(lua_objlen(L, -1) == first);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.at = data, .end = data + size};
    lua_State *L = luaL_newstate();
    mg_require(L);
    if (size > 1 && (data[0] == 'S' || data[0] == 'V')) {
        input_byte(&input);
        open_module(L, input_byte(&input));
        set_up(L, &input, data[0] == 'V');
    } else {
        open_module(L, 0);
    }
    if (size > 1 && data[0] == 'V') {
        push_value(L, &input, 0);
        round_trip(L);
    } else {
        const mg_str text = input_bytes(&input, size);
        lua_pushlstring(L, text.ptr, text.len);
        if (call(L, "decode")) {
            mg_require(round_trip(L) || data[0] == 'S');
        }
    }
    mg_require(lua_gettop(L) == 2);
    lua_close(L);
    return 0;
}
