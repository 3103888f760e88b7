/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event loop of a worker: libuv's loop, the clock of the turn, the deadline lists with their
 * single timer, and the one read buffer that all connections share. Made after the fork.
 *
 *     struct mg_loop loop;
 *     mg_loop_open(&loop);
 *     mg_loop_run(&loop);        // until mg_loop_stop
 *     mg_loop_close(&loop);
 *
 * With a virtual clock (tests) nothing waits: mg_loop_turn does what is ready, and when it returns
 * false the caller jumps to the next deadline:
 *
 *     while (!done) {
 *         if (!mg_loop_turn(&loop)) {
 *             mg_clock_advance(&loop.clock, 1000 * (mg_deadlines_next(&loop.deadlines) -
 *                                                   mg_loop_now_ms(&loop)));
 *         }
 *     }
 */
#pragma once

#include "base/clock.h"
#include "base/deadline.h"
#include "base/err.h"
#include "base/list.h"

#include <uv.h>

#define MG_READ_BYTES (256 * 1024) /* size of the shared read buffer */

struct mg_loop {
    uv_loop_t uv;
    struct mg_clock clock;
    struct mg_deadlines deadlines;
    uv_timer_t timer;       /* fires at deadlines.next_ms */
    uv_prepare_t prepare;   /* before polling: before_poll, then the timer is set when it is late */
    uv_check_t check;       /* after polling: due deadlines, after_poll */
    char *read_buffer;      /* MG_READ_BYTES; valid within one read callback */
    uint64_t timer_ms;      /* what the timer is set to, MG_DEADLINE_NEVER = stopped */
    uint64_t turn;          /* counts polls, but for the further ones of mg_loop_hides_events */
    uint64_t events;        /* counts callbacks, see mg_loop_wake */
    uint64_t events_before; /* this turn */
    bool awake;             /* the time of this turn has been taken */
    bool is_crowded;        /* more may be ready in this turn than one poll tells of */
    bool knows_batch;       /* libuv shows how many events the poll told of */
    struct mg_link closers; /* struct mg_loop_closer: what mg_loop_close has to end itself */
    struct mg_link flushes; /* struct mg_loop_flush: what is to be done before the next poll */
    /* hooks of the owner (worker): heartbeat and per-turn flushes; may be NULL */
    void (*before_poll)(void *context);
    void (*after_poll)(void *context);
    void *context;
    /* Heartbeat: set to 0 when polling has ended (by the first callback), to 1 by the owner in
     * before_poll; may be NULL. */
    uint32_t *waiting;
};

/* Something that ends by itself later (a lingering stream): told to end at once by
 * mg_loop_close. */
struct mg_loop_closer {
    struct mg_link link;
    void (*fn)(struct mg_loop_closer *closer); /* unlinked before it runs */
};

/* Something that gathers during a turn and is handed on once, before the next poll (commands that
 * leave in one write). */
struct mg_loop_flush {
    struct mg_link link;
    void (*fn)(struct mg_loop_flush *flush); /* unlinked before it runs; may close handles */
};

/* Ignores SIGPIPE for the process (libuv writes without MSG_NOSIGNAL). */
MG_NODISCARD int mg_loop_open(struct mg_loop *loop);
/* The same with a virtual clock standing at wall_ms. */
MG_NODISCARD int mg_loop_open_virtual(struct mg_loop *loop, int64_t wall_ms);
/* All handles of others must be closed or closing (a bug otherwise); runs the loop until they are
 * gone. Deadlines still armed are dropped. */
void mg_loop_close(struct mg_loop *loop);
void mg_loop_run(struct mg_loop *loop);
void mg_loop_stop(struct mg_loop *loop);
/* Without waiting: polls until there is nothing ready, fires due deadlines. Returns whether
 * anything happened. Callbacks count that called mg_loop_wake. */
bool mg_loop_turn(struct mg_loop *loop);
/* flush->fn runs once, before the next poll; asking again meanwhile does nothing. Taken back with
 * mg_link_remove(&flush->link). */
static inline void mg_loop_flush_later(struct mg_loop *loop, struct mg_loop_flush *flush)
{
    if (mg_list_empty(&flush->link)) {
        mg_list_append(&loop->flushes, &flush->link);
    }
}

/* The first statement of every libuv callback: takes the time once after polling (libuv's check
 * handles run only after the events, so they would see the time of before the wait). */
static inline void mg_loop_wake(struct mg_loop *loop)
{
    loop->events++;
    if (!loop->awake) {
        loop->awake = true;
        mg_clock_update(&loop->clock);
        if (loop->waiting) {
            *(volatile uint32_t *)loop->waiting = 0;
        }
    }
}

/* Whether something may have happened before the last poll that it did not tell of: 1024 events or
 * more were ready, and libuv takes 1024 at a time. What is ready behind them is told of by a
 * further poll in the same turn, or by one of the next. */
bool mg_loop_hides_events(const struct mg_loop *loop);

/* Callbacks since the last poll. */
static inline uint64_t mg_loop_events_of_turn(const struct mg_loop *loop)
{
    return loop->events - loop->events_before;
}

static inline uint64_t mg_loop_now_ms(const struct mg_loop *loop)
{
    return mg_clock_ms(&loop->clock);
}
