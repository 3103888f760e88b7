/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cjson modules: settings, and the two calls. The instance is upvalue 1 of every function, so
 * that a function may be taken out of its table.
 */
#include "script/json.h"

#include "script/json_decode.h"
#include "script/json_encode.h"

#include <lauxlib.h>
#include <lua.h>

#include <limits.h>
#include <stdint.h>
#include <string.h>

#define INSTANCE_TYPE "moongate.json"

enum {
    DEFAULT_DEPTH = 1000,
    DEFAULT_PRECISION = 14,
    MOST_PRECISION = 17,      /* digits that give back any double */
    KEPT_BYTES = 1024 * 1024, /* a larger text is not kept for the next call */
};

static struct mg_json *instance(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int instance_gc(lua_State *L)
{
    struct mg_json *json = luaL_checkudata(L, 1, INSTANCE_TYPE);
    mg_json_text_free(&json->text);
    return 0;
}

static struct mg_json *push_instance(lua_State *L)
{
    struct mg_json *json = lua_newuserdata(L, sizeof *json);
    *json = (struct mg_json){
        .empty_table_as_object = true,
        .escape_slash = true,
        .keep_buffer = true,
        .sparse_ratio = 2,
        .sparse_safe = 10,
        .encode_depth = DEFAULT_DEPTH,
        .precision = DEFAULT_PRECISION,
        .decode_depth = DEFAULT_DEPTH,
    };
    luaL_getmetatable(L, INSTANCE_TYPE);
    lua_setmetatable(L, -2);
    return json;
}

/* The text to work in: the instance's own, or where a call is under way that of a new instance,
 * which is left on the stack. */
static struct mg_json *borrow_text(lua_State *L, struct mg_json *json)
{
    struct mg_json *owner = json->busy ? push_instance(L) : json;
    owner->busy = true;
    owner->text.length = 0;
    return owner;
}

static void return_text(struct mg_json *owner, bool keep)
{
    if (!keep || owner->text.size > KEPT_BYTES) {
        mg_json_text_free(&owner->text);
    }
    owner->busy = false;
}

static const char *encode(lua_State *L)
{
    struct mg_json *json = instance(L);
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    struct mg_json *owner = borrow_text(L, json);
    const char *failure = mg_json_encode(L, 1, json, &owner->text);
    if (!failure) {
        lua_pushlstring(L, owner->text.data, owner->text.length);
    } else {
        lua_pushstring(L, failure);
    }
    return_text(owner, json->keep_buffer);
    return failure;
}

static const char *decode(lua_State *L)
{
    struct mg_json *json = instance(L);
    size_t length;
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    const char *text = luaL_checklstring(L, 1, &length);
    if (length > INT_MAX) {
        lua_pushliteral(L, "the JSON text is larger than 2 GiB");
        return lua_tostring(L, -1);
    }
    struct mg_json *owner = borrow_text(L, json);
    const char *failure = mg_json_decode(L, text, length, json, &owner->text);
    return_text(owner, json->keep_buffer);
    return failure;
}

static int json_encode(lua_State *L)
{
    return encode(L) ? lua_error(L) : 1;
}

static int json_decode(lua_State *L)
{
    return decode(L) ? lua_error(L) : 1;
}

static int safe_encode(lua_State *L)
{
    if (encode(L)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    return 1;
}

static int safe_decode(lua_State *L)
{
    if (lua_gettop(L) == 1 && lua_type(L, 1) != LUA_TSTRING && lua_type(L, 1) != LUA_TNUMBER) {
        lua_pushnil(L);
        lua_pushfstring(L, "bad argument #1 to 'decode' (string expected, got %s)",
                        luaL_typename(L, 1));
        return 2;
    }
    if (decode(L)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    return 1;
}

static int set_flag(lua_State *L, bool *flag)
{
    if (!lua_isnoneornil(L, 1)) {
        luaL_checktype(L, 1, LUA_TBOOLEAN);
        *flag = lua_toboolean(L, 1);
    }
    lua_pushboolean(L, *flag);
    return 1;
}

static int set_whole(lua_State *L, int index, int *setting, int least, int most)
{
    if (!lua_isnoneornil(L, index)) {
        lua_Number value = luaL_checknumber(L, index);
        luaL_argcheck(L, value >= least && value <= most, index, "number out of range");
        *setting = (int)value;
    }
    lua_pushinteger(L, *setting);
    return 1;
}

static int set_numbers(lua_State *L, enum mg_json_numbers *setting, bool may_be_null)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        luaL_argcheck(L, may_be_null && strcmp(lua_tostring(L, 1), "null") == 0, 1,
                      "invalid option");
        *setting = MG_JSON_NUMBERS_NULL;
    } else if (!lua_isnoneornil(L, 1)) {
        luaL_checktype(L, 1, LUA_TBOOLEAN);
        *setting = lua_toboolean(L, 1) ? MG_JSON_NUMBERS_ALLOW : MG_JSON_NUMBERS_REFUSE;
    }
    if (*setting == MG_JSON_NUMBERS_NULL) {
        lua_pushliteral(L, "null");
    } else {
        lua_pushboolean(L, *setting == MG_JSON_NUMBERS_ALLOW);
    }
    return 1;
}

static int encode_empty_table_as_object(lua_State *L)
{
    return set_flag(L, &instance(L)->empty_table_as_object);
}

static int encode_escape_forward_slash(lua_State *L)
{
    return set_flag(L, &instance(L)->escape_slash);
}

static int encode_skip_unsupported(lua_State *L)
{
    return set_flag(L, &instance(L)->skip_unsupported);
}

static int encode_keep_buffer(lua_State *L)
{
    return set_flag(L, &instance(L)->keep_buffer);
}

static int encode_number_precision(lua_State *L)
{
    return set_whole(L, 1, &instance(L)->precision, 1, MOST_PRECISION);
}

static int encode_max_depth(lua_State *L)
{
    return set_whole(L, 1, &instance(L)->encode_depth, 1, DEFAULT_DEPTH);
}

static int decode_max_depth(lua_State *L)
{
    return set_whole(L, 1, &instance(L)->decode_depth, 1, DEFAULT_DEPTH);
}

static int encode_sparse_array(lua_State *L)
{
    struct mg_json *json = instance(L);
    lua_settop(L, 3);
    set_flag(L, &json->sparse_convert);
    set_whole(L, 2, &json->sparse_ratio, 0, INT_MAX);
    set_whole(L, 3, &json->sparse_safe, 0, INT_MAX);
    return 3;
}

static int encode_invalid_numbers(lua_State *L)
{
    return set_numbers(L, &instance(L)->encode_numbers, true);
}

static int decode_invalid_numbers(lua_State *L)
{
    return set_numbers(L, &instance(L)->decode_numbers, false);
}

static int decode_array_with_array_mt(lua_State *L)
{
    return set_flag(L, &instance(L)->array_with_mt);
}

static int decode_refuse_duplicate_names(lua_State *L)
{
    return set_flag(L, &instance(L)->refuse_duplicates);
}

static int json_new(lua_State *L);
static int safe_new(lua_State *L);

static const luaL_Reg settings[] = {
    {"encode_empty_table_as_object", encode_empty_table_as_object},
    {"encode_escape_forward_slash", encode_escape_forward_slash},
    {"encode_skip_unsupported_value_types", encode_skip_unsupported},
    {"encode_keep_buffer", encode_keep_buffer},
    {"encode_number_precision", encode_number_precision},
    {"encode_max_depth", encode_max_depth},
    {"decode_max_depth", decode_max_depth},
    {"encode_sparse_array", encode_sparse_array},
    {"encode_invalid_numbers", encode_invalid_numbers},
    {"decode_invalid_numbers", decode_invalid_numbers},
    {"decode_array_with_array_mt", decode_array_with_array_mt},
    {"decode_refuse_duplicate_names", decode_refuse_duplicate_names},
    {NULL, NULL},
};

static const luaL_Reg raising[] = {
    {"encode", json_encode},
    {"decode", json_decode},
    {"new", json_new},
    {NULL, NULL},
};

static const luaL_Reg safe[] = {
    {"encode", safe_encode},
    {"decode", safe_decode},
    {"new", safe_new},
    {NULL, NULL},
};

/* Stack: module table, instance. Each function gets the instance as its upvalue. */
static void add_functions(lua_State *L, const luaL_Reg *functions)
{
    for (; functions->name; functions++) {
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -3, functions->name);
    }
}

/* Sets field name of the table below the top to the registry's value at key, a table made on first
 * use and common to all instances of the state. */
static void add_metatable(lua_State *L, const char *name, const char *key)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushlightuserdata(L, (void *)key);
        lua_pushvalue(L, -2);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
    lua_setfield(L, -2, name);
}

static int push_module(lua_State *L, const luaL_Reg *calls)
{
    if (luaL_newmetatable(L, INSTANCE_TYPE)) {
        lua_pushcfunction(L, instance_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    lua_newtable(L);
    push_instance(L);
    add_functions(L, settings);
    add_functions(L, calls);
    lua_pop(L, 1);
    add_metatable(L, "array_mt", &mg_json_array_mt);
    add_metatable(L, "empty_array_mt", &mg_json_empty_array_mt);
    lua_pushlightuserdata(L, (void *)&mg_json_empty_array);
    lua_setfield(L, -2, "empty_array");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_pushliteral(L, "cjson");
    lua_setfield(L, -2, "_NAME");
    lua_pushliteral(L, "2.1.0"); /* the lua-cjson level that is followed */
    lua_setfield(L, -2, "_VERSION");
    return 1;
}

static int json_new(lua_State *L)
{
    return push_module(L, raising);
}

static int safe_new(lua_State *L)
{
    return push_module(L, safe);
}

int mg_json_open(lua_State *L)
{
    return push_module(L, raising);
}

int mg_json_open_safe(lua_State *L)
{
    return push_module(L, safe);
}

#ifdef MG_LUA_MODULE
/* For plain luajit: cc -shared -fPIC -DMG_LUA_MODULE -o cjson.so json.c json_*.c */
__attribute__((visibility("default"))) int luaopen_cjson(lua_State *L);
__attribute__((visibility("default"))) int luaopen_cjson_safe(lua_State *L);

int luaopen_cjson(lua_State *L)
{
    return mg_json_open(L);
}

int luaopen_cjson_safe(lua_State *L)
{
    return mg_json_open_safe(L);
}
#endif
