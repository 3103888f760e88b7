/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units that are charged in Redis before they are needed, and spent without it (mode lease of
 * rate-limit). Each worker has leases of its own, one for each key that is asked more than once
 * within ttl_ms:
 *
 *     chunk = max(1, Q x permille / 1000 / workers), of a bucket at most its burst
 *
 * Where less than a quarter of it is left, or of its time, what is missing is charged in the
 * background; what is there is then as good as given back and charged again. What is left ttl_ms
 * after that is given back; what is left when a fixed window ends is of no more use. So nothing too
 * much is admitted in a fixed window, and elsewhere units count up to ttl_ms before they are spent.
 *
 *     struct mg_limit_leases *leases = mg_limit_leases_new(store, &options);
 *     if (!mg_limit_leases_take(leases, &request, answers)) ...      // ask Redis
 *     mg_limit_leases_release(leases);
 *
 * What a worker holds when it ends, or is not answered, counts as used.
 */
#pragma once

#include "model/limit_store.h"

struct mg_limit_leases;

struct mg_limit_lease_options {
    int64_t permille; /* 1 .. 500 */
    uint64_t ttl_ms;
    uint32_t workers;
};

/* One decision. */
struct mg_limit_lease_request {
    const struct mg_limit_remote *limits; /* rules, costs and names in Redis */
    unsigned count;
    const struct mg_limit_ban *ban; /* NULL: none */
    mg_str ban_key;                 /* in Redis */
    struct mg_cell_key ban_cell;    /* here */
    uint8_t network;
};

struct mg_limit_leases *mg_limit_leases_new(struct mg_limit_store *store,
                                            const struct mg_limit_lease_options *options);
struct mg_limit_leases *mg_limit_leases_hold(struct mg_limit_leases *leases);
void mg_limit_leases_release(struct mg_limit_leases *leases);

/* Can units of that limit be charged before they are needed? Not what requests hold or wait for. */
bool mg_limit_lease_is_for(const struct mg_limit_rule *rule);
/* Units that a worker may hold. */
int64_t mg_limit_lease_chunk(const struct mg_limit_lease_options *options,
                             const struct mg_limit_rule *rule);

/* Units that all hosts together may admit too much in an interval. */
int64_t mg_limit_leases_over_admit(const struct mg_limit_leases *leases,
                                   const struct mg_limit_rule *rule);

/* Spends the costs of all limits, or of none. False: one of them has not enough. Call fill_up after
 * that, behind what the request itself asks. */
bool mg_limit_leases_take(struct mg_limit_leases *leases,
                          const struct mg_limit_lease_request *request,
                          struct mg_limit_answer *answers);
/* Charges more where it is low, in the background. */
void mg_limit_leases_fill_up(struct mg_limit_leases *leases,
                             const struct mg_limit_lease_request *request);
/* What is left for this worker's requests: that in Redis, as it has just told, and the lease. */
int64_t mg_limit_leases_left(struct mg_limit_leases *leases, mg_str key, int64_t remaining);
/* Puts units that were charged there back into the key's lease; false: it has no room for them. */
bool mg_limit_leases_put(struct mg_limit_leases *leases, mg_str key, int64_t charged_in,
                         int64_t units);
