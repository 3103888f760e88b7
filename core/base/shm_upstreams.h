/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of upstreams and their targets in the shared region, found by their identity: what all
 * workers count of them, and each target's health. What the words mean is the affair of model/retry
 * and model/health. They live as long as the region, over reloads and deaths of workers.
 *
 *     const struct mg_upstream_opening opening = {.shm = shm, .generation = 3, .now_ms = now_ms};
 *     int at = mg_upstream_record_open(&opening, MG_STR("orders"));
 *     if (at >= 0) record = mg_upstream_record(shm, (uint32_t)at);
 *
 * A record that nobody has touched for an hour may be given to another upstream. Times are
 * monotonic milliseconds, which are the same in all processes of the host.
 */
#pragma once

#include "base/err.h"
#include "base/shm_records.h"
#include "base/str.h"

#include <stdbool.h>

struct mg_shm;

struct mg_upstream_opening {
    struct mg_shm *shm;
    uint64_t generation; /* that is being built */
    uint64_t now_ms;
};

/* Finds or makes the record of that name, cut to its place; its index, or MG_EFULL: there is no
 * room. */
int mg_upstream_record_open(const struct mg_upstream_opening *opening, mg_str name);
/* The same for a target "host:port" of the upstream with that record. */
int mg_target_record_open(const struct mg_upstream_opening *opening, uint32_t upstream,
                          mg_str name);
/* index: 0 .. mg_upstream_records - 1; NULL: nothing there. */
struct mg_upstream_record *mg_upstream_record(struct mg_shm *shm, uint32_t index);
struct mg_target_record *mg_target_record(struct mg_shm *shm, uint32_t index);
/* The index of a record, or -1: it does not stand there. */
int mg_upstream_record_index(const struct mg_shm *shm, const struct mg_upstream_record *record);
/* How many places there are, for each of the two. */
uint32_t mg_upstream_records(const struct mg_shm *shm);
/* Notes that it is in use; now and then is enough. */
void mg_upstream_touch(struct mg_upstream_head *head, uint64_t now_ms);

/*
 * One worker of the host runs the active health checks: who has the lease. True when it is the
 * worker's from now on for that long: it was free, over, or its own. It is given up by asking for 0
 * ms.
 */
bool mg_check_lease_take(struct mg_shm *shm, uint32_t worker, uint64_t now_ms, uint64_t ms);
