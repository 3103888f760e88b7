/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lua state with plugins made in the test, on a loop with a virtual clock, and requests without
 * sockets.
 *
 *     struct vm_fixture *f = vm_fixture_open("gateway{ handlers = { a = { access = ... } }, ...
 *     }"); struct mg_req *req = vm_request(f, 0);                  // on the first route, -1 = no
 *     route assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
 *     vm_advance(f, 100);                                     // ms
 *     assert_string_equal(vm_seen(f), "...");                 // what handlers told with seen(text)
 *     vm_fixture_close(f);
 */
#pragma once

#include "base/buf.h"
#include "model/req.h"
#include "net/loop.h"
#include "script/budget.h"
#include "script/chain.h"
#include "script/hook.h"
#include "script/json.h"
#include "script/sched.h"
#include "script/vm_new.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define VM_REQUESTS 8

struct vm_fixture {
    struct mg_loop loop;
    struct mg_vm *vm;
    struct mg_config *config;
    struct mg_req requests[VM_REQUESTS];
    uint32_t request_count;
    char seen[4096];
    struct mg_buf log;
    int done_verdict; /* of the last hook_done, -1 = none */
    enum mg_phase done_phase;
    bool jit;
};

static struct mg_budget vm_budget; /* this thread's, for all fixtures */
static int vm_budget_users;
static struct vm_fixture *vm_fixture_now; /* the ops of a request have no context */

static inline void vm_on_log(void *context, enum mg_log_level level, const char *component,
                             mg_str text)
{
    struct vm_fixture *f = context;
    char head[160];
    snprintf(head, sizeof head, "%s %s: ", mg_log_level_name(level), component);
    if (mg_buf_append(&f->log, mg_str_from(head)) || mg_buf_append(&f->log, text) ||
        mg_buf_append(&f->log, mg_str_make("\n", 1))) {
        fail_msg("the log is full");
    }
}

/* seen(text): notes it for the test */
static inline int vm_on_seen(lua_State *L)
{
    struct vm_fixture *f = lua_touserdata(L, lua_upvalueindex(1));
    const size_t length = strlen(f->seen);
    snprintf(f->seen + length, sizeof f->seen - length, "%s%s", length ? " " : "",
             luaL_checkstring(L, 1));
    return 0;
}

static inline void vm_on_done(struct mg_req *req, enum mg_phase phase, int verdict)
{
    (void)req;
    vm_fixture_now->done_verdict = verdict;
    vm_fixture_now->done_phase = phase;
}

static inline int vm_read_body(struct mg_req *req)
{
    (void)req;
    return MG_EAGAIN;
}

static const struct mg_req_ops vm_ops = {.read_body = vm_read_body, .hook_done = vm_on_done};

/* The Lua text of a test may use: gateway{ handlers = { name = handler }, entries = { { name =,
 * route = number, service = number, consumer = text } }, routes = number, settings = {} }. Without
 * entries each handler has one of global scope; routes 1 and 2 have service 1, others have their
 * own. */
static const char vm_prelude[] =
    "local function gateway(g)\n"
    "  local services, routes, entries, handlers = {}, {}, {}, {}\n"
    "  for i = 1, g.routes or 1 do\n"
    "    local s = i <= 2 and 1 or i\n"
    "    services[s] = services[s] or { id = 's' .. s }\n"
    "    routes[i] = { id = 'r' .. i, name = 'route' .. i, service = services[s] }\n"
    "  end\n"
    "  for name, handler in pairs(g.handlers) do\n"
    "    handler.PRIORITY = handler.PRIORITY or 1000\n"
    "    handlers[name] = { name = name, handler = handler, source = 'test' }\n"
    "    if not g.entries then entries[#entries + 1] = { name = name } end\n"
    "  end\n"
    "  for i, e in ipairs(g.entries or {}) do entries[i] = e end\n"
    "  for i, e in ipairs(entries) do\n"
    "    e.id = 'p' .. i\n"
    "    e.route, e.service = routes[e.route], services[e.service]\n"
    "    e.consumer = e.consumer and { id = e.consumer }\n"
    "    e.config = e.config or { value = i }\n"
    "  end\n"
    "  return { routes = routes, plugins = entries, handlers = handlers,\n"
    "    gateway = { plugins = { settings = g.settings or {}, defaults = g.defaults or {} } } }\n"
    "end\n"
    "local runtime = require 'moongate.runtime'\n"
    "local sched = runtime.sched\n"
    "local shared, request = runtime.shared, runtime.request\n"
    "return function(loader)\n";

static inline void vm_load(struct vm_fixture *f, const char *text)
{
    lua_State *L = f->vm->L;
    lua_pushlightuserdata(L, f);
    lua_pushcclosure(L, vm_on_seen, 1);
    lua_setglobal(L, "seen");
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->vm->entry.load);
    lua_newtable(L);
    const char *chunk = lua_pushfstring(L, "%s%s\nend", vm_prelude, text);
    if (luaL_loadbuffer(L, chunk, strlen(chunk), "=test") || lua_pcall(L, 0, 1, 0)) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    lua_setfield(L, -3, "snapshot");
    lua_pop(L, 1);
    if (mg_vm_call(f->vm, 1, 1) || mg_chain_take(f->vm, f->config)) {
        fail_msg("%s", lua_tostring(L, -1));
    }
}

static inline void vm_add_routes(struct vm_fixture *f, uint32_t count)
{
    struct mg_config *config = f->config;
    config->routes = mg_arena_zalloc(&config->arena, count * sizeof *config->routes);
    config->route_count = count;
    for (uint32_t i = 0; i < count; i++) {
        config->routes[i].index = i;
        config->routes[i].name = mg_arena_format(&config->arena, "route%u", i + 1);
    }
}

static inline struct vm_fixture *vm_fixture_make(uint64_t memory_bytes, uint32_t routes)
{
    struct vm_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    vm_fixture_now = f;
    f->done_verdict = -1;
    mg_buf_init(&f->log, 1024 * 1024);
    assert_int_equal(mg_loop_open_virtual(&f->loop, 1700000000000), 0);
    if (vm_budget_users++ == 0) {
        assert_int_equal(mg_budget_open(&vm_budget), 0);
    }
    static const struct mg_vm_module modules[] = {
        {"cjson", mg_json_open}, {"cjson.safe", mg_json_open_safe}, {NULL, NULL}};
    const struct mg_vm_options options = {
        .loop = &f->loop,
        .lua_path = MOONGATE_SOURCE_DIR "/lua",
        .plugins_path = MOONGATE_SOURCE_DIR "/plugins",
        .ffi_header = MOONGATE_SOURCE_DIR "/core/script/ffi.h",
        .modules = modules,
        .memory_bytes = memory_bytes,
        .bare = true,
        .on_log = vm_on_log,
        .log_context = f,
    };
    char message[1024];
    f->vm = mg_vm_new(&options, message, sizeof message);
    if (!f->vm) {
        fail_msg("%s", message);
    }
    f->config = mg_config_new();
    vm_add_routes(f, routes);
    return f;
}

/* jit: with compiler and profiler, as the live generation. */
static inline void vm_fixture_start(struct vm_fixture *f, const char *text, bool jit)
{
    vm_load(f, text);
    mg_vm_adopt(f->vm, &vm_budget);
    if (jit) {
        mg_budget_take_profiler(&vm_budget, f->vm->L);
    }
}

static inline struct vm_fixture *vm_fixture_open(const char *text, uint32_t routes)
{
    struct vm_fixture *f = vm_fixture_make(0, routes);
    vm_fixture_start(f, text, true);
    return f;
}

/* A new request in the given place of the pool. */
static inline struct mg_req *vm_request_at(struct vm_fixture *f, uint32_t slot, int route)
{
    struct mg_req *req = &f->requests[slot];
    if (!req->arena.block_bytes) {
        mg_arena_init(&req->arena, 4096);
        mg_buf_init(&req->filter_out, 1024);
        req->slot = slot;
    }
    mg_arena_reset(&req->arena);
    mg_req_reset(req);
    req->config = f->config;
    req->vm = f->vm;
    req->ops = &vm_ops;
    req->request_id = MG_STR("id-1");
    req->route = route < 0 ? NULL : &f->config->routes[route];
    return req;
}

static inline struct mg_req *vm_request(struct vm_fixture *f, int route)
{
    return vm_request_at(f, f->request_count++ % VM_REQUESTS, route);
}

static inline void vm_advance(struct vm_fixture *f, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        mg_clock_advance(&f->loop.clock, 1000);
        mg_deadlines_run(&f->loop.deadlines, mg_loop_now_ms(&f->loop));
    }
}

/* What was seen since the last call. */
static inline const char *vm_seen(struct vm_fixture *f)
{
    static char copy[sizeof f->seen];
    memcpy(copy, f->seen, sizeof copy);
    f->seen[0] = '\0';
    return copy;
}

static inline const char *vm_log_text(struct vm_fixture *f)
{
    char *end = mg_buf_reserve(&f->log, 1); /* behind the text, not part of it */
    assert_non_null(end);
    *end = '\0';
    return mg_buf_view(&f->log).ptr;
}

static inline void vm_fixture_close(struct vm_fixture *f)
{
    for (uint32_t i = 0; i < VM_REQUESTS; i++) {
        struct mg_req *req = &f->requests[i];
        if (req->arena.block_bytes) {
            if (req->lua_used) {
                mg_hook_end(req);
            }
            mg_arena_deinit(&req->arena);
            mg_buf_deinit(&req->filter_out);
        }
    }
    mg_vm_free(f->vm);
    mg_config_free(f->config);
    if (--vm_budget_users == 0) {
        mg_budget_close(&vm_budget);
    }
    mg_loop_close(&f->loop);
    mg_buf_deinit(&f->log);
    free(f);
}
