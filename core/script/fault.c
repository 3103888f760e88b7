/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts and counts of failing handlers. A quarantine goes through three states:
 *
 *     free --3 limits in 10 s--> closed for 10 s --first call--> trial --passed--> free
 *                                  ^------------------------------'--limit
 */
#include "script/fault.h"

#include "base/stats.h"
#include "model/req.h"
#include "net/loop.h"
#include "script/plugin_count.h"

#include "script/ffi.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define REPORT_BYTES (8 * 1024) /* of one entry; a longer traceback is cut */
#define ERROR_BYTES (4 * 1024)  /* of the error's own text */

static const struct mg_turn *turn_of(const struct mg_vm *vm, int32_t turn)
{
    return &vm->turns[turn > 0 && (uint32_t)turn < vm->turn_count ? turn : 0];
}

static const char *plugin_name(const struct mg_turn *turn)
{
    return turn->plugin ? turn->plugin : "none";
}

void mg_fault_limit_text(const struct mg_vm *vm, char *text, size_t bytes)
{
    const struct mg_turn *turn = turn_of(vm, vm->shared->turn);
    const char *phase = mg_phase_name((enum mg_phase)vm->shared->phase);
    switch (vm->shared->unwind) {
    case MG_UNWIND_WALL:
        snprintf(text, bytes, "wall limit of %llu ms reached (plugin %s, phase %s)",
                 (unsigned long long)turn->wall_ms, plugin_name(turn), phase);
        break;
    case MG_UNWIND_QUARANTINE:
        snprintf(text, bytes, "plugin %s is in quarantine (phase %s)", plugin_name(turn), phase);
        break;
    case MG_UNWIND_EXIT:
        snprintf(text, bytes, "the handler ended by response.exit");
        break;
    default:
        if (!vm->shared->loop_thread) {
            snprintf(text, bytes, "modules took longer than init_timeout to load");
            break;
        }
        snprintf(text, bytes, "CPU limit of %u ms reached (plugin %s, phase %s)", turn->cpu_ms,
                 plugin_name(turn), phase);
    }
}

bool mg_fault_is_limit(const struct mg_vm *vm, lua_State *co)
{
    if (vm->shared->unwind != MG_UNWIND_NONE) {
        return true;
    }
    const char *text = lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : NULL;
    return text && strcmp(text, "not enough memory") == 0;
}

/* --- the line in the error log
 * ----------------------------------------------------------------- */

/* "nil" and tables without a text of their own are named by their type. */
static const char *describe(const struct mg_vm *vm, lua_State *co, char *room, size_t bytes)
{
    if (vm->shared->unwind != MG_UNWIND_NONE) {
        mg_fault_limit_text(vm, room, bytes);
        return room;
    }
    if (lua_isstring(co, -1)) {
        return lua_tostring(co, -1);
    }
    snprintf(room, bytes, "error object is a %s value", luaL_typename(co, -1));
    return room;
}

struct traceback {
    lua_State *co;
    const char *text; /* result */
};

/* Building it takes memory, of which there may be none: protected. */
static int on_traceback(lua_State *L)
{
    struct traceback *traceback = lua_touserdata(L, 1);
    luaL_traceback(L, traceback->co, NULL, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "mg.traceback"); /* keeps it alive */
    traceback->text = lua_tostring(L, -1);
    return 0;
}

/* The traceback without its heading, each frame behind separator: as it comes, a frame stands on a
 * line of its own behind a tab. Of what the CPU limit stopped it is the place alone: after an error
 * that a hook raised among compiled code the frames cannot be walked without danger (LuaJIT of
 * 2022: 5 faults in some 45 runs of spec/core/script/budget_test.c). */
static void write_frames(struct mg_task *task, const char *separator, struct mg_buf *out)
{
    if (task->vm->shared->unwind == MG_UNWIND_CPU) {
        const struct mg_budget *budget = task->vm->budget;
        if (budget && budget->place[0]) {
            (void)!(mg_buf_append(out, mg_str_from(separator)) ||
                    mg_buf_append(out, mg_str_from(budget->place)));
        }
        return;
    }
    struct traceback traceback = {.co = task->co, .text = ""};
    if (lua_cpcall(task->vm->L, on_traceback, &traceback)) {
        lua_pop(task->vm->L, 1);
        return;
    }
    const mg_str text = mg_str_from(traceback.text);
    ptrdiff_t end = mg_str_find(text, '\n', 0);
    while (end >= 0) {
        const size_t at = (size_t)end + 1;
        end = mg_str_find(text, '\n', at);
        const mg_str line = mg_str_slice(text, at, end < 0 ? text.len : (size_t)end);
        (void)!(mg_buf_append(out, mg_str_from(separator)) ||
                mg_buf_append(out, mg_str_trim(line))); /* over the cap it is cut */
    }
}

static void name_component(const struct mg_turn *turn, char *text, size_t bytes)
{
    snprintf(text, bytes, turn->plugin ? "plugin %s" : "runtime", turn->plugin);
}

void mg_fault_describe(struct mg_task *task, struct mg_buf *out)
{
    const struct mg_req *req = task->req;
    const mg_str route = req && req->route ? req->route->name : MG_STR("-");
    const mg_str id = req ? req->request_id : MG_STR("-");
    char room[256], facts[512];
    snprintf(facts, sizeof facts, " phase=%s route=%.*s request_id=%.*s stack",
             mg_phase_name((enum mg_phase)task->phase), MG_STR_ARG(route), MG_STR_ARG(id));
    const mg_str what = mg_str_from(describe(task->vm, task->co, room, sizeof room));
    (void)!(mg_buf_append(out, mg_str_slice(what, 0, ERROR_BYTES)) ||
            mg_buf_append(out, mg_str_from(facts)));
    write_frames(task, " < ", out);
}

/* "file.lua:12: " at the start: an error that Lua raised, or error() with its level. */
static bool has_place(const char *text)
{
    const char *end = strstr(text, ".lua:");
    const char *digits = end ? end + strlen(".lua:") : text;
    const size_t count = strspn(digits, "0123456789");
    return end && count > 0 && digits[count] == ':';
}

void mg_fault_tell(struct mg_task *task, struct mg_buf *out)
{
    const struct mg_turn *turn = turn_of(task->vm, task->turn);
    char room[256], head[160], phase[64];
    const char *what = describe(task->vm, task->co, room, sizeof room);
    snprintf(head, sizeof head, "plugin \"%s\": ", plugin_name(turn));
    snprintf(phase, sizeof phase, " (in %s)", mg_phase_name((enum mg_phase)task->phase));
    (void)!(mg_buf_append(out, mg_str_from(head)) ||
            mg_buf_append(out, mg_str_slice(mg_str_from(what), 0, ERROR_BYTES)) ||
            mg_buf_append(out, mg_str_from(phase)));
    if (has_place(what)) { /* else it was meant as a sentence */
        write_frames(task, "\n    ", out);
    }
}

/* The log holds lines of one turn back when there are too many in a second. */
static void log_error(struct mg_task *task, const struct mg_turn *turn)
{
    char component[128];
    struct mg_buf line;
    name_component(turn, component, sizeof component);
    mg_buf_init(&line, REPORT_BYTES);
    mg_fault_describe(task, &line);
    mg_vm_log(task->vm, MG_LOG_ERROR, component, turn, mg_buf_view(&line));
    mg_buf_deinit(&line);
}

/* --- quarantine
 * -------------------------------------------------------------------------------- */

static struct mg_quarantine *quarantine_of(struct mg_vm *vm, int32_t index)
{
    const struct mg_turn *turn = turn_of(vm, index);
    return turn->plugin && turn->may_quarantine ? &vm->quarantines[turn->plugin_index] : NULL;
}

static void enter(struct mg_vm *vm, struct mg_quarantine *quarantine, const struct mg_turn *turn,
                  const char *reason)
{
    if (!quarantine->until_ms) {
        vm->quarantined++;
    }
    *quarantine = (struct mg_quarantine){.until_ms = mg_loop_now_ms(vm->loop) + MG_QUARANTINE_MS};
    mg_plugin_set_quarantined(vm, (uint32_t)(turn - vm->turns), true);
    char component[128];
    name_component(turn, component, sizeof component);
    mg_vm_log(vm, MG_LOG_WARN, component, NULL, mg_str_from(reason));
}

void mg_fault_quarantine(struct mg_vm *vm, mg_str plugin)
{
    for (uint32_t i = 0; i < vm->turn_count; i++) {
        struct mg_quarantine *quarantine = quarantine_of(vm, (int32_t)i);
        if (quarantine && mg_str_equal(mg_str_from(vm->turns[i].plugin), plugin)) {
            enter(vm, quarantine, &vm->turns[i], "has hung three workers: not called for 10 s");
            return;
        }
    }
}

static const char three_limits[] = "reached three limits in 10 s: not called for 10 s";

static void count_limit(struct mg_vm *vm, int32_t index)
{
    struct mg_quarantine *quarantine = quarantine_of(vm, index);
    if (!quarantine) {
        return;
    }
    const uint64_t now_ms = mg_loop_now_ms(vm->loop);
    if (quarantine->until_ms) { /* only a trial runs then, or what had begun before */
        if (quarantine->trial_ms) {
            enter(vm, quarantine, turn_of(vm, index), three_limits);
        }
        return;
    }
    uint64_t *times = quarantine->limit_ms;
    times[2] = times[1];
    times[1] = times[0];
    times[0] = now_ms ? now_ms : 1;
    if (times[2] && now_ms - times[2] <= MG_QUARANTINE_MS) {
        enter(vm, quarantine, turn_of(vm, index), three_limits);
    }
}

int mg_fault_blocked(struct mg_vm *vm, uint32_t index)
{
    struct mg_quarantine *quarantine = quarantine_of(vm, (int32_t)index);
    if (!quarantine || !quarantine->until_ms) {
        return 0;
    }
    const struct mg_turn *turn = turn_of(vm, (int32_t)index);
    const uint64_t now_ms = mg_loop_now_ms(vm->loop);
    const bool trial_runs = quarantine->trial_ms && now_ms < quarantine->trial_ms + turn->wall_ms;
    if (now_ms >= quarantine->until_ms && !trial_runs) {
        quarantine->trial_ms = now_ms;
        return 0;
    }
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_PLUGIN_QUARANTINED, 1);
        mg_plugin_count(vm, index, MG_PLUGIN_QUARANTINED);
    }
    return turn->open ? 1 : 2;
}

void mg_fault_passed(struct mg_vm *vm, uint32_t index)
{
    struct mg_quarantine *quarantine = quarantine_of(vm, (int32_t)index);
    if (quarantine && quarantine->until_ms && quarantine->trial_ms) {
        *quarantine = (struct mg_quarantine){0};
        vm->quarantined--;
        mg_plugin_set_quarantined(vm, index, false);
        char component[128];
        name_component(turn_of(vm, (int32_t)index), component, sizeof component);
        mg_vm_log(vm, MG_LOG_NOTICE, component, NULL, MG_STR("ran on trial: called again"));
    }
}

/* --- all of it
 * --------------------------------------------------------------------------------- */

static void count(struct mg_vm *vm, bool is_limit)
{
    struct mg_stats *stats = vm->options.stats;
    if (!stats) {
        return;
    }
    mg_stats_add(stats, is_limit ? MG_STAT_PLUGIN_LIMITS : MG_STAT_PLUGIN_ERRORS, 1);
    mg_plugin_count(vm, (uint32_t)vm->shared->turn, is_limit ? MG_PLUGIN_LIMIT : MG_PLUGIN_ERROR);
    if (vm->shared->unwind == MG_UNWIND_CPU) {
        mg_stats_add(stats, MG_STAT_CPU_LIMIT, 1);
    } else if (vm->shared->unwind == MG_UNWIND_WALL) {
        mg_stats_add(stats, MG_STAT_WALL_LIMIT, 1);
    }
}

void mg_fault_report(struct mg_task *task, bool is_limit)
{
    struct mg_vm *vm = task->vm;
    const int32_t index = vm->shared->turn;
    if (vm->shared->unwind == MG_UNWIND_QUARANTINE) {
        return; /* said when it began */
    }
    count(vm, is_limit);
    if (is_limit) {
        count_limit(vm, index);
    } else {
        mg_fault_passed(vm, (uint32_t)index);
    }
    log_error(task, turn_of(vm, index));
}
