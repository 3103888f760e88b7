/* SPDX-License-Identifier: Apache-2.0 */
/* The master's table of workers: who is replaced when, and who is killed. */
#include "seats.h"

#include "channel.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PID 1000000 /* of no process: the table does not look */

struct scene {
    struct mg_seats seats;
    struct mg_shm *shm;
    struct mg_log *log;
    char path[64];
};

static int setup(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    snprintf(scene->path, sizeof scene->path, "/tmp/moongate-test-XXXXXX");
    close(mkstemp(scene->path));
    assert_int_equal(mg_log_open(&scene->log, scene->path, MG_LOG_DEBUG), 0);
    assert_int_equal(mg_shm_create(16 << 20, 2, &scene->shm), 0);
    mg_seats_init(&scene->seats, 2, scene->log, scene->shm);
    *state = scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    mg_seats_deinit(&scene->seats);
    mg_shm_close(scene->shm);
    mg_log_close(scene->log);
    unlink(scene->path);
    free(scene);
    return 0;
}

static bool log_has(const struct scene *scene, const char *text)
{
    char all[16384];
    FILE *file = fopen(scene->path, "r");
    assert_non_null(file);
    all[fread(all, 1, sizeof all - 1, file)] = '\0';
    fclose(file);
    return strstr(all, text) != NULL;
}

/* A worker comes to seat 0, serves after 10 ms and dies so long after that. The seat. */
static const struct mg_seat *live_and_die(struct scene *scene, uint64_t now_ms, uint64_t life_ms)
{
    mg_seats_fill(&scene->seats, 0, PID, -1, now_ms);
    mg_seats_ready(&scene->seats, 0, 1, now_ms + 10);
    assert_int_equal(mg_seats_died(&scene->seats, PID, SIGSEGV, false, now_ms + 10 + life_ms), 0);
    return &scene->seats.items[0];
}

static void a_dead_worker_is_replaced_at_once(void **state)
{
    struct scene *scene = *state;
    const struct mg_seat *seat = live_and_die(scene, 5000, 60000);
    assert_int_equal(seat->state, MG_SEAT_EMPTY);
    assert_int_equal(seat->respawn_ms, 65010);
    assert_int_equal(seat->restarts, 1);
    assert_true(log_has(scene, "worker 0 died of signal 11"));
}

static void a_strange_pid_is_nobodys(void **state)
{
    struct scene *scene = *state;
    mg_seats_fill(&scene->seats, 1, PID, -1, 0);
    assert_int_equal(mg_seats_died(&scene->seats, PID + 1, 0, false, 10), -1);
    assert_int_equal(scene->seats.items[1].state, MG_SEAT_STARTING);
}

static void the_fifth_early_death_in_10_s_waits_and_each_next_one_longer(void **state)
{
    struct scene *scene = *state;
    uint64_t now_ms = 100000;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(live_and_die(scene, now_ms, 900)->respawn_ms, now_ms + 910);
        now_ms += 1000;
    }
    for (uint64_t wait_ms = 1000; wait_ms <= 64000; wait_ms *= 2) {
        const uint64_t capped = wait_ms > 30000 ? 30000 : wait_ms;
        assert_int_equal(live_and_die(scene, now_ms, 900)->respawn_ms, now_ms + 910 + capped);
        now_ms += 910 + capped;
    }
    assert_true(log_has(scene, "keeps dying"));
    assert_int_equal(live_and_die(scene, now_ms, 1001)->backoff_ms, 0); /* it served a while */
}

static void early_deaths_far_apart_do_not_wait(void **state)
{
    struct scene *scene = *state;
    uint64_t now_ms = 100000;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(live_and_die(scene, now_ms, 900)->backoff_ms, 0);
        now_ms += 3000;
    }
}

static void a_death_before_ready_is_an_early_one(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 5; i++) {
        mg_seats_fill(&scene->seats, 0, PID, -1, 100000);
        assert_int_equal(mg_seats_died(&scene->seats, PID, 78 << 8, false, 100500), 0);
    }
    assert_int_equal(scene->seats.items[0].backoff_ms, 1000);
    assert_true(log_has(scene, "worker 0 ended with status 78"));
}

static void a_wanted_death_is_no_crash(void **state)
{
    struct scene *scene = *state;
    for (int i = 0; i < 10; i++) {
        mg_seats_fill(&scene->seats, 0, PID, -1, 100);
        assert_int_equal(mg_seats_died(&scene->seats, PID, 0, true, 200), 0);
    }
    assert_int_equal(scene->seats.items[0].restarts, 0);
    assert_int_equal(scene->seats.items[0].backoff_ms, 0);
    assert_false(log_has(scene, "worker 0"));
}

/* A real process, since it is to be killed. */
static pid_t seat_a_process(struct scene *scene, uint64_t now_ms)
{
    const pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    mg_slot_begin(mg_shm_slot(scene->shm, 0), pid);
    mg_seats_fill(&scene->seats, 0, pid, -1, now_ms);
    mg_seats_ready(&scene->seats, 0, 1, now_ms);
    return pid;
}

static void a_worker_without_heartbeat_is_killed_and_its_plugin_named(void **state)
{
    struct scene *scene = *state;
    struct mg_slot *slot = mg_shm_slot(scene->shm, 0);
    const pid_t pid = seat_a_process(scene, 1000);
    mg_slot_running(slot, MG_STR("greedy"), MG_STR("access"), MG_STR("orders"), MG_STR("r1"));
    mg_seats_watch(&scene->seats, 2000, 1000);
    mg_seats_watch(&scene->seats, 2000, 2999);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    mg_seats_watch(&scene->seats, 2000, 3000);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_true(log_has(scene, "plugin=\"greedy\" phase=access route=\"orders\""));
    assert_int_equal(mg_seats_died(&scene->seats, pid, status, false, 3001), 0);
    assert_int_equal(scene->seats.items[0].respawn_ms, 3001);
    assert_int_equal(mg_shm_stats(scene->shm, 2)->value[MG_STAT_RESTARTS_STUCK], 1);
}

static void expect_quarantine(int channel, const char *plugin)
{
    struct mg_channel_message message;
    int fd;
    assert_int_equal(mg_channel_receive(channel, &message, &fd), 0);
    assert_int_equal(message.kind, MG_CHANNEL_QUARANTINE);
    assert_string_equal(message.text, plugin);
}

static void a_plugin_that_hangs_three_workers_is_told_to_all(void **state)
{
    struct scene *scene = *state;
    int ends[2];
    int late_ends[2];
    struct mg_channel_message message;
    int fd;
    assert_int_equal(mg_channel_pair(ends), 0);
    assert_int_equal(mg_channel_pair(late_ends), 0);
    mg_slot_waiting(mg_shm_slot(scene->shm, 1), true);
    mg_seats_fill(&scene->seats, 1, PID, ends[0], 0);
    mg_seats_ready(&scene->seats, 1, 1, 0);
    for (uint64_t kill = 1; kill <= 3; kill++) {
        const pid_t pid = seat_a_process(scene, 10000 * kill);
        mg_slot_running(mg_shm_slot(scene->shm, 0), MG_STR("greedy"), MG_STR("log"), MG_STR(""),
                        MG_STR(""));
        mg_seats_watch(&scene->seats, 500, 10000 * kill);
        assert_int_equal(mg_channel_receive(ends[1], &message, &fd), MG_EAGAIN);
        mg_seats_watch(&scene->seats, 500, 10000 * kill + 500);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(mg_seats_died(&scene->seats, pid, status, false, 10000 * kill + 500), 0);
    }
    expect_quarantine(ends[1], "greedy");
    mg_seats_fill(&scene->seats, 0, PID + 1, late_ends[0], 30600);
    mg_seats_ready(&scene->seats, 0, 1, 40499); /* the last moment */
    expect_quarantine(late_ends[1], "greedy");
    mg_seats_ready(&scene->seats, 0, 1, 40500);
    assert_int_equal(mg_channel_receive(late_ends[1], &message, &fd), MG_EAGAIN);
    close(ends[1]);
    close(late_ends[1]);
}

static void a_worker_that_waits_or_moves_is_left_alone(void **state)
{
    struct scene *scene = *state;
    struct mg_slot *slot = mg_shm_slot(scene->shm, 0);
    const pid_t pid = seat_a_process(scene, 1000);
    mg_slot_waiting(slot, true);
    mg_seats_watch(&scene->seats, 2000, 100000);
    mg_slot_waiting(slot, false);
    mg_slot_beat(slot);
    mg_seats_watch(&scene->seats, 2000, 101999);
    mg_slot_beat(slot);
    mg_seats_watch(&scene->seats, 2000, 103998);
    mg_seats_watch(&scene->seats, 0, 900000); /* 0: no watchdog */
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCENE(a_dead_worker_is_replaced_at_once),
        WITH_SCENE(a_strange_pid_is_nobodys),
        WITH_SCENE(the_fifth_early_death_in_10_s_waits_and_each_next_one_longer),
        WITH_SCENE(early_deaths_far_apart_do_not_wait),
        WITH_SCENE(a_death_before_ready_is_an_early_one),
        WITH_SCENE(a_wanted_death_is_no_crash),
        WITH_SCENE(a_worker_without_heartbeat_is_killed_and_its_plugin_named),
        WITH_SCENE(a_plugin_that_hangs_three_workers_is_told_to_all),
        WITH_SCENE(a_worker_that_waits_or_moves_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
