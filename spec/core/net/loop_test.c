/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: deadlines on the real clock and on the virtual one, watches, tasks. */
#include "net/loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

struct alarm {
    struct mg_deadline deadline;
    struct mg_loop *loop;
    uint64_t fired_ms;
    int fired, stop_after;
};

static void on_alarm(struct mg_deadline *deadline)
{
    struct alarm *alarm = MG_CONTAINER(deadline, struct alarm, deadline);
    alarm->fired_ms = mg_loop_now_ms(alarm->loop);
    if (++alarm->fired >= alarm->stop_after) {
        mg_loop_stop(alarm->loop);
    }
}

static void arm(struct alarm *alarm, struct mg_loop *loop, uint64_t timeout_ms)
{
    alarm->loop = loop;
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, timeout_ms), &alarm->deadline, on_alarm,
                    mg_loop_now_ms(loop));
}

static void init(struct alarm *alarm, int stop_after)
{
    *alarm = (struct alarm){.stop_after = stop_after};
    mg_deadline_init(&alarm->deadline);
}

static void runs_a_deadline_when_it_is_due(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm;
    assert_int_equal(mg_loop_open(&loop), 0);
    init(&alarm, 1);
    const uint64_t start_ms = mg_loop_now_ms(&loop);
    arm(&alarm, &loop, 30);
    mg_loop_run(&loop);
    assert_int_equal(alarm.fired, 1);
    assert_true(alarm.fired_ms >= start_ms + 30);
    mg_loop_close(&loop);
}

static void an_earlier_deadline_ends_the_wait(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm late, early;
    assert_int_equal(mg_loop_open(&loop), 0);
    init(&late, 1);
    init(&early, 1);
    arm(&late, &loop, 3600 * 1000);
    mg_loop_step(&loop, false);
    arm(&early, &loop, 10);
    mg_loop_run(&loop);
    assert_int_equal(early.fired, 1);
    assert_int_equal(late.fired, 0);
    mg_loop_close(&loop);
}

static void a_deadline_that_moves_is_not_run_early(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm;
    assert_int_equal(mg_loop_open(&loop), 0);
    init(&alarm, 1);
    arm(&alarm, &loop, 20);
    const uint64_t first_ms = alarm.deadline.at_ms;
    mg_loop_step(&loop, false);
    arm(&alarm, &loop, 60);
    mg_loop_run(&loop);
    assert_int_equal(alarm.fired, 1);
    assert_true(alarm.fired_ms >= first_ms + 40);
    mg_loop_close(&loop);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct alarm *alarm = poll->data;
    mg_loop_wake(alarm->loop);
    alarm->fired++;
    alarm->fired_ms = mg_loop_now_ms(alarm->loop);
    uv_close((uv_handle_t *)poll, NULL);
}

/* The wait before an event must not show in the time that its callback sees. */
static void callbacks_see_the_time_after_the_wait(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm = {.loop = &loop};
    uv_poll_t poll = {.data = &alarm};
    assert_int_equal(mg_loop_open(&loop), 0);
    const uint64_t start_us = loop.clock.now_us;
    const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    const struct itimerspec in_30_ms = {.it_value.tv_nsec = 30 * 1000 * 1000};
    assert_return_code(timerfd_settime(fd, 0, &in_30_ms, NULL), 0);
    assert_int_equal(uv_poll_init(&loop.uv, &poll, fd), 0);
    assert_int_equal(uv_poll_start(&poll, UV_READABLE, on_event), 0);
    while (alarm.fired == 0) {
        mg_loop_step(&loop, true);
    }
    assert_true(alarm.fired_ms * 1000 + 1000 > start_us + 30 * 1000);
    mg_loop_close(&loop);
    close(fd);
}

static void a_virtual_clock_stands_until_it_is_advanced(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm;
    assert_int_equal(mg_loop_open_virtual(&loop, 1700000000000), 0);
    init(&alarm, 2);
    arm(&alarm, &loop, 3600 * 1000);
    assert_false(mg_loop_turn(&loop));
    assert_int_equal(alarm.fired, 0);
    assert_int_equal(mg_clock_wall_ms(&loop.clock), 1700000000000);
    const uint64_t next_ms = mg_deadlines_next(&loop.deadlines);
    mg_clock_advance(&loop.clock, 1000 * (next_ms - mg_loop_now_ms(&loop)) - 1);
    assert_false(mg_loop_turn(&loop));
    mg_clock_advance(&loop.clock, 1);
    assert_true(mg_loop_turn(&loop));
    assert_int_equal(alarm.fired, 1);
    assert_int_equal(mg_clock_wall_ms(&loop.clock), 1700003600000);
    assert_false(mg_loop_turn(&loop));
    mg_loop_close(&loop);
}

static void count(void *context)
{
    ++*(int *)context;
}

static void calls_the_owners_hooks_around_each_poll(void **state)
{
    (void)state;
    struct mg_loop loop;
    int calls = 0;
    assert_int_equal(mg_loop_open(&loop), 0);
    loop.before_poll = count;
    loop.after_poll = count;
    loop.context = &calls;
    mg_loop_step(&loop, false);
    assert_int_equal(calls, 2);
    loop.before_poll = loop.after_poll = NULL;
    mg_loop_close(&loop);
}

static void closes_after_stop_and_with_armed_deadlines(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm;
    assert_int_equal(mg_loop_open(&loop), 0);
    init(&alarm, 1);
    arm(&alarm, &loop, 5);
    mg_loop_stop(&loop);
    mg_loop_close(&loop);
    assert_int_equal(alarm.fired, 0);
    assert_false(mg_deadline_armed(&alarm.deadline));
}

struct flushes {
    struct mg_loop_task flush;
    struct mg_loop *loop;
    int count;
};

static void on_flush(struct mg_loop_task *flush)
{
    struct flushes *flushes = MG_CONTAINER(flush, struct flushes, flush);
    if (++flushes->count == 1) {
        mg_loop_flush_later(flushes->loop, flush); /* once more, in the same turn */
    }
}

static void flushes_once_before_the_next_poll(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct flushes flushes = {.flush.fn = on_flush, .loop = &loop};
    mg_link_init(&flushes.flush.link);
    assert_int_equal(mg_loop_open_virtual(&loop, 0), 0);
    mg_loop_flush_later(&loop, &flushes.flush);
    mg_loop_flush_later(&loop, &flushes.flush);
    assert_int_equal(flushes.count, 0);
    mg_loop_turn(&loop);
    assert_int_equal(flushes.count, 2);
    mg_loop_turn(&loop);
    assert_int_equal(flushes.count, 2);
    mg_loop_flush_later(&loop, &flushes.flush);
    mg_link_remove(&flushes.flush.link);
    mg_loop_turn(&loop);
    assert_int_equal(flushes.count, 2);
    mg_loop_close(&loop);
}

static void resumes_behind_the_next_poll_which_does_not_wait(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct flushes resumes = {.flush.fn = on_flush, .loop = &loop};
    mg_link_init(&resumes.flush.link);
    assert_int_equal(mg_loop_open(&loop), 0);
    mg_loop_resume_later(&loop, &resumes.flush);
    mg_loop_step(&loop, true);
    assert_int_equal(resumes.count, 1); /* has asked for a flush, before the next poll */
    mg_loop_resume_later(&loop, &resumes.flush);
    mg_loop_step(&loop, false);
    assert_int_equal(resumes.count, 2);
    mg_loop_close(&loop);
}

/* What the owner asks for right before the poll is not left for its end. */
static void ask_for_a_flush(void *context)
{
    struct flushes *flushes = context;
    if (flushes->count == 0) {
        mg_loop_flush_later(flushes->loop, &flushes->flush);
    }
}

static void does_not_wait_with_a_flush_to_be_made(void **state)
{
    (void)state;
    struct mg_loop loop;
    struct alarm alarm;
    struct flushes flushes = {.flush.fn = on_flush, .loop = &loop};
    mg_link_init(&flushes.flush.link);
    assert_int_equal(mg_loop_open(&loop), 0);
    mg_loop_step(&loop, false); /* libuv has its descriptors in its epoll from here on */
    init(&alarm, 1);
    arm(&alarm, &loop, 10000); /* ends a wait that should not be */
    loop.before_poll = ask_for_a_flush;
    loop.context = &flushes;
    mg_loop_step(&loop, true);
    assert_int_equal(flushes.count, 0);
    assert_int_equal(alarm.fired, 0);
    mg_loop_step(&loop, false);
    assert_int_equal(flushes.count, 2);
    mg_loop_close(&loop);
}

/* Watches that are ready, and the answers of mg_loop_hides_events in their callbacks. */
struct crowd {
    struct mg_loop loop;
    struct member {
        struct mg_watch watch;
        struct crowd *crowd;
    } members[1100];
    int hidden, seen;
    bool ends_others;
};

static void on_ready(struct mg_watch *watch, uint32_t events)
{
    struct member *member = MG_CONTAINER(watch, struct member, watch);
    struct crowd *crowd = member->crowd;
    mg_loop_wake(&crowd->loop);
    assert_int_equal(events, EPOLLIN);
    assert_int_equal(watch->place, 0);
    crowd->seen++;
    crowd->hidden += mg_loop_hides_events(&crowd->loop);
    for (int i = 0; crowd->ends_others && i < 1100; i++) {
        struct mg_watch *other = &crowd->members[i].watch;
        if (other != watch && other->fd >= 0) {
            mg_loop_close_watched(&crowd->loop, other);
        }
    }
}

static struct crowd *gather(int watched, int ready)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    assert_non_null(crowd);
    assert_int_equal(mg_loop_open_virtual(&crowd->loop, 0), 0);
    for (int i = 0; i < 1100; i++) {
        struct member *member = &crowd->members[i];
        *member = (struct member){.watch = {.fn = on_ready, .fd = -1}, .crowd = crowd};
        if (i < watched) {
            const int fd = eventfd(i < ready, EFD_NONBLOCK);
            assert_true(fd >= 0);
            assert_int_equal(mg_loop_watch(&crowd->loop, &member->watch, fd, EPOLLIN | EPOLLET), 0);
        }
    }
    return crowd;
}

static void scatter(struct crowd *crowd)
{
    for (int i = 0; i < 1100; i++) {
        if (crowd->members[i].watch.fd >= 0) {
            mg_loop_close_watched(&crowd->loop, &crowd->members[i].watch);
        }
    }
    mg_loop_close(&crowd->loop);
    free(crowd);
}

/* How many of the callbacks were told that something may be hidden. */
static int hidden_of(int watched, int ready)
{
    struct crowd *crowd = gather(watched, ready);
    mg_loop_turn(&crowd->loop);
    assert_int_equal(crowd->seen, ready);
    const int hidden = crowd->hidden;
    scatter(crowd);
    return hidden;
}

static void knows_when_a_poll_could_not_tell_all(void **state)
{
    (void)state;
    assert_int_equal(hidden_of(1023, 1023), 0);
    assert_int_equal(hidden_of(1024, 1024), 1024);
    assert_int_equal(hidden_of(1025, 1025), 1024);
    assert_int_equal(hidden_of(1100, 1023), 0);
    assert_int_equal(hidden_of(1100, 10), 0);
}

static void tells_nobody_who_was_closed_in_the_same_turn(void **state)
{
    (void)state;
    struct crowd *crowd = gather(100, 100);
    crowd->ends_others = true;
    mg_loop_turn(&crowd->loop);
    assert_int_equal(crowd->seen, 1);
    scatter(crowd);
}

/* Edge-triggered: once, until something comes or the events are set anew. */
static void tells_of_a_beginning_once(void **state)
{
    (void)state;
    struct crowd *crowd = gather(1, 1);
    struct mg_watch *watch = &crowd->members[0].watch;
    assert_true(mg_loop_turn(&crowd->loop));
    assert_false(mg_loop_turn(&crowd->loop));
    assert_int_equal(crowd->seen, 1);
    assert_int_equal(eventfd_write(watch->fd, 1), 0);
    assert_true(mg_loop_turn(&crowd->loop));
    assert_int_equal(crowd->seen, 2);
    mg_loop_rewatch(&crowd->loop, watch, EPOLLIN | EPOLLET);
    assert_true(mg_loop_turn(&crowd->loop));
    assert_int_equal(crowd->seen, 3);
    const int fd = watch->fd;
    mg_loop_unwatch(&crowd->loop, watch);
    assert_int_equal(eventfd_write(fd, 1), 0);
    assert_false(mg_loop_turn(&crowd->loop));
    close(fd);
    scatter(crowd);
}

/* As a child process has one for a moment, between its fork and its exec: the kernel would go on
 * telling of the file. */
static void tells_nothing_of_a_closed_one_that_has_a_duplicate(void **state)
{
    (void)state;
    struct crowd *crowd = gather(1, 0);
    const int duplicate = dup(crowd->members[0].watch.fd);
    assert_true(duplicate >= 0);
    mg_loop_close_watched(&crowd->loop, &crowd->members[0].watch);
    assert_int_equal(eventfd_write(duplicate, 1), 0);
    assert_false(mg_loop_turn(&crowd->loop));
    assert_int_equal(crowd->seen, 0);
    close(duplicate);
    scatter(crowd);
}

static void says_why_a_descriptor_cannot_be_watched(void **state)
{
    (void)state;
    struct crowd *crowd = gather(0, 0);
    struct mg_watch watch = {.fn = on_ready, .fd = -1};
    assert_int_equal(mg_loop_watch(&crowd->loop, &watch, -1, EPOLLIN), -EBADF);
    assert_int_equal(watch.fd, -1);
    scatter(crowd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_a_deadline_when_it_is_due),
        cmocka_unit_test(an_earlier_deadline_ends_the_wait),
        cmocka_unit_test(a_deadline_that_moves_is_not_run_early),
        cmocka_unit_test(callbacks_see_the_time_after_the_wait),
        cmocka_unit_test(a_virtual_clock_stands_until_it_is_advanced),
        cmocka_unit_test(calls_the_owners_hooks_around_each_poll),
        cmocka_unit_test(flushes_once_before_the_next_poll),
        cmocka_unit_test(resumes_behind_the_next_poll_which_does_not_wait),
        cmocka_unit_test(does_not_wait_with_a_flush_to_be_made),
        cmocka_unit_test(knows_when_a_poll_could_not_tell_all),
        cmocka_unit_test(tells_nobody_who_was_closed_in_the_same_turn),
        cmocka_unit_test(tells_of_a_beginning_once),
        cmocka_unit_test(tells_nothing_of_a_closed_one_that_has_a_duplicate),
        cmocka_unit_test(says_why_a_descriptor_cannot_be_watched),
        cmocka_unit_test(closes_after_stop_and_with_armed_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
