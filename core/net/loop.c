/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. One turn:
 *
 *     prepare: flushes, before_poll, set the timer if it is late  ->  poll: callbacks, the first
 *     one takes the time  ->  check: due deadlines, after_poll  ->  close callbacks
 *
 * The one uv timer only ends the wait; deadlines always run from check. It is moved only when it
 * would fire too late: arming and cancelling deadlines all day then costs one spurious wake-up, not
 * a heap operation each.
 */
#include "net/loop.h"

#include <signal.h>
#include <stdlib.h>

#define BATCH 1024       /* events that libuv takes from one poll */
#define MAX_PASSES 10000 /* of mg_loop_turn: two peers that talk for ever must not hang a test */

static void on_timer(uv_timer_t *timer)
{
    struct mg_loop *loop = MG_CONTAINER(timer, struct mg_loop, timer);
    loop->timer_ms = MG_DEADLINE_NEVER;
}

/* libuv's time and ours are the same monotonic clock, so they compare directly. */
static void set_timer(struct mg_loop *loop)
{
    const uint64_t next_ms = loop->deadlines.next_ms;
    if (loop->clock.is_virtual || next_ms >= loop->timer_ms) {
        return;
    }
    const uint64_t uv_ms = uv_now(&loop->uv);
    const uint64_t delay_ms = next_ms > uv_ms ? next_ms - uv_ms : 0;
    mg_require(uv_timer_start(&loop->timer, on_timer, delay_ms, 0) == 0);
    loop->timer_ms = next_ms;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct mg_loop *loop = MG_CONTAINER(prepare, struct mg_loop, prepare);
    while (!mg_list_empty(&loop->flushes)) {
        struct mg_loop_flush *flush = MG_CONTAINER(loop->flushes.next, struct mg_loop_flush, link);
        mg_link_remove(&flush->link);
        flush->fn(flush);
    }
    if (loop->before_poll) {
        loop->before_poll(loop->context);
    }
    set_timer(loop);
    loop->turn++;
    loop->events_before = loop->events;
    loop->awake = false;
    loop->is_crowded = loop->uv.nfds >= BATCH;
}

static void on_check(uv_check_t *check)
{
    struct mg_loop *loop = MG_CONTAINER(check, struct mg_loop, check);
    const uint64_t events = loop->events;
    mg_loop_wake(loop);
    loop->events = events; /* an empty poll: the time is taken, but no event is counted */
    const uint64_t now_ms = mg_loop_now_ms(loop);
    if (loop->deadlines.next_ms <= now_ms) {
        if (mg_deadlines_next(&loop->deadlines) <= now_ms) {
            loop->events++;
        }
        mg_deadlines_run(&loop->deadlines, now_ms);
    }
    if (loop->after_poll) {
        loop->after_poll(loop->context);
    }
}

/* While libuv up to 1.44 hands out events, their number stands behind its list of watchers, where
 * it is kept for handles that are closed meanwhile. At any other time, and for later versions, it
 * is taken as unknown. */
bool mg_loop_hides_events(const struct mg_loop *loop)
{
    if (!loop->is_crowded) {
        return false;
    }
    const uintptr_t events =
        loop->knows_batch ? (uintptr_t)loop->uv.watchers[loop->uv.nwatchers + 1] : 0;
    return events == 0 || events >= BATCH;
}

/* The clock and the deadlines are set up by the caller. */
static int open_handles(struct mg_loop *loop)
{
    const int err = uv_loop_init(&loop->uv);
    if (err) {
        return err;
    }
    loop->knows_batch = uv_version() < 0x012d00;
    loop->read_buffer = malloc(MG_READ_BYTES);
    mg_require(loop->read_buffer != NULL);
    signal(SIGPIPE, SIG_IGN);
    mg_require(uv_timer_init(&loop->uv, &loop->timer) == 0);
    mg_require(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    mg_require(uv_check_init(&loop->uv, &loop->check) == 0);
    mg_require(uv_prepare_start(&loop->prepare, on_prepare) == 0);
    mg_require(uv_check_start(&loop->check, on_check) == 0);
    return 0;
}

int mg_loop_open(struct mg_loop *loop)
{
    *loop = (struct mg_loop){.timer_ms = MG_DEADLINE_NEVER, .awake = true};
    mg_link_init(&loop->closers);
    mg_link_init(&loop->flushes);
    mg_clock_init(&loop->clock);
    mg_deadlines_init(&loop->deadlines);
    return open_handles(loop);
}

int mg_loop_open_virtual(struct mg_loop *loop, int64_t wall_ms)
{
    *loop = (struct mg_loop){.timer_ms = MG_DEADLINE_NEVER, .awake = true};
    mg_link_init(&loop->closers);
    mg_link_init(&loop->flushes);
    mg_clock_init_virtual(&loop->clock, wall_ms);
    mg_deadlines_init(&loop->deadlines);
    return open_handles(loop);
}

static void require_closing(uv_handle_t *handle, void *context)
{
    (void)context;
    mg_require(uv_is_closing(handle));
}

void mg_loop_close(struct mg_loop *loop)
{
    while (!mg_list_empty(&loop->closers)) {
        struct mg_loop_closer *closer =
            MG_CONTAINER(loop->closers.next, struct mg_loop_closer, link);
        mg_link_remove(&closer->link);
        closer->fn(closer);
    }
    uv_close((uv_handle_t *)&loop->timer, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_walk(&loop->uv, require_closing, NULL);
    while (uv_loop_close(&loop->uv) == UV_EBUSY) { /* again if somebody had called uv_stop */
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    mg_deadlines_deinit(&loop->deadlines);
    free(loop->read_buffer);
    loop->read_buffer = NULL;
}

void mg_loop_run(struct mg_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void mg_loop_stop(struct mg_loop *loop)
{
    uv_stop(&loop->uv);
}

bool mg_loop_turn(struct mg_loop *loop)
{
    const uint64_t before = loop->events;
    for (int pass = 0; pass < MAX_PASSES; pass++) {
        const uint64_t seen = loop->events;
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        if (loop->events == seen) {
            break;
        }
    }
    return loop->events != before;
}
