/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: text to YAML, schema, snapshot and C snapshot, in one Lua state. Any text
 * gives a snapshot, or findings with places (config_load.lua checks them). A snapshot always
 * becomes a C configuration with a router that answers, and its expanded form, which is what
 * workers load, gives the same one.
 *
 * Covers: core/script/yaml.c core/script/yaml_marks.c core/script/yaml_scalar.c
 * Covers: core/script/snapshot.c core/script/snapshot_read.c core/script/snapshot_gateway.c
 * Covers: core/script/snapshot_entities.c
 */
#include "model/route.h"
#include "script/json.h"
#include "script/load.h"
#include "script/snapshot.h"
#include "script/vm_new.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COLLECT_EVERY = 64, MOST_BYTES = 64 * 1024 };

static void fail(const char *what, const char *text)
{
    fprintf(stderr, "config: %s: %s\n", what, text ? text : "?");
    abort();
}

static struct mg_vm *vm;

static void close_vm(void)
{
    mg_vm_free(vm);
}

/* Kept for the whole run: loading the modules takes longer than loading a configuration. Leaves
 * load at stack index 1. */
static void open_vm(void)
{
    const struct mg_vm_options options = {.lua_path = MOONGATE_SOURCE_DIR "/lua",
                                          .plugins_path = MOONGATE_SOURCE_DIR "/plugins",
                                          .ffi_header = MOONGATE_SOURCE_DIR "/core/script/ffi.h",
                                          .modules = mg_load_modules,
                                          .workers = 1};
    char message[512];
    vm = mg_vm_new(&options, message, sizeof message);
    if (!vm) {
        fail("no state", message);
        return;
    }
    atexit(close_vm);
    if (luaL_loadfile(vm->L, MOONGATE_SOURCE_DIR "/tools/fuzz/config_load.lua") ||
        lua_pcall(vm->L, 0, 1, 0)) {
        fail("config_load.lua", lua_tostring(vm->L, -1));
    }
}

/* A question that reaches into every part of the router. */
static void ask(const struct mg_config *config, struct mg_headers *headers, mg_str host,
                mg_str path)
{
    const struct mg_question question = {
        .method = MG_STR("GET"), .host = host, .port = 80, .path = path, .headers = headers};
    struct mg_match match;
    mg_require(mg_router_match(config, &question, &match) == (match.route != NULL));
}

static void check_config(struct mg_config *config)
{
    struct mg_headers headers;
    mg_headers_init(&headers, &config->arena);
    mg_headers_add(&headers, MG_STR("x-a"), MG_STR("b"));
    ask(config, &headers, MG_STR("a.example"), MG_STR("/"));
    for (uint32_t i = 0; i < config->route_count && i < 8; i++) {
        const struct mg_route *route = &config->routes[i];
        ask(config, &headers, route->host_count > 0 ? route->hosts[0] : MG_STR("a.example"),
            route->path_count > 0 ? route->paths[0].text : MG_STR("/x"));
        mg_require(route->limits != NULL && route->index == i);
    }
    for (uint32_t i = 0; i < config->service_count; i++) {
        mg_require(config->services[i].host.len > 0);
    }
}

/* The snapshot at the stack index. */
static void build(lua_State *L, int index)
{
    struct mg_config *config = mg_config_new();
    char message[512] = "";
    if (mg_snapshot_build(L, index, config, message, sizeof message)) {
        fail("what the schema takes must become a configuration", message);
    }
    check_config(config);
    mg_config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned runs;
    if (size > MOST_BYTES) {
        return 0;
    }
    if (!vm) {
        open_vm();
    }
    lua_State *L = vm->L;
    lua_pushvalue(L, 1);
    lua_pushlstring(L, (const char *)data, size);
    if (lua_pcall(L, 1, 2, 0)) {
        fail("load raises", lua_tostring(L, -1));
    }
    for (int index = 2; index <= 3; index++) {
        if (lua_istable(L, index)) {
            build(L, index);
        }
    }
    lua_settop(L, 1);
    if (++runs % COLLECT_EVERY == 0) {
        lua_gc(L, LUA_GCCOLLECT, 0);
    }
    return 0;
}
