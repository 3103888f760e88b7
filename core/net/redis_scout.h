/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for a change in the map of a cluster whose breaker is open: a master that hands over is
 * silent for some ten milliseconds, which opens the breaker where many ask, and its successor is
 * worth an early probe. Asks one master after the other, ten times a second for two seconds.
 *
 *     scout = mg_redis_scout_new(&connect, slots, on_change, self);
 *     mg_redis_scout_start(scout);      // on_change fires at most once
 *     mg_redis_scout_free(scout);
 */
#pragma once

#include "net/redis_connection.h"
#include "net/redis_slots.h"

struct mg_redis_scout;

/* Slots have other masters now. May free the scout. */
typedef void mg_redis_scout_fn(void *context);

/* connect: of all connections; host and port are the masters'. known (borrowed): the map. */
struct mg_redis_scout *mg_redis_scout_new(const struct mg_redis_connection_options *connect,
                                          const struct mg_redis_slots *known, mg_redis_scout_fn *fn,
                                          void *context);
/* Anew, if it is under way. known stays as it is until the end or the stop. */
void mg_redis_scout_start(struct mg_redis_scout *scout);
void mg_redis_scout_stop(struct mg_redis_scout *scout);
void mg_redis_scout_free(struct mg_redis_scout *scout);
