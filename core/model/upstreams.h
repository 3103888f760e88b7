/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the upstreams and their targets, of all workers together, for people and
 * metrics. Reading it stops nobody.
 *
 *     struct mg_upstream_view upstream;
 *     struct mg_target_view target;
 *     for (uint32_t i = 0; i < mg_upstream_records(shm); i++) {
 *         if (mg_upstream_view(shm, i, generation, now_ms, &upstream)) ...
 *         if (mg_target_view(shm, i, generation, now_ms, &target)) ...   // of another one
 *     }
 *
 * An upstream's name is that of the entity, or "host:port" of a service without one; targets are
 * known of entities only. now_ms is monotonic (mg_loop_now_ms). generation: the one that serves;
 * what only older ones had is left out.
 */
#pragma once

#include "model/health.h"
#include "model/retry.h"

struct mg_upstream_view {
    char name[MG_UPSTREAM_NAME];
    uint64_t requests;                    /* that were tried at all */
    uint64_t retries[MG_RETRY_RESULTS];   /* by enum mg_retry_result */
    uint64_t retry_budget;                /* tokens left, in thousandths */
    uint64_t ejections[MG_EJECT_REASONS]; /* by enum mg_eject_reason */
    uint64_t full[MG_FULL_LIMITS];        /* refused requests, by enum mg_full_limit */
};

struct mg_target_view {
    char upstream[MG_UPSTREAM_NAME];
    char name[MG_UPSTREAM_NAME]; /* "host:port" */
    uint32_t upstream_index;     /* of mg_upstream_view */
    uint32_t weight;
    enum mg_health_state state;
    uint64_t left_ms; /* EJECTED, RAMP: until it is over */
    uint64_t ejected; /* times it was taken out */
    uint64_t checks_ok, checks_failed;
};

/* index: 0 .. mg_upstream_records - 1; false: there is none. */
bool mg_upstream_view(struct mg_shm *shm, uint32_t index, uint64_t generation, uint64_t now_ms,
                      struct mg_upstream_view *view);
bool mg_target_view(struct mg_shm *shm, uint32_t index, uint64_t generation, uint64_t now_ms,
                    struct mg_target_view *view);
