/* SPDX-License-Identifier: Apache-2.0 */
/* The C half of lua/moongate/runtime/load.lua. */
#include "script/load.h"

#include "script/chain.h"
#include "script/json.h"
#include "script/snapshot.h"
#include "script/yaml.h"

#include <lauxlib.h>
#include <stdio.h>

#define MESSAGE_BYTES 512

const struct mg_vm_module mg_load_modules[] = {
    {"cjson", mg_json_open},
    {"cjson.safe", mg_json_open_safe},
    {"moongate.yaml", mg_yaml_open},
    {NULL, NULL},
};

static void append(struct mg_buf *report, mg_str text)
{
    if (mg_buf_append(report, text)) { /* over its cap: what is there must do */
        return;
    }
}

static int refuse(struct mg_buf *report, mg_str file, const char *why)
{
    append(report, file);
    append(report, MG_STR(": "));
    append(report, mg_str_from(why));
    append(report, MG_STR("\n"));
    return MG_EINVALID;
}

static void set_text(lua_State *L, const char *key, mg_str value)
{
    if (value.ptr) {
        lua_pushlstring(L, value.ptr, value.len);
        lua_setfield(L, -2, key);
    }
}

/* Pushes the options of load.lua. Strings may be as large as the file: protected by the caller. */
static int on_options(lua_State *L)
{
    const struct mg_load_ask *ask = lua_touserdata(L, 1);
    lua_newtable(L);
    set_text(L, "file", ask->file);
    set_text(L, "text", ask->text);
    set_text(L, "config", ask->config);
    set_text(L, "unreadable", ask->unreadable);
    lua_pushnumber(L, (lua_Number)ask->number);
    lua_setfield(L, -2, "number");
    lua_pushboolean(L, ask->json);
    lua_setfield(L, -2, "json");
    lua_pushboolean(L, ask->color);
    lua_setfield(L, -2, "color");
    return 1;
}

/* Leaves description, snapshot and report text on the stack. */
static int call_lua(struct mg_vm *vm, const struct mg_load_ask *ask)
{
    lua_State *L = vm->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->entry.load);
    lua_pushcfunction(L, on_options);
    lua_pushlightuserdata(L, (void *)ask);
    const int err = mg_vm_call(vm, 1, 1);
    return err ? err : mg_vm_call(vm, 1, 3);
}

/* Stack: description, snapshot. */
static int build(struct mg_vm *vm, struct mg_config *config, struct mg_buf *report, mg_str file)
{
    char message[MESSAGE_BYTES];
    const int err = mg_snapshot_build(vm->L, -1, config, message, sizeof message);
    if (err) {
        return refuse(report, file, message);
    }
    lua_pop(vm->L, 1);
    if (mg_chain_take(vm, config)) {
        return refuse(report, file, mg_vm_error(vm));
    }
    return 0;
}

int mg_load_run(struct mg_vm *vm, const struct mg_load_ask *ask, struct mg_config *config,
                struct mg_buf *report)
{
    lua_State *L = vm->L;
    const int top = lua_gettop(L);
    int err = call_lua(vm, ask);
    if (err) {
        err = refuse(report, ask->file, mg_vm_error(vm));
    } else {
        size_t length;
        const char *text = lua_tolstring(L, -1, &length);
        append(report, mg_str_make(text, text ? length : 0));
        lua_pop(L, 1);
        err = lua_isnil(L, -2) ? MG_EINVALID : build(vm, config, report, ask->file);
    }
    lua_settop(L, top);
    return err;
}
