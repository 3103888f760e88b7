/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of values in Lua (lua/moongate/expression.lua). */
#include "base/shm_metrics.h"
#include "base/stats.h"
#include "script/budget.h"
#include "script/export.h"
#include "script/vm.h"
#include "script/ffi.h"

MG_FFI_EXPORT void mg_ffi_expression_forgive(struct mg_vm *vm)
{
    if (vm->budget) {
        mg_budget_forgive(vm->budget);
    }
}

/* By plugin and option, for those who watch. */
static void count_by_option(struct mg_vm *vm, const char *plugin, const char *option)
{
    static const char *const labels[] = {"plugin", "option"};
    const struct mg_metric_def def = {.name = MG_STR("moongate_policy_lua_errors_total"),
                                      .help = MG_STR("values in Lua that failed"),
                                      .type = MG_METRIC_COUNTER,
                                      .labels = labels,
                                      .label_count = 2};
    struct mg_shm *shm = vm->options.shm;
    const int metric = mg_metric_open(shm, &def);
    if (metric >= 0) {
        const mg_str values[] = {mg_str_from(plugin), mg_str_from(option)};
        const uint32_t series = mg_series_open(shm, (uint32_t)metric, values, NULL);
        mg_metric_words(shm, vm->options.worker)[series]++;
    }
}

MG_FFI_EXPORT void mg_ffi_expression_failed(struct mg_vm *vm, const char *plugin,
                                            const char *option)
{
    if (vm->options.shm) {
        count_by_option(vm, plugin, option);
    }
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_POLICY_LUA_ERRORS, 1);
    }
}
