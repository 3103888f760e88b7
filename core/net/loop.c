/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. One turn:
 *
 *     flushes, before_poll  ->  poll  ->  watches, libuv when it has something: callbacks, the
 *     first one takes the time  ->  resumes  ->  due deadlines, after_poll  ->  ends
 *
 * Why not libuv's loop and its streams: a watch is a quarter of a uv_tcp_t, is told of an event
 * once (edge-triggered) instead of being polled again after it, and reads and writes without the
 * file layer. libuv's own descriptor is one member of our epoll instance, so it costs nothing while
 * it is silent (libuv calls this embedding).
 */
#include "net/loop.h"

#include "base/prefetch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH 1024       /* events of one poll */
#define MAX_PASSES 10000 /* of mg_loop_turn: two peers that talk for ever must not hang a test */

#define AHEAD 2         /* events between the asking for memory and its use */
#define WATCH_BYTES 144 /* of what a watch is the beginning of, as a rule a stream */

struct mg_loop_batch {
    struct epoll_event events[BATCH]; /* data.ptr: struct mg_watch, the loop for libuv, NULL gone */
};

/* --- watches ---------------------------------------------------------------------------------- */

static int control(const struct mg_loop *loop, int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    return epoll_ctl(loop->epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

int mg_loop_watch(struct mg_loop *loop, struct mg_watch *watch, int fd, uint32_t events)
{
    const int err = control(loop, EPOLL_CTL_ADD, fd, events, watch);
    if (err == 0) {
        watch->fd = fd;
        watch->place = 0;
        loop->watches++;
    }
    return err;
}

void mg_loop_rewatch(struct mg_loop *loop, struct mg_watch *watch, uint32_t events)
{
    mg_require(control(loop, EPOLL_CTL_MOD, watch->fd, events, watch) == 0);
}

/* Not left to close: a child process may have a duplicate until its exec (a plugin's io.popen while
 * it is loaded in the thread pool), and the kernel would go on telling of the file. */
void mg_loop_unwatch(struct mg_loop *loop, struct mg_watch *watch)
{
    (void)control(loop, EPOLL_CTL_DEL, watch->fd, 0, watch);
    if (watch->place > 0) {
        loop->batch->events[watch->place - 1].data.ptr = NULL;
        watch->place = 0;
    }
    watch->fd = -1;
    loop->watches--;
}

void mg_loop_close_watched(struct mg_loop *loop, struct mg_watch *watch)
{
    const int fd = watch->fd;
    mg_loop_unwatch(loop, watch);
    close(fd);
}

int mg_loop_fd(const struct mg_loop *loop)
{
    return loop->epoll;
}

/* --- the turn --------------------------------------------------------------------------------- */

/* What is added meanwhile stays for the next time. */
static void run_tasks(struct mg_link *list)
{
    struct mg_link mark;
    mg_link_init(&mark);
    mg_list_append(list, &mark);
    while (list->next != &mark) {
        struct mg_loop_task *task = MG_CONTAINER(list->next, struct mg_loop_task, link);
        mg_link_remove(&task->link);
        task->fn(task);
    }
    mg_link_remove(&mark);
}

static bool has_tasks(const struct mg_loop *loop)
{
    return !mg_list_empty(&loop->flushes) || !mg_list_empty(&loop->resumes) ||
           !mg_list_empty(&loop->ends);
}

/* Milliseconds; -1: for ever. libuv says 0 when it has handles to close or descriptors to add. */
static int patience(const struct mg_loop *loop, bool waits)
{
    const int uv_ms = uv_backend_timeout(&loop->uv);
    if (!waits || uv_ms == 0 || has_tasks(loop)) {
        return 0;
    }
    const uint64_t next_ms = loop->deadlines.next_ms;
    if (loop->clock.is_virtual || next_ms == MG_DEADLINE_NEVER) {
        return uv_ms;
    }
    const uint64_t now_ms = mg_clock_precise_us(&loop->clock) / 1000;
    const uint64_t most_ms = uv_ms < 0 ? INT_MAX : (uint64_t)uv_ms;
    const uint64_t delay_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    return (int)(delay_ms < most_ms ? delay_ms : most_ms);
}

/* Returns how many events the batch holds. All places are known before the first callback, which
 * may end other watches. */
static int poll_once(struct mg_loop *loop, bool waits)
{
    struct epoll_event *events = loop->batch->events;
    const int count = epoll_wait(loop->epoll, events, BATCH, patience(loop, waits));
    mg_require(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr != loop) {
            ((struct mg_watch *)events[i].data.ptr)->place = (uint32_t)i + 1;
        }
    }
    loop->is_crowded = count == BATCH;
    return count;
}

/* Of who comes after the next one; poll_once has asked for the beginnings. */
static void prefetch_watch(const struct mg_loop *loop, int at, int count)
{
    if (mg_loop_is_wide(loop) && at + AHEAD < count) {
        mg_prefetch(loop->batch->events[at + AHEAD].data.ptr, WATCH_BYTES);
    }
}

static void run_batch(struct mg_loop *loop, int count)
{
    bool uv_is_ready = false;
    for (int i = 0; i < count; i++) {
        const struct epoll_event *event = &loop->batch->events[i];
        struct mg_watch *watch = event->data.ptr;
        prefetch_watch(loop, i, count);
        if (event->data.ptr == loop) {
            uv_is_ready = true;
        } else if (watch) {
            watch->place = 0;
            watch->fn(watch, event->events);
        }
    }
    if (uv_is_ready || uv_backend_timeout(&loop->uv) >= 0) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
}

static void run_deadlines(struct mg_loop *loop)
{
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
}

void mg_loop_step(struct mg_loop *loop, bool waits)
{
    while (!mg_list_empty(&loop->flushes)) {
        run_tasks(&loop->flushes);
    }
    if (loop->before_poll) {
        loop->before_poll(loop->context);
    }
    loop->turn++;
    loop->events_before = loop->events;
    loop->awake = false;
    run_batch(loop, poll_once(loop, waits));
    run_tasks(&loop->resumes);
    run_deadlines(loop);
    if (loop->after_poll) {
        loop->after_poll(loop->context);
    }
    run_tasks(&loop->ends);
}

void mg_loop_run(struct mg_loop *loop)
{
    while (!loop->is_stopped) {
        mg_loop_step(loop, true);
    }
    loop->is_stopped = false;
}

void mg_loop_stop(struct mg_loop *loop)
{
    loop->is_stopped = true;
}

bool mg_loop_turn(struct mg_loop *loop)
{
    const uint64_t before = loop->events;
    for (int pass = 0; pass < MAX_PASSES; pass++) {
        const uint64_t seen = loop->events;
        mg_loop_step(loop, false);
        if (loop->events == seen) {
            break;
        }
    }
    return loop->events != before;
}

/* --- life ------------------------------------------------------------------------------------- */

/* The clock and the deadlines are set up by the caller. */
static int open_handles(struct mg_loop *loop)
{
    mg_link_init(&loop->closers);
    mg_link_init(&loop->flushes);
    mg_link_init(&loop->resumes);
    mg_link_init(&loop->ends);
    signal(SIGPIPE, SIG_IGN);
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        return -errno;
    }
    int err = uv_loop_init(&loop->uv);
    if (err) {
        close(loop->epoll);
        return err;
    }
    err = control(loop, EPOLL_CTL_ADD, uv_backend_fd(&loop->uv), EPOLLIN, loop);
    if (err) {
        uv_loop_close(&loop->uv);
        close(loop->epoll);
        return err;
    }
    mg_require(uv_async_init(&loop->uv, &loop->anchor, NULL) == 0);
    loop->read_buffer = malloc(MG_READ_BYTES);
    loop->batch = malloc(sizeof *loop->batch);
    mg_require(loop->read_buffer != NULL && loop->batch != NULL);
    return 0;
}

int mg_loop_open(struct mg_loop *loop)
{
    *loop = (struct mg_loop){.awake = true};
    mg_clock_init(&loop->clock);
    mg_deadlines_init(&loop->deadlines);
    return open_handles(loop);
}

int mg_loop_open_virtual(struct mg_loop *loop, int64_t wall_ms)
{
    *loop = (struct mg_loop){.awake = true};
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
    uv_close((uv_handle_t *)&loop->anchor, NULL);
    uv_walk(&loop->uv, require_closing, NULL);
    mg_require(loop->watches == 0);
    do {
        uv_run(&loop->uv, UV_RUN_DEFAULT);
        run_tasks(&loop->ends);
    } while (!mg_list_empty(&loop->ends) || uv_loop_close(&loop->uv) == UV_EBUSY);
    mg_deadlines_deinit(&loop->deadlines);
    close(loop->epoll);
    mg_pipes_deinit(&loop->pipes);
    free(loop->batch);
    free(loop->read_buffer);
    loop->read_buffer = NULL;
}
