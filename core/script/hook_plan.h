/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan: what a plugin's hook does for nearly all requests, made ready in `configure` and run in C
 * without entering Lua (docs/plugin-reference.md, "Plans"). The hook in Lua stays what it is: it
 * runs wherever the plan says so, and it does the same.
 *
 * Plans are run from the front of a phase, as far as every hook has one; see script/hook.c.
 *
 *     struct log_plan {
 *         struct mg_hook_plan plan;           // .run = run_log
 *         ...
 *     };
 *     static enum mg_hook_plan_result run_log(struct mg_hook_plan *plan, struct mg_req *req);
 */
#pragma once

struct mg_hook_plan;
struct mg_req;

enum mg_hook_plan_result {
    MG_PLAN_DONE, /* all that the hook would have done is done */
    MG_PLAN_LUA,  /* nothing is done: the hook has to run */
    MG_PLAN_REST, /* the decision is made, what follows from it is the hook's: called as planned */
};

/* Never waits, never fails. */
typedef enum mg_hook_plan_result mg_hook_plan_fn(struct mg_hook_plan *plan, struct mg_req *req);

struct mg_hook_plan {
    mg_hook_plan_fn *run;
};
