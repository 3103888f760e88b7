/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that is decided with a store (ffi.h, section policies): what it asks of a set of limits
 * and what came of it, in memory of the request. api_limit_store.c asks, api_limit_alone.c decides
 * where the store has failed.
 *
 * Includes ffi.h, so it is the last header of those files.
 */
#pragma once

#include "script/sched.h"

#include "script/api_limits.h"

/* One limit that is asked. */
struct mg_limit_asked {
    struct mg_limits_entry *entry;
    struct mg_cell_key key;
    int64_t cost, quota;
    char hash[MG_LIMIT_KEY_CHARS];
    struct mg_limit_async_keys async_keys;
};

struct mg_limit_flight;

struct mg_ffi_limit_call {
    struct mg_ffi_limits *limits;
    struct mg_req *req;
    struct mg_limit_store *store;
    struct mg_redis_command command;
    struct mg_limit_flight *flight; /* NULL: nothing can be held */
    enum mg_redis_result result;
    struct mg_resp_reply reply;
    struct mg_ticket ticket;
    bool is_waiting, was_sent;
    bool is_unanswered; /* who knows what Redis has done */
    int64_t ban_ms;     /* left of a ban that is known here; 0: none */
    struct mg_cell_key ban_key;
    bool has_ban;
    bool is_decided; /* by what this host knows */
    struct mg_limit_verdict verdict;
    struct mg_limit_answer *answers; /* in mode async */
    unsigned count;
    struct mg_limit_asked *asked;
    struct mg_limit_remote *remotes;
    struct mg_limit_remote_request request;
};

/* The set knows again what this request asked. */
void mg_limit_call_restore(struct mg_ffi_limit_call *call, struct mg_limits_entry **entries);
/* What the request holds of a concurrency limit, as Redis calls it. Memory of the arena. */
mg_str mg_limit_call_slot(struct mg_arena *arena, const struct mg_ffi_limit_call *call, unsigned i);
/* It holds that from now on, until its end. */
void mg_limit_call_hold(struct mg_ffi_limit_call *call, unsigned i);
/* The rules of the set become this host's part of them. */
void mg_limits_take_part(struct mg_ffi_limits *limits);
