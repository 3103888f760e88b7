/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of limits of one entry of rate-limit, as its leaf functions share it: api_limit.c decides
 * in shared memory, api_limit_store.c in Redis. Keys, costs and answers here are those of the
 * request that is decided right now: one that waits for Redis takes them along. api_limit_open.c
 * makes what they need.
 *
 * Includes ffi.h, so it is the last header of those files.
 */
#pragma once

#include "model/limit_async.h"
#include "model/limit_lease.h"
#include "model/req.h"
#include "script/vm.h"

#include "script/ffi.h"

#define MG_LIMITS_KEY_BYTES 1024 /* six parts, and room */
#define MG_LIMITS_COUNTER_BYTES 256

struct mg_limits_entry {
    struct mg_limit limit;
    struct mg_limit_rule rule; /* as configured; limit's is this host's part of it, with a store */
    struct mg_cell_key key, former_key;
    bool asked; /* has a key for the coming decision */
    int64_t cost, quota;
    struct mg_limit_answer found;
    struct mg_ffi_limit_answer answer; /* the same, as Lua reads it */
    /* with a store */
    char counter[MG_LIMITS_COUNTER_BYTES]; /* SCOPE:LIMIT, or SCOPE:LIMIT:shadow */
    char hash[MG_LIMIT_KEY_CHARS];
    struct mg_limit_rule rule_of_request;
    mg_str key_in_store; /* memory of the request */
    struct mg_limit_async_keys async_keys;
};

/* The client's address in bytes, of the request that was looked at last. */
struct mg_limits_client {
    const struct mg_req *req;
    uint32_t number;
    mg_str ip;
    unsigned count; /* of bytes: 4, 16, or 0 for what is no address */
    uint8_t bytes[16];
};

struct mg_ffi_limits {
    struct mg_vm *vm;
    struct mg_shm *shm;
    int count;
    bool has_ban, ban_asked, count_denied;
    struct mg_limit_ban ban;
    struct mg_cell_key ban_key;
    struct mg_ffi_limit_verdict verdict;
    struct mg_limit_store *store;   /* NULL: counted here */
    struct mg_limit_async *async;   /* NULL: no request is decided before the store knows of it */
    struct mg_limit_leases *leases; /* NULL: nothing is charged there before it is needed */
    bool learns;                    /* a host decides alone where the store fails */
    bool decided_in_store;          /* the last decision, by it or in its stead */
    bool decided_by_knowledge;      /* of the store, which is told later */
    bool asks_before_denial;        /* what is known is not enough to deny */
    uint32_t parts;                 /* of which limits' rules are one */
    uint32_t hosts;                 /* of which the published numbers are */
    char ban_counter[MG_LIMITS_COUNTER_BYTES];
    char hash[MG_LIMIT_KEY_CHARS], ban_hash[MG_LIMIT_KEY_CHARS]; /* of the key that was made */
    struct mg_limits_client client;
    uint32_t delay; /* first word of the histogram of delays, plus 1; 0: there is none */
    size_t key_length;
    char key[MG_LIMITS_KEY_BYTES];
    struct mg_limits_entry entries[MG_LIMITS_AT_ONCE];
};

/* Makes the metrics of api_limit_count.c, so that they are shown from the start. */
void mg_limits_define(struct mg_ffi_limits *limits);
/* A ban has begun: counted with the first limit that denied. */
void mg_limits_count_ban(const struct mg_ffi_limits *limits, struct mg_limits_entry **entries,
                         unsigned count);
/* Publishes how many units of a limit may be admitted too much. */
void mg_limits_publish(const struct mg_ffi_limits *limits, const struct mg_limits_entry *entry);
int64_t mg_limits_now_ms(const struct mg_ffi_limits *limits);
/* Class of the client's network. */
uint8_t mg_limits_network_of(struct mg_ffi_limits *limits, const struct mg_req *req);
/* The slot of a concurrency limit is given back when the request ends. */
void mg_limits_keep(struct mg_ffi_limits *limits, struct mg_req *req, uint32_t hold);
/* Counts a decision of mg_limits_take_known, which stands in entry->found. */
void mg_limits_count_known(struct mg_ffi_limits *limits, const struct mg_limits_entry *entry);
/* Makes a decision the last one of the set, for Lua, and counts it. */
void mg_limits_show(struct mg_ffi_limits *limits, struct mg_req *req,
                    const struct mg_limit_verdict *verdict, const struct mg_limit_answer *answers,
                    struct mg_limits_entry **entries, unsigned count);
