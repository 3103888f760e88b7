/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that a host decides by what it knows, telling Redis afterwards (mode async of rate-limit).
 * A host decides by the last known total and its own units; those that Redis has not confirmed are
 * at most m for a key and host, so that n hosts admit fewer than n x m units too many:
 *
 *     m = max(1, Q x over_admit_permille / 1000 / n)
 *
 * Of each limit there are two more in shared memory: `whole` is what is known with the own units,
 * `unsent` counts what is not confirmed, in the ledger of the worker that has it.
 *
 *     struct mg_limit_async *async = mg_limit_async_new(store, &options);
 *     int err = mg_limit_async_add(async, &limit, identity, now_ms);      // for each limit, in
 *     order mg_limit_async_keys(async, 0, key, now_ms, &ask.keys);
 *     if (!mg_limit_async_take(async, &request, &ask, 1, &verdict, &answer)) ...  // ask Redis
 *     first mg_limit_async_release(async);
 *
 * Units are sent every interval, and again where they are not confirmed. It stays until all are.
 */
#pragma once

#include "model/limit_store.h"

struct mg_limit_async;

struct mg_limit_async_options {
    uint64_t interval_ms;
    int64_t over_admit_permille; /* 1 .. 500 */
    uint32_t worker;
};

struct mg_limit_async_keys {
    struct mg_cell_key whole, former, unsent;
};

struct mg_limit_async_ask {
    unsigned limit; /* index */
    struct mg_limit_async_keys keys;
    const struct mg_limit_remote *remote; /* rule, cost and name in Redis */
    bool has_quota;                       /* the rule is not the configured one */
};

/* What tells of a ban of the key that began at another host, where there is one. */
struct mg_limit_async_ban {
    const struct mg_limit_ban *ban; /* NULL: none */
    mg_str key;                     /* in Redis */
    struct mg_cell_key cell;        /* here */
};

struct mg_limit_async *mg_limit_async_new(struct mg_limit_store *store,
                                          const struct mg_limit_async_options *options);
struct mg_limit_async *mg_limit_async_hold(struct mg_limit_async *async);
void mg_limit_async_release(struct mg_limit_async *async);

/* limit: open, with its configured rule. As mg_limit_open. Of concurrency Redis is always asked:
 * none of the functions below is called for it. */
MG_NODISCARD int mg_limit_async_add(struct mg_limit_async *async, const struct mg_limit *limit,
                                    mg_str identity, int64_t now_ms);
void mg_limit_async_keys(struct mg_limit_async *async, unsigned limit, mg_str key, int64_t now_ms,
                         struct mg_limit_async_keys *keys);

/* Decides, and charges all limits or none. False: too much is not confirmed, nothing is decided.
 * Of the request: worker, time and network. A caller that
 * asks Redis in place of a denial may do so: nothing was charged then. */
bool mg_limit_async_take(struct mg_limit_async *async, const struct mg_limit_request *request,
                         const struct mg_limit_async_ask *asks, unsigned count,
                         const struct mg_limit_async_ban *ban, struct mg_limit_verdict *verdict,
                         struct mg_limit_answer *answers);
/* Adds units to a charge, negative: gives back. in_store: Redis has decided on it and is told by
 * the caller; else it is told with the next units. False: it no longer counts. */
bool mg_limit_async_correct(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                            uint8_t network, const struct mg_limit_answer *answer, bool in_store,
                            int64_t units);
/* Units that all hosts together may admit too much: fewer than these. */
int64_t mg_limit_async_over_admit(const struct mg_limit_async *async,
                                  const struct mg_limit_rule *rule);
/* What this host has admitted of the key and Redis has not confirmed. */
int64_t mg_limit_async_unsent(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                              int64_t now_ms);
/* Redis has counted to that state. */
void mg_limit_async_learn(struct mg_limit_async *async, const struct mg_limit_async_ask *ask,
                          uint8_t network, int64_t now_ms, const int64_t *state, int64_t reset_ms);
