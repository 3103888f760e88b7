/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of Lua: C keeps the deadlines, Lua the functions (lua/moongate/runtime/sched.lua). At its
 * time the function entry.fire(id, premature) runs in a task of its own, without a request.
 */
#pragma once

struct mg_vm;

/* The generation is retired: everything pending fires now with premature = true. */
void mg_timer_expire(struct mg_vm *vm);
void mg_timer_deinit(struct mg_vm *vm);
