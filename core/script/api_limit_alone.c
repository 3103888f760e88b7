/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of the plugin rate-limit where its store has failed (ffi.h, section policies): the
 * host decides by its part of the limits, or admits or denies what it does not know. */
#include "script/export.h"

#include "script/api_limit_call.h"

enum { DENIES, ADMITS, DECIDES };

static void count(const struct mg_ffi_limits *limits, enum mg_stat which, uint64_t n)
{
    if (limits->vm->options.stats) {
        mg_stats_add(limits->vm->options.stats, which, n);
    }
}

/* The request does not hold it, whatever becomes of what Redis was asked. */
static void give_up_slot(struct mg_ffi_limit_call *call, unsigned i)
{
    if (call->is_unanswered && call->remotes[i].rule.algorithm == MG_LIMIT_CONCURRENCY) {
        mg_limit_store_cancel(call->store, call->remotes[i].key,
                              mg_limit_call_slot(&call->req->arena, call, i));
    }
}

/* Redis will know of it later. */
static void owe(struct mg_ffi_limit_call *call, const struct mg_limit_verdict *verdict,
                const struct mg_limit_answer *answers)
{
    const int64_t now_ms = mg_limits_now_ms(call->limits);
    for (unsigned i = 0; i < call->count; i++) {
        const struct mg_limit_remote *remote = &call->remotes[i];
        if (verdict->banned || !verdict->admitted || !answers[i].charged) {
            give_up_slot(call, i);
        } else if (remote->rule.algorithm == MG_LIMIT_CONCURRENCY) {
            mg_limit_call_hold(call, i);
        } else {
            const struct mg_limit_rule part =
                mg_limit_part_rule(&remote->rule, call->limits->parts);
            mg_limit_store_owe(call->store, remote->key, &remote->rule, &part, now_ms,
                               remote->cost);
        }
    }
    if (verdict->ban_began) {
        mg_limit_store_owe_ban(call->store, call->request.ban_key, &call->limits->ban,
                               call->ban_key);
    }
}

static const struct mg_ffi_limit_verdict *decide_here(struct mg_ffi_limit_call *call,
                                                      struct mg_limits_entry **entries)
{
    struct mg_ffi_limits *limits = call->limits;
    struct mg_limit_ask asks[MG_LIMITS_AT_ONCE];
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    mg_limits_take_part(limits);
    for (unsigned i = 0; i < call->count; i++) {
        const struct mg_limit_asked *asked = &call->asked[i];
        const struct mg_limit_rule part = mg_limit_part_rule(&call->remotes[i].rule, limits->parts);
        asks[i] = (struct mg_limit_ask){.limit = &asked->entry->limit,
                                        .key = asked->key,
                                        .cost = asked->cost,
                                        .has_quota = asked->quota >= 0,
                                        .quota = part.quota};
    }
    const struct mg_limit_request request = {.worker = limits->vm->options.worker,
                                             .now_ms = mg_limits_now_ms(limits),
                                             .network = mg_limits_network_of(limits, call->req),
                                             .count_denied = limits->count_denied,
                                             .asks = asks,
                                             .count = call->count,
                                             .ban = call->has_ban ? &limits->ban : NULL,
                                             .ban_key = call->ban_key};
    const struct mg_limit_verdict verdict = mg_limits_take(limits->shm, &request, answers);
    count(limits, MG_STAT_LIMIT_STORE_LOCAL, 1);
    mg_limits_show(limits, call->req, &verdict, answers, entries, call->count);
    owe(call, &verdict, answers);
    return &limits->verdict;
}

MG_FFI_EXPORT const struct mg_ffi_limit_verdict *mg_ffi_limits_alone(struct mg_ffi_limit_call *call,
                                                                     int how)
{
    struct mg_ffi_limits *limits = call->limits;
    struct mg_limits_entry *entries[MG_LIMITS_AT_ONCE];
    mg_limit_call_restore(call, entries);
    if (how == DECIDES) {
        return decide_here(call, entries);
    }
    for (unsigned i = 0; i < call->count; i++) {
        entries[i]->answer.asked = 0;
        entries[i]->found.charged = false;
        give_up_slot(call, i);
    }
    limits->verdict = (struct mg_ffi_limit_verdict){.admitted = call->ban_ms == 0 && how == ADMITS,
                                                    .banned = call->ban_ms > 0,
                                                    .ban_ms = (double)call->ban_ms};
    count(limits, how == ADMITS ? MG_STAT_LIMIT_STORE_ALLOWED : MG_STAT_LIMIT_STORE_DENIED,
          call->ban_ms == 0);
    return &limits->verdict;
}
