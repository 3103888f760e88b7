/* SPDX-License-Identifier: Apache-2.0 */
#include "script/plugin_count.h"

#include "base/shm_metrics.h"
#include "script/vm.h"

#define NOBODY "core" /* timers and the like that belong to no plugin */

static int define_failures(struct mg_shm *shm)
{
    static const char *const labels[] = {"plugin", "reason"};
    const struct mg_metric_def def = {
        .name = MG_STR("moongate_plugin_failures_total"),
        .help = MG_STR("handlers that ended badly: error, limit, or not run in quarantine"),
        .type = MG_METRIC_COUNTER,
        .labels = labels,
        .label_count = 2};
    return mg_metric_open(shm, &def);
}

static int define_yields(struct mg_shm *shm)
{
    static const char *const labels[] = {"plugin"};
    const struct mg_metric_def def = {.name = MG_STR("moongate_plugin_yields_total"),
                                      .help = MG_STR("times a handler waited"),
                                      .type = MG_METRIC_COUNTER,
                                      .labels = labels,
                                      .label_count = 1};
    return mg_metric_open(shm, &def);
}

void mg_plugin_count_define(struct mg_shm *shm)
{
    (void)define_failures(shm);
    (void)define_yields(shm);
}

/* The word of that event, plus 1; 0: there is no room for the metric. */
static uint32_t find_word(struct mg_shm *shm, const char *plugin, enum mg_plugin_event event)
{
    static const char *const reasons[] = {"error", "limit", "quarantine"};
    const bool is_yield = event == MG_PLUGIN_YIELD;
    const int metric = is_yield ? define_yields(shm) : define_failures(shm);
    const mg_str values[] = {mg_str_from(plugin ? plugin : NOBODY),
                             is_yield ? MG_STR("") : mg_str_from(reasons[event])};
    return metric < 0 ? 0 : mg_series_open(shm, (uint32_t)metric, values, NULL) + 1;
}

void mg_plugin_count(struct mg_vm *vm, uint32_t turn, enum mg_plugin_event event)
{
    struct mg_turn *of = &vm->turns[turn < vm->turn_count ? turn : 0];
    if (!vm->options.shm) {
        return;
    }
    if (of->counted[event] == 0) {
        of->counted[event] = find_word(vm->options.shm, of->plugin, event);
    }
    if (of->counted[event] > 0) {
        mg_metric_words(vm->options.shm, vm->options.worker)[of->counted[event] - 1]++;
    }
}
