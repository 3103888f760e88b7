/* SPDX-License-Identifier: Apache-2.0 */
/* The C half of lua/moongate/runtime/load.lua and describe.lua. */
#include "script/checker.h"

#include "script/load.h"
#include "script/vm_new.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_TIMEOUT_MS 30000
#define FILE_BYTES (16UL * 1024 * 1024) /* read at most; the YAML reader has a lower limit */

struct mg_checker {
    struct mg_budget budget;
    struct mg_vm *vm;
    struct mg_config *config;
};

static void append(struct mg_buf *report, mg_str text)
{
    if (mg_buf_append(report, text)) { /* over its cap: what is there must do */
        return;
    }
}

static int refuse(struct mg_buf *report, const char *subject, const char *why)
{
    if (subject) {
        append(report, mg_str_from(subject));
        append(report, MG_STR(": "));
    }
    append(report, mg_str_from(why));
    append(report, MG_STR("\n"));
    return MG_EINVALID;
}

/* --- loading --------------------------------------------------------------------------------- */

static int read_stream(FILE *file, struct mg_buf *text)
{
    for (;;) {
        char *room = mg_buf_reserve(text, 64 * 1024);
        if (!room) {
            return MG_EFULL;
        }
        const size_t n = fread(room, 1, 64 * 1024, file);
        mg_buf_commit(text, n);
        if (n == 0) {
            return ferror(file) ? -errno : 0;
        }
    }
}

/* NULL, or why the file cannot be read. */
static const char *read_config(const char *path, struct mg_buf *text)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        return mg_err_text(-errno);
    }
    const int err = read_stream(file, text);
    fclose(file);
    if (err) {
        return err == MG_EFULL ? "larger than 16 MiB" : mg_err_text(err);
    }
    return NULL;
}

static struct mg_vm *make_vm(const struct mg_checker_options *options, struct mg_buf *report)
{
    const struct mg_vm_options vm_options = {
        .lua_path = options->lua_path,
        .plugins_path = options->plugins_path,
        .ffi_header = options->ffi_header,
        .modules = mg_load_modules,
        .log = options->log,
        .workers = options->workers ? options->workers : 1,
    };
    char message[1024];
    struct mg_vm *vm = mg_vm_new(&vm_options, message, sizeof message);
    if (!vm) {
        (void)refuse(report, NULL, message);
    }
    return vm;
}

static int load(struct mg_checker *checker, const struct mg_checker_options *options,
                struct mg_buf *report)
{
    struct mg_buf text;
    mg_buf_init(&text, FILE_BYTES);
    const char *unreadable = options->text.ptr ? NULL : read_config(options->file, &text);
    const struct mg_load_ask ask = {
        .file = mg_str_from(options->file),
        .text = options->text.ptr ? options->text
                : text.len > 0    ? mg_buf_view(&text)
                                  : MG_STR(""),
        .unreadable = unreadable ? mg_str_from(unreadable) : (mg_str){.ptr = NULL},
        .number = 1,
        .json = options->json,
        .color = options->color,
    };
    const int err = mg_load_run(checker->vm, &ask, checker->config, report);
    mg_buf_deinit(&text);
    return err;
}

int mg_checker_open(struct mg_checker **out, const struct mg_checker_options *options,
                    struct mg_buf *report)
{
    *out = NULL;
    struct mg_checker *checker = calloc(1, sizeof *checker);
    mg_require(checker != NULL);
    int err = mg_budget_open_deadline(&checker->budget, options->timeout_ms ? options->timeout_ms
                                                                            : DEFAULT_TIMEOUT_MS);
    if (err) {
        free(checker);
        return refuse(report, "a timer cannot be made", mg_err_text(err));
    }
    checker->config = mg_config_new();
    checker->vm = make_vm(options, report);
    err = MG_EINVALID;
    if (checker->vm) {
        checker->vm->budget = &checker->budget;
        err = load(checker, options, report);
    }
    if (err) {
        mg_checker_close(checker);
        return MG_EINVALID;
    }
    *out = checker;
    return 0;
}

void mg_checker_close(struct mg_checker *checker)
{
    if (!checker) {
        return;
    }
    mg_vm_free(checker->vm);
    mg_config_free(checker->config);
    mg_budget_close(&checker->budget);
    free(checker);
}

struct mg_config *mg_checker_config(struct mg_checker *checker)
{
    return checker->config;
}

/* --- bundle ---------------------------------------------------------------------------------- */

/* Text of a field of the table on top; popped, but kept alive by the table. */
static mg_str text_field(lua_State *L, const char *name)
{
    size_t length;
    lua_getfield(L, -1, name);
    const char *text = lua_tolstring(L, -1, &length);
    lua_pop(L, 1);
    return mg_str_make(text, text ? length : 0);
}

static uint64_t number_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    const double value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value > 0 ? (uint64_t)value : 0;
}

static int copy_text(char *into, size_t bytes, mg_str text)
{
    if (text.len >= bytes) {
        return MG_EFULL;
    }
    if (text.len > 0) {
        memcpy(into, text.ptr, text.len);
    }
    into[text.len] = '\0';
    return 0;
}

static int read_listeners(lua_State *L, struct mg_plan *plan)
{
    int err = 0;
    lua_getfield(L, -1, "listeners");
    const size_t count = lua_objlen(L, -1);
    if (count > MG_PLAN_LISTENERS) {
        err = MG_EFULL;
    }
    for (size_t i = 0; !err && i < count; i++) {
        struct mg_plan_listener *listener = &plan->listeners[plan->listener_count++];
        lua_rawgeti(L, -1, (int)i + 1);
        listener->backlog = (int)number_field(L, "backlog");
        err = copy_text(listener->address, sizeof listener->address, text_field(L, "address"));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return err;
}

/* The plan is the table on top. */
static int read_plan(lua_State *L, struct mg_plan *plan)
{
    *plan = (struct mg_plan){
        .workers = (uint32_t)number_field(L, "workers"),
        .shared_memory = number_field(L, "shared_memory"),
        .limit_cells = number_field(L, "limit_cells"),
        .breakers = number_field(L, "breakers"),
        .keyed_breakers = number_field(L, "keyed_breakers"),
        .metric_series = (uint32_t)number_field(L, "metric_series"),
        .status_given = (uint32_t)number_field(L, "status_given"),
        .watchdog_ms = number_field(L, "watchdog_ms"),
        .drain_delay = number_field(L, "drain_delay"),
        .drain_timeout = number_field(L, "drain_timeout"),
        .init_timeout = number_field(L, "init_timeout"),
        .dns_timeout = (uint32_t)number_field(L, "dns_timeout"),
        .dns_tries = (uint32_t)number_field(L, "dns_tries"),
        .dns_stale = (uint32_t)number_field(L, "dns_stale"),
        .dns_negative = (uint32_t)number_field(L, "dns_negative"),
    };
    int err = copy_text(plan->user, sizeof plan->user, text_field(L, "user"));
    err =
        err ? err : copy_text(plan->error_log, sizeof plan->error_log, text_field(L, "error_log"));
    err =
        err ? err : copy_text(plan->log_level, sizeof plan->log_level, text_field(L, "log_level"));
    err = err ? err : copy_text(plan->status, sizeof plan->status, text_field(L, "status"));
    return err ? err : read_listeners(L, plan);
}

/* The entries are the array on top. */
static int write_entries(lua_State *L, struct mg_bundle_writer *out)
{
    int err = 0;
    const size_t count = lua_objlen(L, -1);
    for (size_t i = 0; !err && i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        err = mg_bundle_writer_add(out, text_field(L, "name"), text_field(L, "data"));
        lua_pop(L, 1);
    }
    return err;
}

static int write_bundle(lua_State *L, struct mg_bundle_writer *out)
{
    struct mg_plan *plan = calloc(1, sizeof *plan);
    mg_require(plan != NULL);
    lua_getfield(L, -1, "plan");
    int err = read_plan(L, plan);
    lua_pop(L, 1);
    err = err ? err : mg_bundle_writer_plan(out, plan);
    free(plan);
    if (!err) {
        lua_getfield(L, -1, "entries");
        err = write_entries(L, out);
        lua_pop(L, 1);
    }
    return err;
}

int mg_checker_bundle(struct mg_checker *checker, struct mg_bundle_writer *out,
                      struct mg_buf *report)
{
    lua_State *L = checker->vm->L;
    const int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, checker->vm->entry.bundle);
    int err = mg_vm_call(checker->vm, 0, 1);
    if (err) {
        err = refuse(report, "the bundle cannot be made", mg_vm_error(checker->vm));
    } else {
        err = write_bundle(L, out);
        if (err) {
            (void)refuse(report, "the bundle cannot be made", mg_err_text(err));
        }
    }
    lua_settop(L, top);
    return err;
}

/* --- chains ---------------------------------------------------------------------------------- */

static void tell_plugin(lua_State *L, void (*fn)(void *, const struct mg_checker_plugin *),
                        void *context)
{
    lua_getfield(L, -1, "priority");
    lua_getfield(L, -2, "by_consumer");
    const double priority = lua_tonumber(L, -2);
    const bool by_consumer = lua_toboolean(L, -1);
    lua_pop(L, 2);
    const struct mg_checker_plugin plugin = {
        .name = text_field(L, "name"),
        .instance = text_field(L, "instance"),
        .phases = text_field(L, "phases"),
        .scope = text_field(L, "scope"),
        .source = text_field(L, "source"),
        .priority = priority,
        .by_consumer = by_consumer,
    };
    fn(context, &plugin);
}

int mg_checker_plugins(struct mg_checker *checker, const struct mg_route *route,
                       void (*fn)(void *context, const struct mg_checker_plugin *plugin),
                       void *context)
{
    lua_State *L = checker->vm->L;
    const int top = lua_gettop(L);
    const uint32_t chain = route ? route->chain : checker->config->global_chain;
    lua_rawgeti(L, LUA_REGISTRYINDEX, checker->vm->entry.chain);
    lua_pushinteger(L, (lua_Integer)chain);
    const int err = mg_vm_call(checker->vm, 1, 1);
    for (size_t i = 0; !err && i < lua_objlen(L, -1); i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        tell_plugin(L, fn, context);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    return err;
}

int mg_checker_run(const struct mg_checker_options *options, struct mg_bundle_writer *out,
                   struct mg_buf *report)
{
    struct mg_checker *checker;
    int err = mg_checker_open(&checker, options, report);
    if (!err && out) {
        err = mg_checker_bundle(checker, out, report);
    }
    mg_checker_close(checker);
    return err;
}
