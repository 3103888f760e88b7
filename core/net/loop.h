/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event loop of a worker: libuv's loop, the clock of the turn, the deadline lists with their single
 * timer, and the one read buffer that all connections share. Made after the fork.
 *
 *     struct mg_loop loop;
 *     mg_loop_open(&loop);
 *     mg_loop_run(&loop);        // until mg_loop_stop
 *     mg_loop_close(&loop);
 *
 * With a virtual clock (tests) mg_loop_run_virtual polls without waiting and, when nothing is left to
 * do, jumps to the next deadline.
 */
#pragma once

#include "base/clock.h"
#include "base/deadline.h"
#include "base/err.h"

#include <uv.h>

#define MG_READ_BYTES (256 * 1024) /* size of the shared read buffer */

struct mg_loop {
    uv_loop_t uv;
    struct mg_clock clock;
    struct mg_deadlines deadlines;
    uv_timer_t timer;     /* fires at deadlines.next_ms */
    uv_prepare_t prepare; /* before polling: before_poll, then the timer is set when it is late */
    uv_check_t check;     /* after polling: takes the time */
    char *read_buffer;    /* MG_READ_BYTES; valid within one read callback */
    uint64_t timer_ms;    /* what the timer is set to, MG_DEADLINE_NEVER = stopped */
    /* hooks of the owner (worker): heartbeat and per-turn flushes; may be NULL */
    void (*before_poll)(void *context);
    void (*after_poll)(void *context);
    void *context;
};

MG_NODISCARD int mg_loop_open(struct mg_loop *loop);
/* The same with a virtual clock standing at wall_ms. */
MG_NODISCARD int mg_loop_open_virtual(struct mg_loop *loop, int64_t wall_ms);
/* All handles of others must be closed or closing; runs the loop until they are gone. */
void mg_loop_close(struct mg_loop *loop);
void mg_loop_run(struct mg_loop *loop);
void mg_loop_stop(struct mg_loop *loop);
/* One pass without waiting: polls until there is nothing ready, fires due deadlines. Returns whether
 * anything happened. */
bool mg_loop_turn(struct mg_loop *loop);

static inline uint64_t mg_loop_now_ms(const struct mg_loop *loop)
{
    return mg_clock_ms(&loop->clock);
}
