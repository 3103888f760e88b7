/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of values in Lua (lua/moongate/expression.lua). */
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

MG_FFI_EXPORT void mg_ffi_expression_failed(struct mg_vm *vm)
{
    if (vm->options.stats) {
        mg_stats_add(vm->options.stats, MG_STAT_POLICY_LUA_ERRORS, 1);
    }
}
