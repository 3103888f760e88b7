/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the requests of one worker in the metrics of the shared region (base/shm_metrics): by
 * route, and by upstream. Called once a request, when it has ended; it costs a few dozen
 * instructions, since routes and services remember where their words are.
 *
 *     struct mg_meter *meter = mg_meter_new(shm, worker);
 *     mg_meter_count(meter, req);
 *     mg_meter_free(meter);
 */
#pragma once

#include "base/shm.h"
#include "model/req.h"

struct mg_meter;

/* Opens the metrics, which are there from now on. Never NULL. */
struct mg_meter *mg_meter_new(struct mg_shm *shm, uint32_t worker);
void mg_meter_free(struct mg_meter *meter);
/* A request has ended: its outcome, times, bytes and tries are known. */
void mg_meter_count(struct mg_meter *meter, struct mg_req *req);
/* The master: so many requests were under way in a worker that has died. Nothing is known of them.
 */
void mg_meter_lost(struct mg_shm *shm, uint64_t requests);
