/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long commands of a Redis take, by its name, as a histogram of the shared metrics: from the
 * hand-over to the reply, or until the request has stopped waiting for it.
 *
 *     mg_redis_timing_open(&timing, shm, worker, name);
 *     mg_redis_timing_observe(&timing, us);
 */
#pragma once

#include "base/shm_metrics.h"

struct mg_redis_timing {
    const struct mg_shm *shm; /* NULL: nobody watches */
    uint64_t *words;          /* of this worker */
    uint32_t metric, series;
};

/* Makes the metric, so that it is shown before there is a Redis; -1: there is no room for it. */
int mg_redis_timing_define(struct mg_shm *shm);
/* shm may be NULL. */
void mg_redis_timing_open(struct mg_redis_timing *timing, struct mg_shm *shm, uint32_t worker,
                          mg_str name);
void mg_redis_timing_observe(const struct mg_redis_timing *timing, uint64_t us);
