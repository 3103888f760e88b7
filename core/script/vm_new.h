/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes and frees Lua states with the runtime loaded (standard library wrapped, globals in place),
 * before any plugin.
 *
 *     struct mg_vm_options options = {.loop = loop, .lua_path = "/usr/share/moongate/lua", ...};
 *     struct mg_vm *vm = mg_vm_new(&options, message, sizeof message);
 *     mg_vm_adopt(vm, budget);
 *     mg_vm_free(vm);
 */
#pragma once

#include "script/vm.h"

/* NULL with a sentence (a Lua error of the runtime, a file that cannot be read). */
struct mg_vm *mg_vm_new(const struct mg_vm_options *options, char *message, size_t message_bytes);
/* Cancels what waits and closes the state. free(NULL) is fine. */
void mg_vm_free(struct mg_vm *vm);
/* From now on this thread runs it: its budget, its loop. */
void mg_vm_adopt(struct mg_vm *vm, struct mg_budget *budget);
