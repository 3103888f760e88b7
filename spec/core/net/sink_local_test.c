/* SPDX-License-Identifier: Apache-2.0 */
/* How often the file of a sink is written: each write wakes a thread. */
#include "net/sink_local.h"

#include "net/sink.h"
#include "net/sink_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <unistd.h>

#define DEADLINE_MS 8000
#define BATCH_MS 20

struct fixture {
    struct mg_loop loop;
    struct mg_sinks *sinks;
    struct mg_sink *sink;
    char folder[64], path[96];
};

static void before_poll(void *context)
{
    struct fixture *f = context;
    mg_sinks_flush(f->sinks);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(mg_loop_open(&f->loop), 0);
    f->sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &f->loop});
    f->loop.before_poll = before_poll;
    f->loop.context = f;
    snprintf(f->folder, sizeof f->folder, "/tmp/mg-sink-local-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/access.log", f->folder);
    const struct mg_sink_settings settings = {.kind = MG_SINK_FILE,
                                              .path = mg_str_from(f->path),
                                              .mode = 0640,
                                              .reopen_check_ms = 1000,
                                              .queue_bytes = 1 << 20,
                                              .queue_entries = 8192};
    char message[256] = "";
    assert_int_equal(mg_sink_open(f->sinks, &settings, &f->sink, message, sizeof message), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->loop.before_poll = NULL;
    mg_sink_close(f->sink);
    mg_sinks_close(f->sinks, DEADLINE_MS);
    mg_loop_close(&f->loop);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static uint64_t writes(const struct fixture *f)
{
    uint64_t count = 0;
    for (int i = 0; i < MG_SINK_BUCKETS; i++) {
        count += f->sink->part->flush_buckets[i];
    }
    return count;
}

static void put(struct fixture *f, const char *line)
{
    mg_sink_put(f->sink, mg_str_from(line), MG_SINK_INFO);
}

static void drain(struct fixture *f)
{
    const uint64_t until_ms = now_ms() + DEADLINE_MS;
    while (f->sink->queue.counts.queued > 0) {
        assert_true(now_ms() < until_ms);
        mg_loop_step(&f->loop, true); /* wakes by itself: nobody else has anything to do */
    }
}

static void lines_under_load_are_written_together(void **state)
{
    struct fixture *f = *state;
    const uint64_t begun_ms = now_ms();
    for (int i = 0; i < 500; i++) {
        put(f, "a line\n");
        mg_loop_step(&f->loop, false);
    }
    drain(f);
    assert_in_range(writes(f), 1, (now_ms() - begun_ms) / BATCH_MS + 2);
    assert_int_equal(f->sink->queue.counts.written, 500);
}

static void a_line_after_a_quiet_time_waits_for_no_other(void **state)
{
    struct fixture *f = *state;
    put(f, "a line\n");
    mg_sinks_flush(f->sinks);
    assert_true(f->sink->type->is_busy(f->sink)); /* its end is told by the loop */
    drain(f);
}

static void much_waits_for_no_time(void **state)
{
    struct fixture *f = *state;
    put(f, "a line\n");
    drain(f);
    char *lines = malloc(MG_SINK_FILE_BYTES + 1);
    assert_non_null(lines);
    memset(lines, 'x', MG_SINK_FILE_BYTES);
    memcpy(lines + MG_SINK_FILE_BYTES - 1, "\n", 2);
    put(f, lines);
    mg_sinks_flush(f->sinks);
    assert_true(f->sink->type->is_busy(f->sink)); /* its end is told by the loop */
    drain(f);
    free(lines);
}

#define WITH_SINK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SINK(lines_under_load_are_written_together),
        WITH_SINK(a_line_after_a_quiet_time_waits_for_no_other),
        WITH_SINK(much_waits_for_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
