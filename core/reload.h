/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking over a changed configuration, told in steps; each ends in the next or in "refused", and
 * then nothing has changed:
 *
 *   CHECK    a forked checker loads everything
 *   SETTLE   wait until no worker is just starting
 *   BUILD    every worker builds generation N+1 beside N and says so, with the same digest
 *   SWITCH   all were told to serve it; the run ends when all do
 *
 * master.c calls in with what it sees; the end of a run answers the control clients that await it.
 */
#pragma once

#include "channel.h"
#include "master_state.h"

void mg_reload_init(struct mg_reload *reload);
void mg_reload_deinit(struct mg_reload *reload);

/* Starts a run, or marks that another is to follow the present one. Returns the number of the run
 * whose result tells about files as they are now. */
uint64_t mg_reload_ask(struct mg_master *master, uint64_t now_ms);
/* The checker's channel is readable, a worker has become ready, time has passed. */
void mg_reload_step(struct mg_master *master, uint64_t now_ms);
/* BUILT, FAILED (with its text in fd, which stays the caller's) or SWITCHED from the seat's
 * worker. */
void mg_reload_heard(struct mg_master *master, uint32_t index,
                     const struct mg_channel_message *message, int fd, uint64_t now_ms);
/* The worker of the seat has died (its seat is empty). */
void mg_reload_worker_died(struct mg_master *master, uint32_t index, uint64_t now_ms);
/* Gives up the run: the gateway is to end. */
void mg_reload_cancel(struct mg_master *master, const char *reason, uint64_t now_ms);

/* Why the plan cannot be taken over from the present one without a restart: appends a sentence for
 * each reason; true when there is none. */
bool mg_reload_is_possible(const struct mg_master *master, const struct mg_plan *plan,
                           struct mg_buf *reasons);
