/* SPDX-License-Identifier: Apache-2.0 */
/* Batches that somebody comes for. */
#include "net/sink_taken.h"

#include "net/sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct mg_loop loop;
    struct mg_sinks *sinks;
    struct mg_sink *sink;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char message[256] = "";
    const struct mg_sink_settings settings = {.kind = MG_SINK_TAKEN,
                                              .name = MG_STR("lua:it/1"),
                                              .queue_bytes = 1 << 20,
                                              .queue_entries = 3,
                                              .batch = 2,
                                              .first_ms = 100,
                                              .max_ms = 1000,
                                              .for_ms = 5000};
    assert_int_equal(mg_loop_open_virtual(&f->loop, 1700000000000), 0);
    f->sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &f->loop});
    assert_int_equal(mg_sink_open(f->sinks, &settings, &f->sink, message, sizeof message), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->sink) {
        mg_sink_close(f->sink);
    }
    mg_sinks_close(f->sinks, 1000);
    mg_loop_close(&f->loop);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *line)
{
    mg_sink_put(f->sink, mg_str_from(line), MG_SINK_INFO);
    mg_sinks_flush(f->sinks);
}

static void expect_taken(struct fixture *f, const char *lines)
{
    assert_true(mg_str_equal(mg_sink_take(f->sink), mg_str_from(lines)));
}

static void advance(struct fixture *f, uint64_t ms)
{
    mg_clock_advance(&f->loop.clock, ms * 1000);
    while (mg_loop_turn(&f->loop)) {
    }
    mg_sinks_flush(f->sinks);
}

static void expect_counts(struct fixture *f, uint64_t written, uint64_t dropped, uint64_t queued)
{
    struct mg_sink_counts counts;
    mg_sink_counts(f->sink, &counts);
    assert_int_equal(counts.written, written);
    assert_int_equal(counts.dropped, dropped);
    assert_int_equal(counts.queued, queued);
}

static void batches_are_given_one_at_a_time(void **state)
{
    struct fixture *f = *state;
    expect_taken(f, "");
    put(f, "a\n");
    put(f, "b\n");
    put(f, "c\n");
    expect_taken(f, "a\nb\n");
    expect_taken(f, ""); /* not while the first is under way */
    mg_sink_taken(f->sink, true);
    expect_taken(f, "c\n");
    mg_sink_taken(f->sink, true);
    mg_sink_taken(f->sink, true); /* nothing is taken */
    expect_taken(f, "");
    expect_counts(f, 3, 0, 0);
}

static void what_failed_comes_again_later(void **state)
{
    struct fixture *f = *state;
    put(f, "a\n");
    expect_taken(f, "a\n");
    mg_sink_taken(f->sink, false);
    expect_taken(f, "");
    expect_counts(f, 0, 0, 1);
    advance(f, 130);
    put(f, "b\n");
    expect_taken(f, "a\nb\n");
    mg_sink_taken(f->sink, true);
    expect_counts(f, 2, 0, 0);
}

static void who_is_never_heard_of_again_has_failed(void **state)
{
    struct fixture *f = *state;
    put(f, "a\n");
    expect_taken(f, "a\n");
    advance(f, MG_SINK_TAKEN_MS - 1);
    expect_taken(f, "");
    advance(f, 1);
    expect_taken(f, ""); /* that was the failure */
    advance(f, 130);
    expect_taken(f, "a\n");
}

static void losses_are_told_with_the_next_batch(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++) {
        put(f, "a\n");
    }
    const mg_str lines = mg_sink_take(f->sink);
    assert_true(mg_str_starts(lines, MG_STR("{\"event\":\"lost\"")));
    assert_true(mg_str_ends(lines, MG_STR("}\na\na\n")));
    mg_sink_taken(f->sink, true);
    expect_taken(f, "a\n");
}

static void without_references_the_rest_is_lost(void **state)
{
    struct fixture *f = *state;
    struct mg_sink *sink = f->sink;
    put(f, "a\n");
    sink->references++; /* so that its counters can be read below */
    expect_taken(f, "a\n");
    mg_sink_close(sink);
    mg_sinks_flush(f->sinks);
    expect_counts(f, 0, 0, 1);
    f->sink = NULL;
    mg_sink_close(sink);
    mg_sinks_flush(f->sinks);
    assert_true(mg_list_empty(&f->sinks->all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(batches_are_given_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_failed_comes_again_later, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_never_heard_of_again_has_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(losses_are_told_with_the_next_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(without_references_the_rest_is_lost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
