/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What circuit-breaker does in C for most requests (script/hook_plan.h): they are asked for, found
 * admitted, and told as success or failure by the status of their answer. Whatever is out of the
 * ordinary goes to the plugin's hooks, plugins/circuit-breaker/handler.lua: denials, probes,
 * transitions, and all requests that did not end well.
 *
 * The plugin opens a breaker when a route's first request needs one, and tells the plan.
 */
#include "base/arena.h"
#include "model/breaker.h"
#include "model/req.h"
#include "script/export.h"
#include "script/hook_plan.h"
#include "script/vm.h"

#include "script/ffi.h"
#include "script/ffi_log.h"
#include "script/ffi_plan.h"

#include <stdlib.h>

#define ARENA_BYTES 1024
#define STATUSES 1000

/* What the requests of a route meet. */
struct meeting {
    struct mg_ffi_breaker *breaker; /* NULL: none */
    mg_str notes[MG_BREAKER_STATES];
};

struct mg_ffi_breaker_plan {
    struct mg_hook_plan access, header_filter, log;
    struct mg_arena arena;
    struct meeting **meetings; /* by route; NULL: nobody has asked yet */
    uint32_t route_count;
    bool is_failure[STATUSES];
};

/* --- making --------------------------------------------------------------------------------- */

static mg_hook_plan_fn run_access, run_header_filter, run_log;

MG_FFI_EXPORT struct mg_ffi_breaker_plan *mg_ffi_breaker_plan(struct mg_vm *vm)
{
    struct mg_ffi_breaker_plan *plan = calloc(1, sizeof *plan);
    mg_require(plan != NULL);
    plan->access.run = run_access;
    plan->header_filter.run = run_header_filter;
    plan->log.run = run_log;
    mg_arena_init(&plan->arena, ARENA_BYTES);
    plan->route_count = vm->config->route_count;
    plan->meetings = calloc(plan->route_count + 1, sizeof(struct meeting *));
    mg_require(plan->meetings != NULL);
    return plan;
}

MG_FFI_EXPORT void mg_ffi_breaker_plan_free(struct mg_ffi_breaker_plan *plan)
{
    mg_arena_deinit(&plan->arena);
    free(plan->meetings);
    free(plan);
}

MG_FFI_EXPORT void mg_ffi_breaker_plan_fails(struct mg_ffi_breaker_plan *plan, int status)
{
    if (status >= 0 && status < STATUSES) {
        plan->is_failure[status] = true;
    }
}

MG_FFI_EXPORT struct mg_hook_plan *mg_ffi_breaker_plan_of(struct mg_ffi_breaker_plan *plan,
                                                          int phase)
{
    switch (phase) {
    case MG_PHASE_ACCESS:
        return &plan->access;
    case MG_PHASE_HEADER_FILTER:
        return &plan->header_filter;
    case MG_PHASE_LOG:
        return &plan->log;
    default:
        return NULL;
    }
}

static struct meeting **place_of(const struct mg_ffi_breaker_plan *plan, const struct mg_req *req)
{
    const struct mg_route *route = req->route;
    return route && route->index < plan->route_count ? &plan->meetings[route->index] : NULL;
}

MG_FFI_EXPORT void mg_ffi_breaker_plan_meet(struct mg_ffi_breaker_plan *plan,
                                            const struct mg_req *req,
                                            struct mg_ffi_breaker *breaker)
{
    struct meeting **place = place_of(plan, req);
    if (place) {
        *place = mg_arena_zalloc(&plan->arena, sizeof **place);
        (*place)->breaker = breaker;
    }
}

MG_FFI_EXPORT void mg_ffi_breaker_plan_note(struct mg_ffi_breaker_plan *plan,
                                            const struct mg_req *req, int state, const char *json,
                                            size_t len)
{
    struct meeting **place = place_of(plan, req);
    if (place && *place && state >= 0 && state < MG_BREAKER_STATES) {
        (*place)->notes[state] = mg_arena_copy_str(&plan->arena, mg_str_make(json, len));
    }
}

/* --- the phases of a request ---------------------------------------------------------------- */

static const struct meeting *meeting_of(const struct mg_ffi_breaker_plan *plan,
                                        const struct mg_req *req)
{
    struct meeting **place = place_of(plan, req);
    return place ? *place : NULL;
}

static enum mg_hook_plan_result run_access(struct mg_hook_plan *base, struct mg_req *req)
{
    const struct meeting *meeting =
        meeting_of(MG_CONTAINER(base, struct mg_ffi_breaker_plan, access), req);
    if (!meeting || !meeting->breaker) {
        return meeting ? MG_PLAN_DONE : MG_PLAN_LUA;
    }
    const int admitted = mg_ffi_breaker_ask(meeting->breaker, req, NULL);
    const struct mg_ffi_breaker_answer *answer = mg_ffi_breaker_answer(meeting->breaker);
    if (!admitted || answer->probe || answer->changed || answer->unheard) {
        return MG_PLAN_REST;
    }
    req->note_breaker = meeting->notes[answer->state];
    return MG_PLAN_DONE;
}

/* Of an answer that came from the upstream, and nothing else. */
static enum mg_hook_plan_result run_header_filter(struct mg_hook_plan *base, struct mg_req *req)
{
    const struct mg_ffi_breaker_plan *plan =
        MG_CONTAINER(base, struct mg_ffi_breaker_plan, header_filter);
    const struct meeting *meeting = meeting_of(plan, req);
    if (!meeting || req->outcome != MG_OUTCOME_OK || req->up_status == 0 ||
        req->up_status >= STATUSES) {
        return MG_PLAN_LUA;
    }
    if (!meeting->breaker || !mg_ffi_breaker_waits(req)) {
        return MG_PLAN_DONE;
    }
    const int result = plan->is_failure[req->up_status] ? MG_RESULT_FAILURE : MG_RESULT_SUCCESS;
    mg_ffi_breaker_result(meeting->breaker, req, result, 0);
    return mg_ffi_breaker_answer(meeting->breaker)->changed ? MG_PLAN_REST : MG_PLAN_DONE;
}

static enum mg_hook_plan_result run_log(struct mg_hook_plan *base, struct mg_req *req)
{
    const struct meeting *meeting =
        meeting_of(MG_CONTAINER(base, struct mg_ffi_breaker_plan, log), req);
    if (!meeting || req->outcome != MG_OUTCOME_OK || mg_ffi_breaker_waits(req)) {
        return MG_PLAN_LUA;
    }
    return meeting->breaker && mg_ffi_breaker_end(meeting->breaker, req) &&
                   mg_ffi_breaker_answer(meeting->breaker)->changed
               ? MG_PLAN_REST
               : MG_PLAN_DONE;
}
