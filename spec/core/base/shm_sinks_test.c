/* SPDX-License-Identifier: Apache-2.0 */
/* base/shm_sinks: what is offered is written, dropped or queued, whoever dies when. */
#include "base/shm_sinks.h"

#include "base/shm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000
#define HOUR 3600000

static int setup(void **state)
{
    return mg_shm_create(16 * 1024 * 1024, 3, (struct mg_shm **)state);
}

static int teardown(void **state)
{
    mg_shm_close(*state);
    return 0;
}

static struct mg_sink_totals totals_of(struct mg_shm *shm, uint32_t index)
{
    struct mg_sink_totals totals;
    assert_true(mg_sink_totals(shm, index, &totals));
    uint64_t gone = totals.written + totals.queued;
    for (unsigned i = 0; i < MG_SINK_REASONS; i++) {
        gone += totals.dropped[i];
    }
    assert_int_equal(totals.offered, gone);
    return totals;
}

static void workers_share_a_record_by_its_name(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t index = mg_sink_record_open(shm, MG_STR("/a.log"), NOW);
    assert_int_equal(mg_sink_record_open(shm, MG_STR("/a.log"), NOW), index);
    assert_int_not_equal(mg_sink_record_open(shm, MG_STR("/b.log"), NOW), index);
    for (uint32_t worker = 0; worker < 3; worker++) {
        struct mg_sink_part *part = mg_sink_part(shm, index, worker);
        part->open = 1;
        part->offered = 10;
        part->written = 5;
        part->dropped[MG_SINK_REFUSED] = worker;
        part->queue_bytes = 100;
        mg_sink_part_flushed(part, 1000);
        mg_sink_part_flushed(part, 11000000);
    }
    const struct mg_sink_totals totals = totals_of(shm, index);
    assert_string_equal(totals.name, "/a.log");
    assert_int_equal(totals.offered, 30);
    assert_int_equal(totals.queued, 12);
    assert_int_equal(totals.dropped[MG_SINK_REFUSED], 3);
    assert_int_equal(totals.queue_bytes, 300);
    assert_int_equal(totals.flushes, 6);
    assert_int_equal(totals.flush_buckets[0], 3);
    assert_int_equal(totals.flush_buckets[MG_SINK_BUCKETS - 1], 3);
    assert_true(totals.is_open && totals.is_up);
    mg_sink_part(shm, index, 1)->down = 1;
    assert_false(totals_of(shm, index).is_up);
}

static void a_dead_workers_queue_is_lost_with_it_and_counted_once(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t index = mg_sink_record_open(shm, MG_STR("stdout"), NOW);
    struct mg_sink_part *part = mg_sink_part(shm, index, 2);
    *part = (struct mg_sink_part){.offered = 9, .written = 2, .open = 1, .down = 1};
    assert_int_equal(totals_of(shm, index).queued, 7);
    mg_shm_worker_died(shm, 2);
    mg_shm_worker_died(shm, 2);
    const struct mg_sink_totals totals = totals_of(shm, index);
    assert_int_equal(totals.queued, 0);
    assert_int_equal(totals.dropped[MG_SINK_WORKER_DIED], 7);
    assert_false(totals.is_open || totals.is_up);
}

static void further_sinks_share_the_last_record(void **state)
{
    struct mg_shm *shm = *state;
    char name[32];
    for (int i = 0; i < MG_SINK_RECORDS - 1; i++) {
        snprintf(name, sizeof name, "sink-%d", i);
        const uint32_t index = mg_sink_record_open(shm, mg_str_from(name), NOW);
        assert_int_equal(index, i);
        mg_sink_part(shm, index, 0)->open = i > 0;
    }
    assert_int_equal(mg_sink_record_open(shm, MG_STR("late"), NOW), MG_SINK_RECORDS - 1);
    assert_int_equal(mg_sink_record_open(shm, MG_STR("later"), NOW), MG_SINK_RECORDS - 1);
    assert_string_equal(totals_of(shm, MG_SINK_RECORDS - 1).name, "__overflow__");
    /* nobody has had the first one for long: it is given away, emptied */
    mg_sink_part(shm, 0, 1)->offered = 4;
    assert_int_equal(mg_sink_record_open(shm, MG_STR("new"), NOW + HOUR + 1), 0);
    assert_string_equal(totals_of(shm, 0).name, "new");
    assert_int_equal(totals_of(shm, 0).offered, 0);
}

static void a_name_that_is_too_long_is_cut(void **state)
{
    struct mg_shm *shm = *state;
    char name[400];
    memset(name, 'n', sizeof name);
    const uint32_t index = mg_sink_record_open(shm, mg_str_make(name, sizeof name), NOW);
    assert_int_equal(strlen(totals_of(shm, index).name), MG_SINK_NAME - 1);
    struct mg_sink_totals none;
    assert_false(mg_sink_totals(shm, index + 1, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(workers_share_a_record_by_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_workers_queue_is_lost_with_it_and_counted_once,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(further_sinks_share_the_last_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_is_too_long_is_cut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
