/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of the plugin rate-limit that correct charges when the true cost of a request is
 * known (ffi.h, section policies). */
#include "base/shm.h"
#include "net/loop.h"
#include "script/export.h"

#include "script/api_limits.h"

#define WORDS_BYTES 4096

/* What was charged for a request. The limits are copies: the set may be gone before the request. */
struct mg_ffi_charges {
    struct mg_shm *shm;
    struct mg_loop *loop;
    bool settled;
    unsigned count;
    struct mg_limit_store *store;   /* where they were charged; NULL: here */
    struct mg_limit_leases *leases; /* that may take back what is not needed; NULL: none */
    struct mg_limit_async *async;   /* that knows of them too; NULL: none */
    bool is_told;                   /* the store has decided; else async tells it */
    uint8_t network;
    struct {
        struct mg_limit limit;
        struct mg_limit_rule rule; /* of the request */
        int64_t cost;
        struct mg_limit_answer answer;
        mg_str key;     /* in the store */
        unsigned index; /* of the limit in its set */
        bool has_quota;
        struct mg_limit_async_keys async_keys;
    } of[];
};

/* All charges are in one slot of a cluster, and so in one command. */
static void correct_in_store(struct mg_ffi_charges *charges, int64_t cost)
{
    struct mg_limit_remote limits[MG_LIMITS_AT_ONCE];
    struct mg_limit_remote_request request = {.limits = limits};
    struct mg_limit_words words;
    struct mg_arena arena;
    for (unsigned i = 0; i < charges->count; i++) {
        const int64_t back = charges->of[i].cost - cost;
        const bool is_kept = charges->leases && back > 0 &&
                             mg_limit_leases_put(charges->leases, charges->of[i].key,
                                                 charges->of[i].answer.charged_in, back);
        if (back != 0 && !is_kept) {
            limits[request.count++] =
                (struct mg_limit_remote){.rule = charges->of[i].rule,
                                         .cost = -back,
                                         .charged_in = charges->of[i].answer.charged_in,
                                         .key = charges->of[i].key};
        }
        charges->of[i].cost = cost;
    }
    if (request.count > 0) {
        mg_arena_init(&arena, WORDS_BYTES);
        mg_limit_words_amend(&arena, &request, &words);
        mg_limit_store_tell(charges->store, &words);
        mg_arena_deinit(&arena);
    }
}

/* In what this host knows of the store; how many no longer count. */
static int correct_knowledge(struct mg_ffi_charges *charges, int64_t cost)
{
    int lost = 0;
    for (unsigned i = 0; i < charges->count; i++) {
        const struct mg_limit_remote remote = {.rule = charges->of[i].rule,
                                               .shadow = charges->of[i].limit.shadow,
                                               .key = charges->of[i].key};
        const struct mg_limit_async_ask ask = {.limit = charges->of[i].index,
                                               .keys = charges->of[i].async_keys,
                                               .remote = &remote,
                                               .has_quota = charges->of[i].has_quota};
        const int64_t units = cost - charges->of[i].cost;
        if (units != 0) {
            lost += !mg_limit_async_correct(charges->async, &ask, charges->network,
                                            &charges->of[i].answer, charges->is_told, units);
        }
    }
    return lost;
}

static int correct(struct mg_ffi_charges *charges, int64_t cost)
{
    int lost = charges->async ? correct_knowledge(charges, cost) : 0;
    if (charges->store && charges->is_told) {
        correct_in_store(charges, cost);
        return 0;
    } else if (charges->store) {
        return lost;
    }
    const int64_t now = mg_shm_now_ms(charges->shm, mg_loop_now_ms(charges->loop));
    for (unsigned i = 0; i < charges->count; i++) {
        const int64_t units = cost - charges->of[i].cost;
        if (units != 0) {
            lost += !mg_limit_correct(charges->shm, &charges->of[i].limit, &charges->of[i].answer,
                                      now, units);
        }
        charges->of[i].cost = cost;
    }
    return lost;
}

/* The request has ended without an answer: its client has left. */
static void give_back_unsettled(void *context)
{
    struct mg_ffi_charges *charges = context;
    if (!charges->settled) {
        correct(charges, 0);
    }
    if (charges->leases) {
        mg_limit_leases_release(charges->leases);
    }
    if (charges->async) {
        mg_limit_async_release(charges->async);
    }
    if (charges->store) {
        mg_limit_store_release(charges->store);
    }
}

static void add_charge(struct mg_ffi_charges *charges, const struct mg_limits_entry *entry,
                       unsigned index)
{
    charges->of[charges->count].key = entry->key_in_store;
    charges->of[charges->count].rule = entry->rule_of_request;
    charges->of[charges->count].limit = entry->limit;
    charges->of[charges->count].cost = entry->cost;
    charges->of[charges->count].answer = entry->found;
    charges->of[charges->count].index = index;
    charges->of[charges->count].has_quota = entry->quota >= 0;
    charges->of[charges->count].async_keys = entry->async_keys;
    charges->count++;
}

static void note_store(struct mg_ffi_charges *charges, struct mg_ffi_limits *limits,
                       const struct mg_req *req)
{
    charges->store = mg_limit_store_hold(limits->store);
    charges->leases = limits->leases ? mg_limit_leases_hold(limits->leases) : NULL;
    charges->is_told = !limits->decided_by_knowledge;
    if (limits->async) {
        charges->async = mg_limit_async_hold(limits->async);
        charges->network = mg_limits_network_of(limits, req);
    }
}

MG_FFI_EXPORT struct mg_ffi_charges *mg_ffi_limits_charges(struct mg_ffi_limits *limits,
                                                           struct mg_req *req)
{
    struct mg_ffi_charges *charges = mg_arena_alloc(
        &req->arena, sizeof *charges + (size_t)limits->count * sizeof charges->of[0]);
    *charges = (struct mg_ffi_charges){.shm = limits->shm, .loop = limits->vm->loop};
    for (int i = 0; i < limits->count; i++) {
        const struct mg_limits_entry *entry = &limits->entries[i];
        if (entry->answer.asked && entry->found.charged &&
            entry->rule.algorithm != MG_LIMIT_CONCURRENCY) {
            add_charge(charges, entry, (unsigned)i);
        }
    }
    if (charges->count == 0) {
        return NULL;
    }
    if (limits->decided_in_store) {
        note_store(charges, limits, req);
    }
    mg_arena_defer(&req->arena, give_back_unsettled, charges);
    return charges;
}

MG_FFI_EXPORT int mg_ffi_charges_settle(struct mg_ffi_charges *charges, double cost)
{
    charges->settled = true;
    return cost < 0 ? 0 : correct(charges, (int64_t)cost);
}
