/* SPDX-License-Identifier: Apache-2.0 */
/* base/shm: the region as a whole, workers' slots, statistics, the common time. */
#define _GNU_SOURCE /* memfd_create */
#include "base/shm.h"

#include "base/shm_region.h"

#include "base/shm_words.h"

#include "support/workers.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (1024 * 1024)

static int setup(void **state)
{
    return mg_shm_create(16 * MIB, 4, (struct mg_shm **)state);
}

static int teardown(void **state)
{
    mg_shm_close(*state);
    return 0;
}

static void a_region_has_room_for_what_was_asked(void **state)
{
    (void)state;
    const uint64_t cells[] = {1, 1024, 65536, 1000000};
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        for (uint32_t workers = 1; workers <= 64; workers *= 8) {
            const struct mg_shm_wish wish = {
                .workers = workers, .cells = cells[i], .breakers = 1500, .series = 2000};
            const uint64_t bytes = mg_shm_bytes_needed(&wish);
            struct mg_shm *shm = NULL;
            assert_int_equal(mg_shm_create_with(bytes, &wish, &shm), 0);
            struct mg_shm_room room;
            mg_shm_room(shm, &room);
            assert_true(room.cells >= cells[i]);
            assert_int_equal(room.breakers, 1500);
            assert_int_equal(room.series, 2000);
            assert_int_equal(room.workers, workers);
            assert_int_equal(room.bytes, bytes);
            assert_true(room.holds >= 250);
            mg_shm_close(shm);
        }
    }
}

static void the_default_size_holds_eleven_default_limits(void **state)
{
    (void)state;
    const struct mg_shm_wish wish = {.workers = 2, .cells = UINT64_C(11) * 65536, .series = 2000};
    assert_true(mg_shm_bytes_needed(&wish) <= 64 * MIB);
}

static void the_default_size_is_enough_for_the_most_workers(void **state)
{
    (void)state;
    const struct mg_shm_wish wish = {.workers = MG_SHM_MAX_WORKERS, .series = 2000};
    assert_true(mg_shm_bytes_needed(&wish) <= 64 * MIB);
}

static void a_region_that_is_too_small_is_refused(void **state)
{
    (void)state;
    struct mg_shm *shm = NULL;
    assert_int_equal(mg_shm_create(64 * 1024, 2, &shm), MG_EINVALID);
    assert_int_equal(mg_shm_create(16 * MIB, 0, &shm), MG_EINVALID);
    assert_int_equal(mg_shm_create(16 * MIB, MG_SHM_MAX_WORKERS + 1, &shm), MG_EINVALID);
    assert_null(shm);
}

static void another_image_maps_the_same_region(void **state)
{
    struct mg_shm *other = NULL;
    mg_stats_add(mg_shm_stats(*state, 1), MG_STAT_ACCEPTED, 5);
    assert_int_equal(mg_shm_attach(dup(mg_shm_fd(*state)), &other), 0);
    assert_ptr_not_equal(mg_shm_stats(other, 1), mg_shm_stats(*state, 1));
    assert_int_equal(mg_shm_stats(other, 1)->value[MG_STAT_ACCEPTED], 5);
    mg_shm_close(other);
}

static void a_region_of_another_layout_is_refused(void **state)
{
    struct mg_shm *other = NULL;
    const int fd = mg_shm_fd(*state);
    const uint32_t layout = 77;
    assert_int_equal(pwrite(fd, &layout, sizeof layout, 8), sizeof layout);
    assert_int_equal(mg_shm_attach(fd, &other), MG_EUNSUPPORTED);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    assert_int_equal(mg_shm_attach(fd, &other), MG_EINVALID);
    assert_null(other);
    assert_int_not_equal(fcntl(fd, F_GETFD), -1); /* still the caller's */
    const int empty = memfd_create("empty", 0);
    assert_int_equal(mg_shm_attach(empty, &other), MG_EINVALID);
    close(empty);
}

static void expect_refused(struct mg_shm *shm, uint32_t *number, uint32_t bad)
{
    struct mg_shm *other = NULL;
    const uint32_t good = *number;
    *number = bad;
    assert_int_equal(mg_shm_attach(mg_shm_fd(shm), &other), MG_EINVALID);
    *number = good;
    assert_int_equal(mg_shm_attach(dup(mg_shm_fd(shm)), &other), 0);
    mg_shm_close(other);
}

static void a_region_that_leads_out_of_itself_is_refused(void **state)
{
    struct mg_shm *shm = *state;
    struct mg_shm_head *head = shm->head;
    struct mg_ledger *ledger = mg_region_ledger(shm, 3);
    struct mg_shard *shard = mg_region_shard(shm, mg_region_open_shard(shm));
    uint32_t *const numbers[] = {
        &head->workers,
        &head->holds,
        &head->shards,
        &head->limits,
        &head->breakers,
        (uint32_t *)&head->at_slots,
        &head->limits_used,
        (uint32_t *)&head->at_stats,
        &head->breakers_used,
        (uint32_t *)&head->at_ledgers,
        &ledger->first_free,
        (uint32_t *)&head->at_shards,
        &ledger->mark,
        (uint32_t *)&head->at_limits,
        (uint32_t *)&shard->cell,
        (uint32_t *)&head->at_cells,
        (uint32_t *)&shard->hold,
        (uint32_t *)&head->at_breakers,
        &head->series_each,
        &head->metrics_level,
        &head->series,
        &head->metrics_used,
        &head->series_used,
        &head->metric_words,
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        expect_refused(shm, numbers[i], 0x7fffffff);
    }
    ledger->mark = 3;
    ledger->entries[1].next = 2;
    ledger->first_free = 1;
    expect_refused(shm, &ledger->entries[2].next, 1); /* a list without an end */
    expect_refused(shm, &ledger->entries[2].next, 3); /* never used */
    expect_refused(shm, &ledger->entries[1].shard, mg_region_open_shard(shm) + 1);
    expect_refused(shm, (uint32_t *)&ledger->entries[1].cell, 64);
}

static bool work_and_tell(void *context, uint32_t index)
{
    struct mg_shm *shm = context;
    struct mg_slot *slot = mg_shm_slot(shm, index);
    mg_slot_begin(slot, getpid());
    mg_slot_ready(slot, 7);
    mg_slot_waiting(slot, true);
    mg_slot_waiting(slot, false);
    for (int i = 0; i < 100; i++) {
        mg_slot_beat(slot);
        mg_stats_add(mg_shm_stats(shm, index), MG_STAT_REQUESTS, 1);
    }
    mg_stats_add(mg_shm_stats(shm, index), MG_STAT_CONNECTIONS, 3);
    mg_slot_running(slot, MG_STR("tenant"), MG_STR("access"), MG_STR("orders"), MG_STR("id-1"));
    mg_slot_plugin(slot, MG_STR("rate-limit"));
    return true;
}

static void the_master_reads_what_its_workers_do(void **state)
{
    struct mg_shm *shm = *state;
    struct workers workers;
    workers_start(&workers, 4, work_and_tell, shm);
    const pid_t first = workers.pids[0];
    assert_true(workers_wait(&workers));
    const struct mg_slot *slot = mg_shm_slot(shm, 0);
    assert_int_equal(slot->pid, first);
    assert_int_equal(slot->ready, 1);
    assert_int_equal(slot->generation, 7);
    assert_int_equal(slot->beat, 100);
    assert_int_equal(slot->waiting, 0);
    assert_int_equal(slot->running, 1);
    assert_string_equal(slot->plugin, "rate-limit");
    assert_string_equal(slot->phase, "access");
    assert_string_equal(slot->route, "orders");
    assert_string_equal(slot->request_id, "id-1");
    struct mg_stats total;
    mg_stats_add(mg_shm_stats(shm, 4), MG_STAT_RELOADS, 2); /* the master's own */
    mg_shm_stats_sum(shm, &total);
    assert_int_equal(total.value[MG_STAT_REQUESTS], 400);
    assert_int_equal(total.value[MG_STAT_CONNECTIONS], 12);
    assert_int_equal(total.value[MG_STAT_RELOADS], 2);
}

static void a_dead_worker_leaves_its_counters_and_its_last_words(void **state)
{
    struct mg_shm *shm = *state;
    work_and_tell(shm, 2);
    assert_int_equal(mg_shm_worker_died(shm, 2), 0);
    struct mg_slot *slot = mg_shm_slot(shm, 2);
    assert_int_equal(slot->pid, 0);
    assert_int_equal(slot->ready, 0);
    assert_string_equal(slot->plugin, "rate-limit");
    assert_int_equal(mg_shm_stats(shm, 2)->value[MG_STAT_REQUESTS], 100);
    assert_int_equal(mg_shm_stats(shm, 2)->value[MG_STAT_CONNECTIONS], 0);
    mg_slot_begin(slot, 99);
    assert_string_equal(slot->plugin, "");
    assert_int_equal(slot->beat, 0);
}

static void long_texts_are_cut_to_their_places(void **state)
{
    struct mg_slot *slot = mg_shm_slot(*state, 0);
    char text[200];
    memset(text, 'x', sizeof text);
    const mg_str longer = mg_str_make(text, sizeof text);
    mg_slot_running(slot, longer, longer, longer, mg_str_make(NULL, 0));
    assert_int_equal(strlen(slot->plugin), MG_SLOT_TEXT - 1);
    assert_int_equal(strlen(slot->phase), sizeof slot->phase - 1);
    assert_int_equal(strlen(slot->request_id), 0);
}

static void a_published_generation_is_seen(void **state)
{
    assert_int_equal(mg_shm_published_generation(*state), 0);
    mg_shm_publish_generation(*state, 42);
    assert_int_equal(mg_shm_published_generation(*state), 42);
}

static int64_t wall_at(struct mg_shm *shm, uint64_t monotonic_ms)
{
    return mg_shm_now_ms(shm, monotonic_ms);
}

static void small_steps_of_the_clock_are_followed_at_once(void **state)
{
    struct mg_shm *shm = *state;
    assert_int_equal(wall_at(shm, 500), 500); /* no tick yet */
    mg_shm_tick(shm, 1000, 5000000);
    assert_int_equal(wall_at(shm, 1000), 5000000);
    assert_int_equal(wall_at(shm, 1250), 5000250);
    mg_shm_tick(shm, 1250, 5001250); /* 1,000 ms ahead: the largest that counts as slewing */
    assert_int_equal(wall_at(shm, 1250), 5001250);
    mg_shm_tick(shm, 1500, 5000500);
    assert_int_equal(wall_at(shm, 1500), 5000500);
}

static void a_jump_is_followed_after_it_has_held_for_a_minute(void **state)
{
    struct mg_shm *shm = *state;
    const int64_t wall = 5000000, jump = 1001;
    mg_shm_tick(shm, 0, wall);
    for (uint64_t ms = 250; ms < 60250; ms += 250) {
        mg_shm_tick(shm, ms, wall + (int64_t)ms + jump);
        assert_int_equal(wall_at(shm, ms), wall + (int64_t)ms);
    }
    mg_shm_tick(shm, 60250, wall + 60250 + jump);
    assert_int_equal(wall_at(shm, 60250), wall + 60250 + jump);
}

static void a_jump_that_goes_back_is_never_followed(void **state)
{
    struct mg_shm *shm = *state;
    mg_shm_tick(shm, 0, 5000000);
    mg_shm_tick(shm, 1000, 9000000);
    mg_shm_tick(shm, 50000, 5050000); /* as before: the jump is forgotten */
    mg_shm_tick(shm, 60000, 9060000);
    mg_shm_tick(shm, 70000, 9070000);
    assert_int_equal(wall_at(shm, 70000), 5070000);
    mg_shm_tick(shm, 120000, 9120000);
    assert_int_equal(wall_at(shm, 120000), 9120000);
}

static void a_store_is_found_by_its_identity(void **state)
{
    struct mg_shm *shm = *state;
    char identity[24];
    const int first = mg_store_record_open(shm, MG_STR("main 127.0.0.1"), MG_STR("main"), 1000);
    assert_int_equal(mg_store_record_open(shm, MG_STR("main 127.0.0.1"), MG_STR("main"), 2000),
                     first);
    assert_string_equal(mg_store_record(shm, (uint32_t)first)->name, "main");
    for (int i = 1; i < MG_STORES; i++) {
        snprintf(identity, sizeof identity, "other %d", i);
        assert_true(mg_store_record_open(shm, mg_str_from(identity), MG_STR("x"), 2000) > first);
    }
    assert_int_equal(mg_store_record_open(shm, MG_STR("one more"), MG_STR("x"), 3000), MG_EFULL);
    mg_store_record_used(mg_store_record(shm, (uint32_t)first), 100000);
    /* an hour later the unused ones are free, the first is not */
    assert_true(mg_store_record_open(shm, MG_STR("one more"), MG_STR("x"), 3700000) > first);
    assert_string_equal(mg_store_record(shm, (uint32_t)first)->name, "main");
    assert_null(mg_store_record(shm, MG_STORES));
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_has_room_for_what_was_asked),
        cmocka_unit_test(the_default_size_holds_eleven_default_limits),
        cmocka_unit_test(the_default_size_is_enough_for_the_most_workers),
        cmocka_unit_test(a_region_that_is_too_small_is_refused),
        WITH_REGION(another_image_maps_the_same_region),
        WITH_REGION(a_region_of_another_layout_is_refused),
        WITH_REGION(a_region_that_leads_out_of_itself_is_refused),
        WITH_REGION(the_master_reads_what_its_workers_do),
        WITH_REGION(a_dead_worker_leaves_its_counters_and_its_last_words),
        WITH_REGION(long_texts_are_cut_to_their_places),
        WITH_REGION(a_published_generation_is_seen),
        WITH_REGION(a_store_is_found_by_its_identity),
        WITH_REGION(small_steps_of_the_clock_are_followed_at_once),
        WITH_REGION(a_jump_is_followed_after_it_has_held_for_a_minute),
        WITH_REGION(a_jump_that_goes_back_is_never_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
