/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building: on a thread of libuv's pool the state is made and everything loaded, under a deadline;
 * then, on the loop, init_worker and configure of each plugin run as tasks, one after the other.
 *
 *     build -> work (pool) -> on_loaded -> step, step, ... -> on_built
 *
 * Freeing: with the last reference, unless a retired state still runs timers or tasks; then with
 * the last of them, or with the loop.
 */
#include "script/generation.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/shm.h"
#include "net/pool.h"
#include "script/bundle.h"
#include "script/fault.h"
#include "script/load.h"
#include "script/sched.h"
#include "script/timer.h"
#include "script/vm_new.h"

#include "script/ffi.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#define REPORT_BYTES (1024 * 1024)
#define DEFAULT_INIT_MS 10000

/* What a loop has for its generations. */
struct mg_builder {
    struct mg_environment *environment;
    struct mg_budget budget;
    struct mg_link dying;  /* generations without references whose timers still run */
    struct mg_link builds; /* under way */
    struct mg_deadline sweep;
    struct mg_loop_closer closer;
};

/* A line that was logged in the pool's thread; the log belongs to the loop's. */
struct line {
    struct mg_link link;
    enum mg_log_level level;
    char component[128];
    size_t bytes;
    char text[];
};

struct build {
    uv_work_t work;
    struct mg_environment *environment;
    const struct mg_bundle *bundle;
    struct mg_generation *generation;
    struct mg_buf report;
    struct mg_link lines;
    uint64_t init_ms, begun_ms;
    struct mg_link link; /* in builder->builds */
    bool in_pool;
    int status;
    struct mg_deadline deadline; /* of init_worker and configure together */
    struct mg_deadline next;     /* starts the next step */
    uint32_t step;               /* init_worker of each plugin, then configure of each */
    struct mg_task *task;        /* a step that waits */
    mg_built_fn *on_built;
    void *context;
};

/* --- freeing --------------------------------------------------------------------------------- */

/* The flow layer attached the pool's origins to the peers as it met them. */
static void release_origins(struct mg_peers *peers)
{
    for (uint32_t i = 0; peers && i < mg_peers_group_count(peers); i++) {
        struct mg_peer_group *group = mg_peers_group(peers, i);
        for (uint32_t k = 0; k < group->count; k++) {
            if (group->peers[k].origin) {
                mg_origin_release(group->peers[k].origin);
            }
        }
    }
}

static void free_generation(struct mg_generation *generation)
{
    struct mg_stats *stats = generation->vm ? generation->vm->options.stats : NULL;
    if (stats) {
        mg_stats_drop(stats, MG_STAT_GENERATIONS, 1);
    }
    mg_link_remove(&generation->link);
    mg_vm_free(generation->vm);
    release_origins(generation->peers);
    mg_peers_free(generation->peers);
    mg_config_free(generation->config);
    free(generation);
}

/* Frees in the next loop turn: a task of the state may be on the stack. */
static void on_sweep(struct mg_deadline *deadline)
{
    struct mg_builder *builder = MG_CONTAINER(deadline, struct mg_builder, sweep);
    struct mg_link *at = builder->dying.next;
    while (at != &builder->dying) {
        struct mg_generation *generation = MG_CONTAINER(at, struct mg_generation, link);
        at = at->next;
        if (mg_sched_busy(generation->vm) == 0) {
            free_generation(generation);
        }
    }
}

static void on_vm_idle(void *context)
{
    struct mg_builder *builder = context;
    struct mg_loop *loop = builder->environment->loop;
    if (!mg_list_empty(&builder->dying) && !mg_deadline_armed(&builder->sweep)) {
        mg_deadline_arm_at(&loop->deadlines, &builder->sweep, on_sweep, mg_loop_now_ms(loop));
    }
}

void mg_generation_release(struct mg_generation *generation)
{
    mg_require(generation->references > 0);
    if (--generation->references > 0) {
        return;
    }
    if (generation->retired && mg_sched_busy(generation->vm) > 0) {
        mg_list_append(&generation->environment->builder->dying, &generation->link);
    } else {
        free_generation(generation);
    }
}

/* --- life ------------------------------------------------------------------------------------ */

void mg_generation_activate(struct mg_generation *generation, struct mg_generation *previous)
{
    struct mg_environment *environment = generation->environment;
    (void)previous; /* it loses the profiler and its compiler by what follows */
    if (!environment->compiler_off) {
        mg_budget_take_profiler(&environment->builder->budget, generation->vm->L);
    }
}

void mg_generation_retire(struct mg_generation *generation)
{
    struct mg_vm *vm = generation->vm;
    generation->retired = vm->retired = true;
    vm->shared->exiting = 1;
    mg_timer_expire(vm);
    mg_generation_release(generation);
}

void mg_generation_quarantine(struct mg_generation *generation, mg_str plugin)
{
    mg_fault_quarantine(generation->vm, plugin);
}

bool mg_generation_is_exhausted(const struct mg_generation *generation)
{
    return generation->vm->exhausted;
}

size_t mg_generation_lua_bytes(const struct mg_generation *generation)
{
    return generation->vm->alloc.used_bytes;
}

/* --- in the pool's thread -------------------------------------------------------------------- */

static void keep_line(void *context, enum mg_log_level level, const char *component, mg_str text)
{
    struct build *build = context;
    struct line *line = malloc(sizeof *line + text.len);
    mg_require(line != NULL);
    mg_link_init(&line->link);
    line->level = level;
    snprintf(line->component, sizeof line->component, "%s", component);
    line->bytes = text.len;
    memcpy(line->text, text.ptr, text.len);
    mg_list_append(&build->lines, &line->link);
}

static struct mg_vm *make_vm(struct build *build)
{
    const struct mg_environment *environment = build->environment;
    const struct mg_vm_options options = {
        .loop = environment->loop,
        .bundle = build->bundle,
        .lua_path = environment->lua_path,
        .plugins_path = environment->plugins_path,
        .ffi_header = environment->ffi_header,
        .modules = mg_load_modules,
        .on_log = keep_line,
        .log_context = build,
        .pool = environment->pool,
        .shm = environment->shm,
        .sinks = environment->sinks,
        .redis = environment->redis,
        .worker = environment->worker,
        .workers = environment->workers,
    };
    char message[1024];
    struct mg_vm *vm = mg_vm_new(&options, message, sizeof message);
    if (!vm && mg_buf_append(&build->report, mg_str_from(message))) {
        return NULL;
    }
    return vm;
}

static int load(struct build *build)
{
    struct mg_generation *generation = build->generation;
    struct mg_load_ask ask = {.number = generation->number};
    if (!mg_bundle_find(build->bundle, MG_STR("config"), &ask.config) ||
        !mg_bundle_find(build->bundle, MG_STR("file"), &ask.file)) {
        (void)!mg_buf_append(&build->report, MG_STR("the bundle has no configuration\n"));
        return MG_EINVALID;
    }
    generation->config = mg_config_new();
    generation->vm = make_vm(build);
    if (!generation->vm) {
        return MG_ELUA;
    }
    struct mg_budget budget;
    int err = mg_budget_open_deadline(&budget, build->init_ms);
    if (err) {
        return err;
    }
    generation->vm->budget = &budget;
    err = mg_load_run(generation->vm, &ask, generation->config, &build->report);
    generation->vm->budget = NULL;
    mg_budget_close(&budget);
    return err;
}

static void on_work(uv_work_t *work)
{
    struct build *build = MG_CONTAINER(work, struct build, work);
    struct mg_generation *generation = build->generation;
    build->status = load(build);
    if (build->status) {
        return;
    }
    struct mg_config *config = generation->config;
    config->generation = generation->number;
    config->digest = mg_arena_copy_str(&config->arena, mg_str_from(build->bundle->plan.digest));
    const struct mg_upstream_opening opening = {.shm = build->environment->shm,
                                                .generation = generation->number,
                                                .now_ms = build->begun_ms};
    generation->peers = mg_peers_new(config, opening.shm ? &opening : NULL);
    mg_alloc_set_limit(&generation->vm->alloc, config->gateway.limits.lua_memory);
}

/* --- back on the loop ------------------------------------------------------------------------- */

static void report(struct build *build, const char *text)
{
    if (mg_buf_append(&build->report, mg_str_from(text)) ||
        mg_buf_append(&build->report, MG_STR("\n"))) {
        return; /* over its cap: what is there must do */
    }
}

static void finish(struct build *build, int status)
{
    struct mg_generation *generation = build->generation;
    mg_link_remove(&build->link);
    mg_deadline_cancel(&build->deadline);
    mg_deadline_cancel(&build->next);
    if (mg_buf_append(&build->report, mg_str_make("", 1))) { /* ends the text */
        mg_buf_clear(&build->report);
    }
    const char *errors = mg_buf_view(&build->report).ptr;
    if (status) {
        free_generation(generation);
        generation = NULL;
    }
    build->on_built(build->context, status, generation, status ? errors : NULL);
    mg_buf_deinit(&build->report);
    free(build);
}

/* Whether the start goes on after a failure of init_worker or configure. */
static bool survives(struct build *build, struct mg_task *task)
{
    if (task->vm->turns[task->turn].open) {
        mg_fault_report(task, mg_fault_is_limit(task->vm, task->co));
        return true;
    }
    mg_fault_tell(task, &build->report);
    report(build, "");
    return false;
}

static void end_step(struct build *build, struct mg_task *task, enum mg_run result)
{
    build->task = NULL;
    if (result == MG_RUN_FAILED && !survives(build, task)) {
        build->status = MG_ELUA;
    }
    build->step++;
}

static void on_next(struct mg_deadline *deadline);

/* A step that had waited. The scheduler still holds the task, so the next step comes a little
 * later. */
static void on_step_end(struct mg_task *task, enum mg_run result)
{
    struct build *build = task->context;
    struct mg_loop *loop = build->environment->loop;
    end_step(build, task, result);
    mg_deadline_arm_at(&loop->deadlines, &build->next, on_next, mg_loop_now_ms(loop));
}

/* init_worker of all plugins, then configure of all. */
static enum mg_run run_step(struct build *build)
{
    struct mg_vm *vm = build->generation->vm;
    struct mg_task *task = mg_sched_take(vm);
    if (!task) {
        report(build, "no memory to start the plugins");
        build->status = MG_ENO_MEMORY;
        return MG_RUN_DONE;
    }
    const bool configure = build->step >= vm->plugin_count;
    const enum mg_phase phase = configure ? MG_PHASE_CONFIGURE : MG_PHASE_INIT_WORKER;
    task->phase = (int32_t)phase;
    task->on_end = on_step_end;
    task->context = build;
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, vm->entry.configure);
    lua_pushstring(task->co, mg_phase_name(phase));
    lua_pushinteger(task->co, (lua_Integer)(build->step % vm->plugin_count) + 1);
    const enum mg_run result = mg_sched_run(task, 2);
    if (result == MG_RUN_WAITING) {
        build->task = task;
        return result;
    }
    end_step(build, task, result);
    mg_sched_release(task);
    return result;
}

static void run_steps(struct build *build)
{
    const uint32_t count = 2 * build->generation->vm->plugin_count;
    while (!build->status && build->step < count) {
        if (run_step(build) == MG_RUN_WAITING) {
            return;
        }
    }
    finish(build, build->status);
}

static void on_next(struct mg_deadline *deadline)
{
    run_steps(MG_CONTAINER(deadline, struct build, next));
}

static void on_timeout(struct mg_deadline *deadline)
{
    struct build *build = MG_CONTAINER(deadline, struct build, deadline);
    if (build->task) {
        char line[256];
        const struct mg_turn *turn = &build->task->vm->turns[build->task->turn];
        snprintf(line, sizeof line, "plugin \"%s\": %s took longer than init_timeout (%llu ms)",
                 turn->plugin ? turn->plugin : "none",
                 mg_phase_name((enum mg_phase)build->task->phase),
                 (unsigned long long)build->init_ms);
        report(build, line);
        mg_sched_abandon(build->task);
    }
    finish(build, MG_ETIMEOUT);
}

static void replay_lines(struct build *build)
{
    while (!mg_list_empty(&build->lines)) {
        struct line *line = MG_CONTAINER(build->lines.next, struct line, link);
        mg_link_remove(&line->link);
        mg_log_bytes(build->environment->log, line->level, line->component, NULL,
                     mg_str_make(line->text, line->bytes));
        free(line);
    }
}

/* The state becomes the loop's. */
static void adopt(struct build *build)
{
    struct mg_environment *environment = build->environment;
    struct mg_generation *generation = build->generation;
    struct mg_vm *vm = generation->vm;
    mg_vm_adopt(vm, &environment->builder->budget);
    vm->options.on_log = NULL;
    vm->options.log = environment->log;
    if (environment->shm) {
        vm->options.slot = mg_shm_slot(environment->shm, environment->worker);
        vm->options.stats = mg_shm_stats(environment->shm, environment->worker);
        vm->watch.slot = vm->options.slot;
        mg_stats_add(vm->options.stats, MG_STAT_GENERATIONS, 1);
    }
    vm->on_idle = on_vm_idle;
    vm->idle_context = environment->builder;
    generation->built_ms = mg_loop_now_ms(environment->loop);
}

static void on_loaded(uv_work_t *work, int status)
{
    struct build *build = MG_CONTAINER(work, struct build, work);
    struct mg_environment *environment = build->environment;
    struct mg_loop *loop = environment->loop;
    mg_loop_wake(loop);
    replay_lines(build);
    build->in_pool = false;
    if (status || build->status || !environment->builder) {
        finish(build, build->status ? build->status : MG_ECANCELLED);
        return;
    }
    adopt(build);
    mg_deadline_arm_at(&loop->deadlines, &build->deadline, on_timeout,
                       mg_loop_now_ms(loop) + build->init_ms);
    run_steps(build);
}

static void cancel_builds(struct mg_builder *builder)
{
    struct mg_link *at = builder->builds.next;
    while (at != &builder->builds) {
        struct build *build = MG_CONTAINER(at, struct build, link);
        at = at->next;
        mg_link_remove(&build->link);
        if (!build->in_pool) { /* else on_loaded sees that the builder is gone */
            finish(build, MG_ECANCELLED);
        }
    }
}

/* The loop is being closed. */
static void on_loop_close(struct mg_loop_closer *closer)
{
    struct mg_builder *builder = MG_CONTAINER(closer, struct mg_builder, closer);
    cancel_builds(builder);
    while (!mg_list_empty(&builder->dying)) {
        free_generation(MG_CONTAINER(builder->dying.next, struct mg_generation, link));
    }
    mg_deadline_cancel(&builder->sweep);
    mg_budget_close(&builder->budget);
    builder->environment->builder = NULL;
    free(builder);
}

/* --- start ----------------------------------------------------------------------------------- */

/* The pool's threads are made by the first request for work and inherit the signal mask: the
 * limiter's signals are unblocked in this thread only after that. */
static int open_builder(struct mg_environment *environment)
{
    struct mg_builder *builder = calloc(1, sizeof *builder);
    mg_require(builder != NULL);
    const int err = mg_budget_open(&builder->budget);
    if (err) {
        free(builder);
        return err;
    }
    builder->environment = environment;
    mg_link_init(&builder->dying);
    mg_link_init(&builder->builds);
    mg_deadline_init(&builder->sweep);
    mg_link_init(&builder->closer.link);
    builder->closer.fn = on_loop_close;
    mg_list_append(&environment->loop->closers, &builder->closer.link);
    environment->builder = builder;
    return 0;
}

static struct build *new_build(struct mg_environment *environment, const struct mg_bundle *bundle,
                               uint64_t number)
{
    struct build *build = calloc(1, sizeof *build);
    struct mg_generation *generation = calloc(1, sizeof *generation);
    mg_require(build != NULL && generation != NULL);
    generation->number = number;
    generation->references = 1;
    generation->environment = environment;
    mg_link_init(&generation->link);
    build->environment = environment;
    build->bundle = bundle;
    build->generation = generation;
    build->init_ms = bundle->plan.init_timeout ? bundle->plan.init_timeout : DEFAULT_INIT_MS;
    build->in_pool = true;
    mg_buf_init(&build->report, REPORT_BYTES);
    mg_link_init(&build->lines);
    mg_link_init(&build->link);
    mg_deadline_init(&build->deadline);
    mg_deadline_init(&build->next);
    return build;
}

int mg_generation_build(struct mg_environment *environment, const struct mg_bundle *bundle,
                        uint64_t number, mg_built_fn *on_built, void *context)
{
    const bool first = environment->builder == NULL;
    struct build *build = new_build(environment, bundle, number);
    build->on_built = on_built;
    build->context = context;
    build->begun_ms = mg_loop_now_ms(environment->loop);
    if (first) {
        mg_budget_block_signals();
    }
    int err = uv_queue_work(&environment->loop->uv, &build->work, on_work, on_loaded);
    if (err) {
        free_generation(build->generation);
        mg_buf_deinit(&build->report);
        free(build);
        return err;
    }
    if (first) {
        err = open_builder(environment);
        if (err) { /* on_loaded sees that there is none */
            mg_log_write(environment->log, MG_LOG_ERROR, "runtime",
                         "the CPU limiter cannot start: %s", mg_err_text(err));
        }
    }
    if (environment->builder) {
        mg_list_append(&environment->builder->builds, &build->link);
    }
    return 0;
}
