/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running the handlers of a phase for a request: the chain runs in a pooled coroutine; it ends at
 * once or waits. flow calls these few and nothing else of the script layer while a request lives.
 *
 *     enum mg_verdict verdict = mg_hook_run(req, MG_PHASE_ACCESS);
 *     if (verdict == MG_VERDICT_WAITING) return;       // req->ops->hook_done(req, phase, verdict)
 *     comes
 *
 * Call mg_hook_run only when the phase's bit is set in req->route->phases (or, without a route, in
 * req->config->global_phases): a route without plugins never enters Lua.
 */
#pragma once

#include "model/req.h"

enum mg_verdict mg_hook_run(struct mg_req *req, enum mg_phase phase);

/* The wait that ops->read_body began is over: 0 or an error. Runs the coroutine on, which may end
 * the chain (hook_done) before this returns. */
void mg_hook_resume(struct mg_req *req, int status);

/* The chain that waits is given up; hook_done does not come. Harmless when none waits. */
void mg_hook_abandon(struct mg_req *req);
/* Only the handler that waits is given up; the chain goes on behind it, and may wait again. */
enum mg_verdict mg_hook_skip(struct mg_req *req);

/* The request ends: its Lua side (ctx, coroutine, sockets) is given up. After the log phase; only
 * needed when req->lua_used. */
void mg_hook_end(struct mg_req *req);

/* Whether a chain of the request is suspended. */
bool mg_hook_waiting(const struct mg_req *req);
