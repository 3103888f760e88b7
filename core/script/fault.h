/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when a handler fails: the error's text and traceback, the line in the error log (10
 * full ones a second for each turn, then a count), and quarantine: a plugin that reached three
 * limits in 10 s is not called for 10 s, then once on trial (docs/plugin-reference.md).
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "script/vm.h"

#define MG_QUARANTINE_MS 10000

/* "CPU limit of 50 ms reached (plugin x, phase access)" for the limit that mg_ffi_shared.unwind
 * names. */
void mg_fault_limit_text(const struct mg_vm *vm, char *text, size_t bytes);

/* Was the failure a limit (CPU, wall, memory, quarantine)? value: the error value on top of co's
 * stack. */
bool mg_fault_is_limit(const struct mg_vm *vm, struct lua_State *co);

/* The error on top of the task's stack, its place and traceback, as one line; appended, and cut at
 * out's cap. While mg_ffi_shared still describes the failed slice. */
void mg_fault_describe(struct mg_task *task, struct mg_buf *out);
/* The same for whoever starts or reloads: a sentence, and below it the traceback unless a plugin
 * has raised the sentence itself (error(text, 0)). */
void mg_fault_tell(struct mg_task *task, struct mg_buf *out);

/* Logs the error on top of the task's stack and counts it: against its turn, and for the
 * quarantine. Call it while mg_ffi_shared still describes the failed slice. */
void mg_fault_report(struct mg_task *task, bool is_limit);

/* index: of a turn. 0: it may run (its trial, when quarantine is over); 1: skipped, as its on_error
 * is open; 2: fails at once. */
int mg_fault_blocked(struct mg_vm *vm, uint32_t index);
/* A handler has ended without a limit: if it was on trial, the quarantine is over. */
void mg_fault_passed(struct mg_vm *vm, uint32_t index);
/* The plugin goes into quarantine for what it did elsewhere: it has hung three workers. */
void mg_fault_quarantine(struct mg_vm *vm, mg_str plugin);
