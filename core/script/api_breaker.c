/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaf functions of the plugin circuit-breaker (ffi.h, section policies). What the breaker told a
 * request lies in the request's arena; its probe slot is given back when the arena is reset, if no
 * result came before. The cleanup knows shared memory and worker only: the request may outlive its
 * generation, and the breaker object with it.
 */
#include "base/hash.h"
#include "base/shm.h"
#include "base/shm_cells.h"
#include "model/breaker.h"
#include "model/breaker_hand.h"
#include "model/req.h"
#include "net/loop.h"
#include "script/api_limits.h"
#include "script/export.h"
#include "script/vm.h"

#include <stdlib.h>

struct mg_ffi_breaker {
    struct mg_vm *vm;
    struct mg_breaker breaker;
    uint64_t slow_over_us; /* 0 = nothing is slow */
    bool slow_until_end;   /* else until the response head */
    uint64_t draws;        /* for jitter */
    struct mg_ffi_breaker_answer answer;
};

/* Of one request. */
struct told {
    struct mg_shm *shm;
    uint32_t worker;
    bool was_admitted, settled;
    struct mg_breaker_pass pass;
    struct mg_breaker breaker; /* a copy: the request may outlive the plugin's */
};

/* --- outcomes and notes --------------------------------------------------------------------- */

MG_FFI_EXPORT int mg_ffi_outcome_of(const char *word, size_t len)
{
    const enum mg_outcome outcome = mg_outcome_of(word, (unsigned)len);
    return outcome == MG_OUTCOME_COUNT ? -1 : (int)outcome;
}

MG_FFI_EXPORT int mg_ffi_req_outcome(const struct mg_req *req)
{
    return (int)req->outcome;
}

static bool is_outcome(int outcome)
{
    return outcome >= 0 && outcome < MG_OUTCOME_COUNT;
}

MG_FFI_EXPORT int mg_ffi_req_set_outcome(struct mg_req *req, int outcome)
{
    if (!is_outcome(outcome)) {
        return 0;
    }
    req->outcome = (enum mg_outcome)outcome;
    return 1;
}

MG_FFI_EXPORT int mg_ffi_req_note_breaker(struct mg_req *req, const char *json, size_t len)
{
    req->note_breaker = mg_arena_copy_str(&req->arena, mg_str_make(json, len));
    return 1;
}

MG_FFI_EXPORT int mg_ffi_up_head_timeout(struct mg_req *req, double ms, int outcome)
{
    if (!is_outcome(outcome) || !(ms >= 0)) {
        return 0;
    }
    req->up.head_timeout = (uint64_t)ms;
    req->up.head_outcome = (enum mg_outcome)outcome;
    return 1;
}

/* --- making --------------------------------------------------------------------------------- */

static struct mg_breaker_rule rule_of(const struct mg_ffi_breaker_rule *from)
{
    return (struct mg_breaker_rule){
        .by_count = from->by_count != 0,
        .shadow = from->shadow != 0,
        .window_ms = (uint32_t)from->window_ms,
        .buckets = (uint32_t)from->buckets,
        .window_calls = (uint32_t)from->window_calls,
        .min_requests = (uint32_t)from->min_requests,
        .failure_share = MG_BREAKER_SHARE(from->failure_percent),
        .network_share = MG_BREAKER_SHARE(from->network_percent),
        .slow_share = MG_BREAKER_SHARE(from->slow_percent),
        .consecutive = (uint32_t)from->consecutive,
        .open_base_ms = (uint32_t)from->open_base_ms,
        .open_max_ms = (uint32_t)from->open_max_ms,
        .open_factor = (uint32_t)(from->open_factor * 1000 + 0.5),
        .open_jitter = MG_BREAKER_SHARE(from->open_jitter_percent),
        .probes = (uint32_t)from->probes,
        .probe_results = (uint32_t)from->probe_results,
        .probe_good = MG_BREAKER_SHARE(from->probe_success_percent),
        .ramp_ms = (uint32_t)from->ramp_ms,
        .max_keys = (uint32_t)from->max_keys,
    };
}

static int64_t now_ms(const struct mg_ffi_breaker *breaker)
{
    return mg_shm_now_ms(breaker->vm->options.shm, mg_loop_now_ms(breaker->vm->loop));
}

MG_FFI_EXPORT struct mg_ffi_breaker *mg_ffi_breaker_new(struct mg_vm *vm,
                                                        const struct mg_ffi_breaker_rule *rule,
                                                        const char *name, size_t len, int *error)
{
    if (!vm->options.shm || !vm->loop) {
        *error = MG_EUNSUPPORTED;
        return NULL;
    }
    struct mg_ffi_breaker *breaker = calloc(1, sizeof *breaker);
    mg_require(breaker != NULL);
    *breaker = (struct mg_ffi_breaker){.vm = vm,
                                       .breaker = {.rule = rule_of(rule)},
                                       .slow_over_us = (uint64_t)(rule->slow_over_ms * 1000),
                                       .slow_until_end = rule->slow_until_end != 0};
    *error = mg_breaker_open(vm->options.shm, &breaker->breaker, mg_str_make(name, len),
                             now_ms(breaker));
    if (*error) {
        free(breaker);
        return NULL;
    }
    return breaker;
}

MG_FFI_EXPORT void mg_ffi_breaker_free(struct mg_ffi_breaker *breaker)
{
    free(breaker);
}

MG_FFI_EXPORT const struct mg_ffi_breaker_answer *mg_ffi_breaker_answer(
    const struct mg_ffi_breaker *breaker)
{
    return &breaker->answer;
}

MG_FFI_EXPORT const char *mg_ffi_breaker_state_name(int state)
{
    return mg_breaker_state_name((enum mg_breaker_state)state);
}

MG_FFI_EXPORT const char *mg_ffi_breaker_reason_name(int reason)
{
    return mg_breaker_reason_name((enum mg_breaker_reason)reason);
}

/* --- use ------------------------------------------------------------------------------------ */

static void count(const struct mg_ffi_breaker *breaker, enum mg_stat which)
{
    if (breaker->vm->options.stats) {
        mg_stats_add(breaker->vm->options.stats, which, 1);
    }
}

/* Eight hex digits of the key's hash are shown, never the key. */
static int shown_key(const struct mg_breaker *breaker)
{
    return breaker->keyed ? (int)(uint32_t)(breaker->id.hash[1] | 1) : 0;
}

/* What a change brought about is told where there is one. */
static void answer(struct mg_ffi_breaker *breaker, const struct told *told,
                   const struct mg_breaker_change *change)
{
    struct mg_ffi_breaker_answer *out = &breaker->answer;
    out->key = shown_key(&told->breaker);
    out->state = (int)told->pass.state;
    out->probe = told->pass.probe;
    out->unheard = 0;
    out->retry_ms = (double)told->pass.retry_ms;
    out->changed = change->happened;
    if (!change->happened) {
        return;
    }
    out->from = (int)change->from;
    out->to = (int)change->to;
    out->reason = (int)change->reason;
    out->n = (int)change->n;
    out->open_ms = (double)change->open_ms;
    out->total = (double)change->total;
    out->failures = (double)change->failures;
    out->network = (double)change->network;
    out->slow = (double)change->slow;
    count(breaker, MG_STAT_BREAKER_TRANSITIONS);
}

/* The request ends without a result. */
static void give_back(void *context)
{
    struct told *told = context;
    if (told->pass.hold != 0) {
        mg_hold_give_back(told->shm, told->worker, told->pass.hold);
        told->pass.hold = 0;
    }
}

static bool may_retry(const struct mg_req *req)
{
    const struct told *told = req->breaker_pass;
    return mg_breaker_may_retry(&told->breaker, &told->pass);
}

MG_FFI_EXPORT int mg_ffi_breaker_ask(struct mg_ffi_breaker *breaker, struct mg_req *req,
                                     const struct mg_ffi_limits *key)
{
    struct told *told = mg_arena_alloc(&req->arena, sizeof *told);
    *told = (struct told){.shm = breaker->vm->options.shm, .worker = breaker->vm->options.worker};
    struct mg_breaker_change change;
    if (key) {
        mg_breaker_of_key(&breaker->breaker, mg_str_make(key->key, key->key_length),
                          now_ms(breaker), &told->breaker);
    } else {
        told->breaker = breaker->breaker;
    }
    const bool admitted =
        mg_breaker_ask(&told->breaker, told->worker, now_ms(breaker), &told->pass, &change);
    told->was_admitted = admitted;
    req->breaker_pass = told;
    req->may_retry = admitted && !breaker->breaker.rule.shadow ? may_retry : NULL;
    if (told->pass.hold != 0) {
        mg_arena_defer(&req->arena, give_back, told);
    }
    if (!admitted) {
        count(breaker, breaker->breaker.rule.shadow ? MG_STAT_BREAKER_SHADOW_REJECTED
                                                    : MG_STAT_BREAKER_REJECTED);
    }
    answer(breaker, told, &change);
    const struct mg_breaker_record *record =
        mg_breaker_record(breaker->breaker.shm, breaker->breaker.record);
    breaker->answer.unheard = record && mg_word_load(&record->unheard) != 0;
    return admitted;
}

MG_FFI_EXPORT int mg_ffi_breaker_waits(const struct mg_req *req)
{
    const struct told *told = req->breaker_pass;
    return told && told->was_admitted && !told->settled;
}

/* Spreads jitter; nobody has to be kept from guessing it. */
static uint32_t draw(struct mg_ffi_breaker *breaker)
{
    breaker->draws++;
    const mg_str bytes = mg_str_make((const char *)&breaker->draws, sizeof breaker->draws);
    return (uint32_t)mg_hash_mix(bytes, (uint64_t)now_ms(breaker) + breaker->vm->options.worker);
}

/* Has the upstream taken too long, until then? No request was sent: no. */
static bool is_slow(const struct mg_ffi_breaker *breaker, const struct mg_req *req, uint64_t end_us)
{
    const uint64_t begin_us = req->upstream_begin_us;
    return breaker->slow_over_us > 0 && begin_us > 0 && end_us > begin_us &&
           end_us - begin_us > breaker->slow_over_us;
}

static uint64_t now_us(const struct mg_ffi_breaker *breaker)
{
    return breaker->vm->loop->clock.now_us;
}

/* With the response head, or with what came in its place. */
static bool is_slow_to_answer(const struct mg_ffi_breaker *breaker, const struct mg_req *req)
{
    const bool has_head = req->upstream_head_us > 0;
    return !(has_head && breaker->slow_until_end) &&
           is_slow(breaker, req, has_head ? req->upstream_head_us : now_us(breaker));
}

MG_FFI_EXPORT int mg_ffi_breaker_result(struct mg_ffi_breaker *breaker, struct mg_req *req,
                                        int result, int again)
{
    struct told *told = req->breaker_pass;
    breaker->answer.changed = 0;
    if (!told || !told->was_admitted || told->settled != (again != 0) || result < 0 ||
        result > MG_RESULT_NONE) {
        return 0;
    }
    told->settled = true;
    struct mg_breaker_pass pass = told->pass; /* kept for a second result in the same epoch */
    pass.admitted = true;
    told->pass.hold = 0;
    struct mg_breaker_change change;
    const struct mg_breaker_told what = {.result = (enum mg_breaker_result)result,
                                         .slow = !again && is_slow_to_answer(breaker, req),
                                         .random = draw(breaker)};
    mg_breaker_result(&told->breaker, told->worker, now_ms(breaker), &pass, &what, &change);
    if (!again) {
        told->pass.counted = pass.counted;
        told->pass.place = pass.place;
    }
    answer(breaker, told, &change);
    return 1;
}

MG_FFI_EXPORT int mg_ffi_breaker_end(struct mg_ffi_breaker *breaker, struct mg_req *req)
{
    struct told *told = req->breaker_pass;
    breaker->answer.changed = 0;
    const uint64_t end_us = req->upstream_end_us > 0 ? req->upstream_end_us : now_us(breaker);
    if (!told || !told->pass.counted || !breaker->slow_until_end || req->upstream_head_us == 0 ||
        !is_slow(breaker, req, end_us)) {
        return 0;
    }
    struct mg_breaker_change change;
    mg_breaker_slow(&told->breaker, now_ms(breaker), draw(breaker), &told->pass, &change);
    answer(breaker, told, &change);
    return 1;
}

MG_FFI_EXPORT int mg_ffi_breaker_heard(struct mg_ffi_breaker *breaker)
{
    struct mg_breaker_record *record =
        mg_breaker_record(breaker->breaker.shm, breaker->breaker.record);
    struct mg_breaker_event event;
    if (!record || !mg_breaker_heard(record, &event)) {
        return 0;
    }
    breaker->answer = (struct mg_ffi_breaker_answer){
        .from = (int)event.from, .to = (int)event.to, .reason = (int)event.reason};
    return 1;
}
