/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaf functions of the plugin rate-limit with a store (ffi.h, section policies): what a request
 * asks of a set of limits goes to Redis as one command; what comes back is put where decisions of
 * api_limit.c are. A call lies in the memory of its request.
 */
#include "net/loop.h"
#include "script/export.h"

#include "script/api_limit_call.h"

#include <stdlib.h>

#define FLIGHT_BYTES 1024

/* The command of a call that may hold something. Where the request ends before the reply, it lives
 * on and gives that back. */
struct mg_limit_flight {
    struct mg_redis_command command;
    struct mg_ffi_limit_call *call; /* NULL: nobody waits any more */
    struct mg_limit_store *store;
    struct mg_arena arena;
    unsigned count;
    mg_str keys[MG_LIMITS_AT_ONCE], names[MG_LIMITS_AT_ONCE];
};

/* --- a request ------------------------------------------------------------------------------ */

static mg_str counter_key(struct mg_ffi_limit_call *call, const char *hash, const char *counter,
                          const struct mg_limit_rule *rule)
{
    char kind[MG_LIMIT_KIND_BYTES];
    char name[MG_LIMITS_COUNTER_BYTES + MG_LIMIT_KIND_BYTES + 1];
    mg_limit_kind(rule, kind);
    const size_t length = strlen(counter), kind_length = strlen(kind);
    memcpy(name, counter, length);
    name[length] = ':';
    memcpy(name + length + 1, kind, kind_length);
    return mg_limit_store_key(call->store, &call->req->arena, mg_str_make(hash, MG_LIMIT_KEY_CHARS),
                              mg_str_make(name, length + 1 + kind_length));
}

static void take_along(struct mg_ffi_limit_call *call, struct mg_limits_entry *entry)
{
    struct mg_limit_remote *remote = &call->remotes[call->count];
    struct mg_limit_asked *asked = &call->asked[call->count++];
    *asked = (struct mg_limit_asked){.entry = entry,
                                     .key = entry->key,
                                     .cost = entry->cost,
                                     .quota = entry->quota,
                                     .async_keys = entry->async_keys};
    memcpy(asked->hash, entry->hash, sizeof asked->hash);
    *remote = (struct mg_limit_remote){
        .rule = entry->quota >= 0 ? mg_limit_rule_with(&entry->rule, entry->quota) : entry->rule,
        .shadow = entry->limit.shadow,
        .cost = entry->cost,
        .key = counter_key(call, entry->hash, entry->counter, &entry->rule)};
    if (entry->former_key.hash[0] != 0) {
        remote->former = &entry->limit.former.rule;
        remote->former_key =
            counter_key(call, entry->hash, entry->counter, &entry->limit.former.rule);
    }
    entry->asked = false;
}

/* A ban that this host knows costs Redis nothing, but where a request prolongs it. */
static void take_ban_along(struct mg_ffi_limit_call *call)
{
    struct mg_ffi_limits *limits = call->limits;
    struct mg_ban_state state;
    call->has_ban = limits->ban_asked;
    limits->ban_asked = false;
    if (!call->has_ban) {
        return;
    }
    call->ban_key = limits->ban_key;
    call->ban_ms = mg_limit_ban_left_ms(limits->shm, &limits->ban, call->ban_key,
                                        mg_limits_now_ms(limits), &state);
    call->request.ban = &limits->ban.rule;
    call->request.ban_key = mg_limit_store_key(call->store, &call->req->arena,
                                               mg_str_make(limits->ban_hash, MG_LIMIT_KEY_CHARS),
                                               mg_str_from(limits->ban_counter));
}

mg_str mg_limit_call_slot(struct mg_arena *arena, const struct mg_ffi_limit_call *call, unsigned i)
{
    return mg_arena_format(arena, "%.*s:%lld", MG_STR_ARG(call->request.holder),
                           (long long)call->asked[i].cost);
}

/* Nobody waits any more: what the reply will say is held, nobody would give back. */
static void leave_alone(struct mg_limit_flight *flight)
{
    const struct mg_ffi_limit_call *call = flight->call;
    mg_arena_init(&flight->arena, FLIGHT_BYTES);
    for (unsigned i = 0; i < call->count; i++) {
        if (call->remotes[i].rule.algorithm == MG_LIMIT_CONCURRENCY) {
            flight->keys[flight->count] = mg_arena_copy_str(&flight->arena, call->remotes[i].key);
            flight->names[flight->count++] = mg_limit_call_slot(&flight->arena, call, i);
        }
    }
    flight->call = NULL;
}

static void free_flight(struct mg_limit_flight *flight)
{
    mg_limit_store_release(flight->store);
    free(flight);
}

static void end_wait(void *context)
{
    struct mg_ffi_limit_call *call = context;
    call->is_waiting = false;
    if (call->flight) {
        leave_alone(call->flight);
        call->flight = NULL;
    } else {
        mg_redis_cancel(&call->command);
    }
}

/* With the request: it may have ended while the answer was waited for. */
static void on_request_end(void *context)
{
    struct mg_ffi_limit_call *call = context;
    if (call->is_waiting) {
        mg_sched_forget(call->limits->vm, call->ticket, call);
        end_wait(call);
    }
    mg_resp_reply_deinit(&call->reply);
    mg_limit_store_release(call->store);
}

static bool is_held(const struct mg_ffi_limit_call *call)
{
    for (unsigned i = 0; i < call->count; i++) {
        if (call->remotes[i].rule.algorithm == MG_LIMIT_CONCURRENCY) {
            return true;
        }
    }
    return false;
}

/* Hosts have come or gone. */
static void publish_again(struct mg_ffi_limits *limits)
{
    const uint32_t hosts = mg_limit_store_instances(limits->store);
    if (hosts != limits->hosts && (limits->async || limits->leases)) {
        limits->hosts = hosts;
        for (int i = 0; i < limits->count; i++) {
            mg_limits_publish(limits, &limits->entries[i]);
        }
    }
}

MG_FFI_EXPORT struct mg_ffi_limit_call *mg_ffi_limits_ask(struct mg_ffi_limits *limits,
                                                          struct mg_req *req)
{
    unsigned count = 0;
    for (int i = 0; i < limits->count; i++) {
        count += limits->entries[i].asked;
    }
    if (count == 0) {
        limits->ban_asked = false;
        return NULL;
    }
    struct mg_arena *arena = &req->arena;
    struct mg_ffi_limit_call *call = mg_arena_zalloc(arena, sizeof *call);
    call->limits = limits;
    call->req = req;
    call->store = mg_limit_store_hold(limits->store);
    call->asked = mg_arena_alloc(arena, count * sizeof *call->asked);
    call->remotes = mg_arena_alloc(arena, count * sizeof *call->remotes);
    mg_arena_defer(arena, on_request_end, call);
    for (int i = 0; i < limits->count; i++) {
        if (limits->entries[i].asked) {
            take_along(call, &limits->entries[i]);
        }
    }
    call->request.limits = call->remotes;
    call->request.count = count;
    call->request.count_denied = limits->count_denied;
    call->request.holder = is_held(call) ? mg_limit_store_name(call->store, arena) : MG_STR("-");
    call->request.hold_ttl_ms = mg_limit_store_hold_ttl_ms(call->store);
    take_ban_along(call);
    publish_again(limits);
    return call;
}

static void take_reply(struct mg_ffi_limit_call *call, enum mg_redis_result result,
                       struct mg_resp_reply *reply)
{
    call->result = result;
    call->is_waiting = false;
    call->is_unanswered = reply == NULL;
    if (reply) {
        mg_resp_reply_move(&call->reply, reply);
    }
    mg_sched_wake(call->limits->vm, call->ticket, 0); /* may end the request */
}

static void on_reply(struct mg_redis_command *command, enum mg_redis_result result,
                     struct mg_resp_reply *reply)
{
    take_reply(MG_CONTAINER(command, struct mg_ffi_limit_call, command), result, reply);
}

static void on_flight(struct mg_redis_command *command, enum mg_redis_result result,
                      struct mg_resp_reply *reply)
{
    struct mg_limit_flight *flight = MG_CONTAINER(command, struct mg_limit_flight, command);
    struct mg_ffi_limit_call *call = flight->call;
    for (unsigned i = 0; i < flight->count; i++) {
        if (result == MG_REDIS_OK) {
            mg_limit_store_drop(flight->store, flight->keys[i], flight->names[i]);
        } else if (!reply) {
            mg_limit_store_cancel(flight->store, flight->keys[i], flight->names[i]);
        }
    }
    if (!call) {
        mg_arena_deinit(&flight->arena);
    } else {
        call->flight = NULL;
    }
    free_flight(flight);
    if (call) {
        take_reply(call, result, reply);
    }
}

static enum mg_redis_result send_words(struct mg_ffi_limit_call *call,
                                       const struct mg_limit_words *words)
{
    if (!is_held(call)) {
        call->command.fn = on_reply;
        return mg_limit_store_send(call->store, &call->command, words);
    }
    struct mg_limit_flight *flight = calloc(1, sizeof *flight);
    mg_require(flight != NULL);
    flight->command.fn = on_flight;
    flight->call = call;
    flight->store = mg_limit_store_hold(call->store);
    const enum mg_redis_result result = mg_limit_store_send(call->store, &flight->command, words);
    if (result != MG_REDIS_OK) {
        free_flight(flight);
        return result;
    }
    call->flight = flight;
    return MG_REDIS_OK;
}

static struct mg_limit_async_ask async_ask(const struct mg_ffi_limit_call *call, unsigned i)
{
    const struct mg_limit_asked *asked = &call->asked[i];
    return (struct mg_limit_async_ask){.limit = (unsigned)(asked->entry - call->limits->entries),
                                       .keys = asked->async_keys,
                                       .remote = &call->remotes[i],
                                       .has_quota = asked->quota >= 0};
}

static bool decide_by_knowledge(struct mg_ffi_limit_call *call)
{
    struct mg_ffi_limits *limits = call->limits;
    const bool has_slots = is_held(call);
    struct mg_limit_async_ask asks[MG_LIMITS_AT_ONCE];
    for (unsigned i = 0; i < call->count; i++) {
        asks[i] = async_ask(call, i);
    }
    const struct mg_limit_async_ban ban = {.ban = call->has_ban ? &limits->ban : NULL,
                                           .key = call->request.ban_key,
                                           .cell = call->ban_key};
    const struct mg_limit_request request = {.worker = limits->vm->options.worker,
                                             .now_ms = mg_limits_now_ms(limits),
                                             .network = mg_limits_network_of(limits, call->req)};
    call->answers = mg_arena_zalloc(&call->req->arena, MG_LIMITS_AT_ONCE * sizeof *call->answers);
    call->is_decided = !has_slots && mg_limit_async_take(limits->async, &request, asks, call->count,
                                                         &ban, &call->verdict, call->answers);
    call->is_decided &= call->verdict.admitted || !limits->asks_before_denial;
    for (unsigned i = 0; !call->is_decided && i < call->count; i++) {
        if (call->remotes[i].rule.algorithm != MG_LIMIT_CONCURRENCY) {
            call->remotes[i].unsent =
                mg_limit_async_unsent(limits->async, &asks[i], request.now_ms);
        }
    }
    return call->is_decided;
}

static struct mg_limit_lease_request lease_request(const struct mg_ffi_limit_call *call)
{
    struct mg_ffi_limits *limits = call->limits;
    return (struct mg_limit_lease_request){
        .limits = call->remotes,
        .count = call->count,
        .ban = call->has_ban ? &limits->ban : NULL,
        .ban_key = call->request.ban_key,
        .ban_cell = call->ban_key,
        .network = call->has_ban ? mg_limits_network_of(limits, call->req) : 0};
}

static bool decide_by_leases(struct mg_ffi_limit_call *call)
{
    struct mg_ffi_limits *limits = call->limits;
    const struct mg_limit_lease_request request = lease_request(call);
    call->answers = mg_arena_zalloc(&call->req->arena, MG_LIMITS_AT_ONCE * sizeof *call->answers);
    call->is_decided = mg_limit_leases_take(limits->leases, &request, call->answers);
    call->verdict = (struct mg_limit_verdict){.admitted = true};
    return call->is_decided;
}

static void fill_leases_up(struct mg_ffi_limit_call *call)
{
    if (call->limits->leases) {
        const struct mg_limit_lease_request request = lease_request(call);
        mg_limit_leases_fill_up(call->limits->leases, &request);
    }
}

MG_FFI_EXPORT int mg_ffi_limits_send(struct mg_ffi_limit_call *call)
{
    const struct mg_ffi_limits *limits = call->limits;
    struct mg_limit_words words;
    if (call->ban_ms > 0 && !limits->ban.rule.extend) {
        return MG_EAGAIN;
    } else if (call->ban_ms == 0 && ((limits->async && decide_by_knowledge(call)) ||
                                     (limits->leases && decide_by_leases(call)))) {
        fill_leases_up(call);
        return MG_EAGAIN;
    }
    int err = mg_sched_begin(call->limits->vm, end_wait, call, &call->ticket);
    if (err) {
        call->result = MG_REDIS_OTHER;
        return err;
    }
    mg_limit_words_take(&call->req->arena, &call->request, &words);
    call->result = send_words(call, &words);
    if (call->result != MG_REDIS_OK) {
        mg_sched_forget(call->limits->vm, call->ticket, call);
        return MG_EAGAIN;
    }
    call->is_waiting = call->was_sent = true;
    fill_leases_up(call);
    return 0;
}

/* --- the answer ----------------------------------------------------------------------------- */

void mg_limit_call_restore(struct mg_ffi_limit_call *call, struct mg_limits_entry **entries)
{
    struct mg_ffi_limits *limits = call->limits;
    for (int i = 0; i < limits->count; i++) {
        limits->entries[i].answer.asked = 0;
    }
    for (unsigned i = 0; i < call->count; i++) {
        const struct mg_limit_asked *asked = &call->asked[i];
        struct mg_limits_entry *entry = asked->entry;
        entries[i] = entry;
        entry->answer.asked = 1;
        entry->key = asked->key;
        entry->cost = asked->cost;
        entry->quota = asked->quota;
        memcpy(entry->hash, asked->hash, sizeof entry->hash);
        entry->rule_of_request = call->remotes[i].rule;
        entry->key_in_store = call->remotes[i].key;
    }
}

static void count(const struct mg_ffi_limits *limits, enum mg_stat which, uint64_t n)
{
    if (limits->vm->options.stats) {
        mg_stats_add(limits->vm->options.stats, which, n);
    }
}

void mg_limits_take_part(struct mg_ffi_limits *limits)
{
    const uint32_t parts = mg_limit_store_instances(limits->store);
    if (parts != limits->parts) {
        limits->parts = parts;
        for (int i = 0; i < limits->count; i++) {
            struct mg_limits_entry *entry = &limits->entries[i];
            entry->limit.rule = mg_limit_part_rule(&entry->rule, parts);
        }
    }
}

void mg_limit_call_hold(struct mg_ffi_limit_call *call, unsigned i)
{
    struct mg_arena *arena = &call->req->arena;
    struct mg_limit_slot *slot = mg_arena_alloc(arena, sizeof *slot);
    mg_limit_slot_hold(call->store, slot, call->remotes[i].key, mg_limit_call_slot(arena, call, i),
                       call->was_sent);
    mg_arena_defer(arena, (void (*)(void *))mg_limit_slot_release, slot);
}

/* In case that the store fails while it is held. */
static void hold_here(struct mg_ffi_limit_call *call, unsigned i)
{
    struct mg_ffi_limits *limits = call->limits;
    const struct mg_limit_ask ask = {.limit = &call->asked[i].entry->limit,
                                     .key = call->asked[i].key,
                                     .cost = call->asked[i].cost,
                                     .has_quota = true,
                                     .quota = MG_LIMIT_QUOTA_MAX};
    const struct mg_limit_request request = {.worker = limits->vm->options.worker,
                                             .now_ms = mg_limits_now_ms(limits),
                                             .network = mg_limits_network_of(limits, call->req),
                                             .asks = &ask,
                                             .count = 1};
    struct mg_limit_answer answer;
    (void)mg_limits_take(limits->shm, &request, &answer);
    if (answer.hold != 0) {
        mg_limits_keep(limits, call->req, answer.hold);
    }
}

/* What there is to know here of what Redis has counted. */
static void learn(struct mg_ffi_limit_call *call, const struct mg_limit_found *found)
{
    struct mg_ffi_limits *limits = call->limits;
    const int64_t now_ms = mg_limits_now_ms(limits);
    const uint8_t network = mg_limits_network_of(limits, call->req);
    mg_limits_take_part(limits);
    for (unsigned i = 0; i < call->count; i++) {
        const bool holds = call->remotes[i].rule.algorithm == MG_LIMIT_CONCURRENCY;
        const struct mg_limit_elsewhere elsewhere = {.rule = &call->remotes[i].rule,
                                                     .parts = limits->parts,
                                                     .state = found->states[i],
                                                     .reset_ms = found->answers[i].reset_ms};
        if (limits->async && !holds) {
            const struct mg_limit_async_ask ask = async_ask(call, i);
            mg_limit_async_learn(limits->async, &ask, network, now_ms, found->states[i],
                                 found->answers[i].reset_ms);
        }
        if (!limits->learns) {
            continue;
        }
        if (holds && found->answers[i].charged) {
            hold_here(call, i);
        } else if (!holds) {
            (void)mg_limit_learn(limits->shm, &call->asked[i].entry->limit, call->asked[i].key,
                                 network, now_ms, &elsewhere);
        }
    }
}

static void learn_ban(struct mg_ffi_limit_call *call, const struct mg_limit_found *found)
{
    struct mg_ffi_limits *limits = call->limits;
    mg_limit_ban_learn(limits->shm, &limits->ban, call->ban_key,
                       mg_limits_network_of(limits, call->req), mg_limits_now_ms(limits),
                       found->verdict.ban_ms, found->bans_in_a_row);
}

/* What Redis has decided. */
static void take_found(struct mg_ffi_limit_call *call, const struct mg_limit_found *found)
{
    struct mg_ffi_limits *limits = call->limits;
    if (call->has_ban && (found->verdict.banned || found->verdict.ban_began)) {
        learn_ban(call, found);
    }
    if ((limits->learns || limits->async) && !found->verdict.banned) {
        learn(call, found);
    }
    for (unsigned i = 0; !found->verdict.banned && i < call->count; i++) {
        if (found->answers[i].charged && call->remotes[i].rule.algorithm == MG_LIMIT_CONCURRENCY) {
            mg_limit_call_hold(call, i);
        }
    }
    count(limits, MG_STAT_LIMIT_REPAIRED, (uint64_t)found->repaired);
}

/* What is left for this worker's requests. */
static void count_own_units(const struct mg_ffi_limit_call *call, struct mg_limit_found *found)
{
    for (unsigned i = 0; call->limits->leases && !found->verdict.banned && i < call->count; i++) {
        found->answers[i].remaining = mg_limit_leases_left(
            call->limits->leases, call->remotes[i].key, found->answers[i].remaining);
    }
}

/* Redis had no unit left because this worker has some: they came meanwhile. */
static bool is_denied_in_vain(struct mg_ffi_limit_call *call,
                              const struct mg_limit_verdict *verdict)
{
    const struct mg_ffi_limits *limits = call->limits;
    return limits->leases && !verdict->admitted && !call->has_ban && !limits->count_denied &&
           decide_by_leases(call);
}

MG_FFI_EXPORT const struct mg_ffi_limit_verdict *mg_ffi_limits_reply(struct mg_ffi_limit_call *call)
{
    struct mg_ffi_limits *limits = call->limits;
    struct mg_limits_entry *entries[MG_LIMITS_AT_ONCE];
    struct mg_limit_found found;
    mg_limit_call_restore(call, entries);
    limits->decided_in_store = true;
    limits->decided_by_knowledge = limits->async && call->is_decided;
    if (call->is_decided) {
        mg_limits_show(limits, call->req, &call->verdict, call->answers, entries, call->count);
        return &limits->verdict;
    }
    if (call->ban_ms > 0 && !limits->ban.rule.extend) {
        found.verdict = (struct mg_limit_verdict){.banned = true, .ban_ms = call->ban_ms};
    } else if (call->result != MG_REDIS_OK ||
               mg_limit_reply_read(&call->reply, &call->request, &found) != 0) {
        limits->decided_in_store = false;
        return NULL;
    } else {
        mg_limit_store_answered(call->store);
        take_found(call, &found);
        count_own_units(call, &found);
        if (is_denied_in_vain(call, &found.verdict)) {
            mg_limits_show(limits, call->req, &call->verdict, call->answers, entries, call->count);
            return &limits->verdict;
        }
    }
    mg_limits_show(limits, call->req, &found.verdict, found.answers, entries, call->count);
    return &limits->verdict;
}
