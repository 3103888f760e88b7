/* SPDX-License-Identifier: Apache-2.0 */
#include "script/plugin_count.h"

#include "base/shm_metrics.h"
#include "net/loop.h"
#include "script/vm.h"

#include "script/ffi.h"

#include <time.h>

#define NOBODY "core" /* timers and the like that belong to no plugin */
#define BOUNDS 14

/* microseconds */
static const double bounds[BOUNDS] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                      100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

/* --- the metrics ------------------------------------------------------------------------------ */

enum metric { FAILURES, YIELDS, QUARANTINED, CPU, WAIT, METRICS };

static const char *const failure_labels[] = {"plugin", "reason"};
static const char *const time_labels[] = {"plugin", "phase"};

static const struct {
    const char *name, *help;
    enum mg_metric_type type;
    const char *const *labels;
    uint32_t label_count;
} definitions[METRICS] = {
    [FAILURES] = {"moongate_plugin_failures_total",
                  "handlers that ended badly: error, limit, or not run in quarantine",
                  MG_METRIC_COUNTER, failure_labels, 2},
    [YIELDS] = {"moongate_plugin_yields_total", "times a handler waited", MG_METRIC_COUNTER,
                time_labels, 1},
    [QUARANTINED] = {"moongate_plugin_quarantined", "workers that do not call it for now",
                     MG_METRIC_GAUGE, time_labels, 1},
    [CPU] = {"moongate_plugin_cpu_seconds",
             "CPU time between two waits of a handler; estimated from some runs",
             MG_METRIC_HISTOGRAM, time_labels, 2},
    [WAIT] = {"moongate_plugin_wait_seconds", "waits of handlers and timers", MG_METRIC_HISTOGRAM,
              time_labels, 2},
};

/* Its index, or an error where there is no room. */
static int define(struct mg_shm *shm, enum metric metric)
{
    const bool is_histogram = definitions[metric].type == MG_METRIC_HISTOGRAM;
    const struct mg_metric_def def = {.name = mg_str_from(definitions[metric].name),
                                      .help = mg_str_from(definitions[metric].help),
                                      .type = definitions[metric].type,
                                      .unit = is_histogram ? MG_UNIT_MICROSECONDS : MG_UNIT_WHOLE,
                                      .labels = definitions[metric].labels,
                                      .label_count = definitions[metric].label_count,
                                      .bounds = is_histogram ? bounds : NULL,
                                      .bound_count = is_histogram ? BOUNDS : 0};
    return mg_metric_open(shm, &def);
}

/* What a dead worker, or the last generation, had left. */
static void end_quarantines(struct mg_shm *shm, uint32_t worker)
{
    const int quarantined = define(shm, QUARANTINED);
    uint32_t metric, word;
    mg_str values[MG_METRIC_LABELS];
    for (uint32_t i = mg_series_count(shm); i > 0 && quarantined >= 0; i--) {
        mg_series_read(shm, i - 1, &metric, &word, values);
        if (metric == (uint32_t)quarantined) {
            mg_metric_words(shm, worker)[word] = 0;
        }
    }
}

void mg_plugin_count_define(struct mg_shm *shm, uint32_t worker)
{
    for (int i = 0; i < METRICS; i++) {
        (void)define(shm, (enum metric)i);
    }
    end_quarantines(shm, worker);
}

/* The first word of that series, plus 1; 0: there is no room for the metric. */
static uint32_t find_word(struct mg_shm *shm, enum metric metric, const char *plugin,
                          const char *second)
{
    const int index = define(shm, metric);
    const mg_str values[] = {mg_str_from(plugin ? plugin : NOBODY), mg_str_from(second)};
    return index < 0 ? 0 : mg_series_open(shm, (uint32_t)index, values, NULL) + 1;
}

static struct mg_turn *turn_of(struct mg_vm *vm, uint32_t turn)
{
    return &vm->turns[turn < vm->turn_count ? turn : 0];
}

/* --- events ----------------------------------------------------------------------------------- */

void mg_plugin_count(struct mg_vm *vm, uint32_t turn, enum mg_plugin_event event)
{
    static const char *const reasons[] = {"error", "limit", "quarantine"};
    struct mg_turn *of = turn_of(vm, turn);
    if (!vm->options.shm) {
        return;
    }
    if (of->counted[event] == 0) {
        const bool is_yield = event == MG_PLUGIN_YIELD;
        of->counted[event] = find_word(vm->options.shm, is_yield ? YIELDS : FAILURES, of->plugin,
                                       is_yield ? "" : reasons[event]);
    }
    if (of->counted[event] > 0) {
        mg_metric_words(vm->options.shm, vm->options.worker)[of->counted[event] - 1]++;
    }
}

void mg_plugin_set_quarantined(struct mg_vm *vm, uint32_t turn, bool quarantined)
{
    const uint32_t word =
        vm->options.shm ? find_word(vm->options.shm, QUARANTINED, turn_of(vm, turn)->plugin, "")
                        : 0;
    if (word > 0) { /* its own word: a gauge is the sum of all workers' */
        mg_metric_words(vm->options.shm, vm->options.worker)[word - 1] = quarantined;
    }
}

/* --- times ------------------------------------------------------------------------------------ */

/* One that is measured stands for many. */
static void observe(struct mg_vm *vm, struct mg_turn *of, int phase, enum mg_plugin_time which,
                    uint64_t us)
{
    const uint64_t times = which == MG_PLUGIN_CPU ? MG_PLUGIN_MEASURED : 1;
    uint32_t *known = &of->timed[which][phase];
    if (*known == 0) {
        *known = find_word(vm->options.shm, which == MG_PLUGIN_CPU ? CPU : WAIT, of->plugin,
                           mg_phase_name((enum mg_phase)phase));
    }
    if (*known > 0) {
        uint64_t *words = mg_metric_words(vm->options.shm, vm->options.worker) + *known - 1;
        uint32_t bucket = 0;
        while (bucket < BOUNDS && (double)us > bounds[bucket]) {
            bucket++;
        }
        words[bucket] += times;
        words[BOUNDS + 1] += us * times;
    }
}

static void observe_task(struct mg_task *task, enum mg_plugin_time which, uint64_t us)
{
    struct mg_vm *vm = task->vm;
    observe(vm, turn_of(vm, (uint32_t)vm->shared->turn), task->phase, which, us);
}

static uint64_t cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

void mg_plugin_slice_begin(struct mg_task *task)
{
    if (task->measured) {
        task->slice_us = cpu_us();
    }
}

void mg_plugin_slice_end(struct mg_task *task)
{
    if (task->slice_us > 0) {
        observe_task(task, MG_PLUGIN_CPU, cpu_us() - task->slice_us);
        task->slice_us = 0;
    }
}

uint64_t mg_plugin_plan_begin(void)
{
    return cpu_us();
}

void mg_plugin_plan_end(struct mg_vm *vm, uint32_t plugin_index, enum mg_phase phase,
                        uint64_t begun_us)
{
    uint32_t turn = 1;
    while (turn < vm->turn_count && vm->turns[turn].plugin_index != plugin_index) {
        turn++;
    }
    if (vm->options.shm) {
        observe(vm, turn_of(vm, turn), (int)phase, MG_PLUGIN_CPU, cpu_us() - begun_us);
    }
}

void mg_plugin_wait_begin(struct mg_task *task)
{
    mg_plugin_slice_end(task);
    task->waits_us = task->vm->options.shm ? task->vm->loop->clock.now_us : 0;
}

void mg_plugin_wait_end(struct mg_task *task)
{
    if (task->waits_us > 0) {
        const uint64_t now_us = task->vm->loop->clock.now_us;
        observe_task(task, MG_PLUGIN_WAIT, now_us > task->waits_us ? now_us - task->waits_us : 0);
        task->waits_us = 0;
    }
    mg_plugin_slice_begin(task);
}
