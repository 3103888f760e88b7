/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One event loop of a worker: its own epoll instance for listeners and streams, libuv's loop behind
 * it for all else (thread pool, signals, c-ares), the clock of the turn, the deadline lists, and
 * the one read buffer that all connections share. Made after the fork.
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
#include "net/pipe.h"

#include <sys/epoll.h>
#include <uv.h>

#define MG_READ_BYTES (256 * 1024) /* size of the shared read buffer */

struct mg_loop_batch; /* what one poll tells */

#define MG_LOOP_WIDE 256 /* watches, about 4 KB each of ours */

struct mg_loop {
    uv_loop_t uv;
    uv_async_t anchor; /* without any handle libuv would not wait */
    struct mg_clock clock;
    struct mg_deadlines deadlines;
    struct mg_loop_batch *batch;
    int epoll;              /* holds libuv's descriptor too */
    uint32_t watches;       /* in epoll, libuv aside */
    char *read_buffer;      /* MG_READ_BYTES; valid within one read callback */
    struct mg_pipes pipes;  /* for mg_io_splice */
    uint64_t turn;          /* counts polls */
    uint64_t events;        /* counts callbacks, see mg_loop_wake */
    uint64_t events_before; /* this turn */
    bool awake;             /* the time of this turn has been taken */
    bool is_crowded;        /* more may be ready in this turn than its poll told of */
    bool is_stopped;
    struct mg_link closers; /* struct mg_loop_closer: what mg_loop_close has to end itself */
    struct mg_link flushes; /* struct mg_loop_task: what is to be done before the next poll */
    struct mg_link resumes; /* the same: after the next poll, which does not wait */
    struct mg_link ends;    /* the same: at the end of this turn */
    /* hooks of the owner (worker): heartbeat and per-turn flushes; may be NULL */
    void (*before_poll)(void *context);
    void (*after_poll)(void *context);
    void *context;
    /* Heartbeat: set to 0 when polling has ended (by the first callback), to 1 by the owner in
     * before_poll; may be NULL. */
    uint32_t *waiting;
};

/* A descriptor in epoll. */
struct mg_watch {
    void (*fn)(struct mg_watch *watch, uint32_t events); /* EPOLLIN and so on */
    int fd;
    uint32_t place; /* in the batch, from 1; 0: the last poll told nothing, or fn has been told */
};

/* Something that ends by itself later (a lingering stream): told to end at once by
 * mg_loop_close. */
struct mg_loop_closer {
    struct mg_link link;
    void (*fn)(struct mg_loop_closer *closer); /* unlinked before it runs */
};

/* Something to be done once and later; in one of the lists at a time. */
struct mg_loop_task {
    struct mg_link link;
    void (*fn)(struct mg_loop_task *task); /* unlinked before it runs; may close handles */
};

/* Ignores SIGPIPE for the process: log files may be pipes, whose writes have no MSG_NOSIGNAL. */
MG_NODISCARD int mg_loop_open(struct mg_loop *loop);
/* The same with a virtual clock standing at wall_ms. */
MG_NODISCARD int mg_loop_open_virtual(struct mg_loop *loop, int64_t wall_ms);
/* All handles of others must be closed or closing (a bug otherwise); runs the loop until they are
 * gone. Deadlines still armed are dropped. */
void mg_loop_close(struct mg_loop *loop);
void mg_loop_run(struct mg_loop *loop);
void mg_loop_stop(struct mg_loop *loop);
/* One turn; not from inside of one. waits: until there is an event or, with a real clock, a
 * deadline. */
void mg_loop_step(struct mg_loop *loop, bool waits);
/* Without waiting: polls until there is nothing ready, fires due deadlines. Returns whether
 * anything happened. Callbacks count that called mg_loop_wake. */
bool mg_loop_turn(struct mg_loop *loop);
/* A descriptor that can be polled when mg_loop_turn has returned false. */
int mg_loop_fd(const struct mg_loop *loop);

/* Tells watch->fn of these events from the next poll on (with EPOLLET: of their beginnings). Each
 * fd once. 0 or a negative code: the kernel has no room for it. */
MG_NODISCARD int mg_loop_watch(struct mg_loop *loop, struct mg_watch *watch, int fd,
                               uint32_t events);
/* Other events; what is ready is told anew. */
void mg_loop_rewatch(struct mg_loop *loop, struct mg_watch *watch, uint32_t events);
/* Nothing is told any more, not even what the last poll found. Before the fd is closed. */
void mg_loop_unwatch(struct mg_loop *loop, struct mg_watch *watch);
/* The same, and closes the fd. */
void mg_loop_close_watched(struct mg_loop *loop, struct mg_watch *watch);

static inline void mg_loop_add_task(struct mg_link *list, struct mg_loop_task *task)
{
    if (mg_list_empty(&task->link)) {
        mg_list_append(list, &task->link);
    }
}

/* task->fn runs once, before the next poll; asking again meanwhile does nothing. For what gathers
 * during a turn (commands that leave in one write). Taken back with mg_link_remove(&task->link). */
static inline void mg_loop_flush_later(struct mg_loop *loop, struct mg_loop_task *task)
{
    mg_loop_add_task(&loop->flushes, task);
}

/* The same after the next poll and its events: for who has let others pass. */
static inline void mg_loop_resume_later(struct mg_loop *loop, struct mg_loop_task *task)
{
    mg_loop_add_task(&loop->resumes, task);
}

/* The same at the end of this turn, when nobody on the stack uses the object any more. */
static inline void mg_loop_end_later(struct mg_loop *loop, struct mg_loop_task *task)
{
    mg_loop_add_task(&loop->ends, task);
}

/* The first statement of every callback: takes the time once after polling. */
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

/* Whether something may have happened before the last poll that it did not tell of: it told of as
 * much as one poll can. */
static inline bool mg_loop_hides_events(const struct mg_loop *loop)
{
    return loop->is_crowded;
}

/* Whether so many descriptors are watched that what belongs to one has left the processor's caches
 * when its next event comes (base/prefetch.h). */
static inline bool mg_loop_is_wide(const struct mg_loop *loop)
{
    return loop->watches >= MG_LOOP_WIDE;
}

/* Callbacks since the last poll. */
static inline uint64_t mg_loop_events_of_turn(const struct mg_loop *loop)
{
    return loop->events - loop->events_before;
}

static inline uint64_t mg_loop_now_ms(const struct mg_loop *loop)
{
    return mg_clock_ms(&loop->clock);
}
