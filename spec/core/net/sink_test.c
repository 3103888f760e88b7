/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks on real pipes and files: nothing waits, nothing tears, nothing is lost without a count. */
#define _GNU_SOURCE /* pipe2 */
#include "net/sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 8000

struct fixture {
    struct mg_loop loop;
    struct mg_stats stats;
    struct mg_sinks *sinks;
    char folder[64], path[96], other[96];
};

static void before_poll(void *context)
{
    struct fixture *f = context;
    if (f->sinks) {
        mg_sinks_flush(f->sinks);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(mg_loop_open(&f->loop), 0);
    f->loop.before_poll = before_poll;
    f->loop.context = f;
    f->sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &f->loop, .stats = &f->stats});
    snprintf(f->folder, sizeof f->folder, "/tmp/mg-sink-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/access.log", f->folder);
    snprintf(f->other, sizeof f->other, "%s/access.log.1", f->folder);
    *state = f;
    return 0;
}

static void close_sinks(struct fixture *f, uint64_t most_ms)
{
    struct mg_sinks *sinks = f->sinks;
    f->sinks = NULL;
    mg_sinks_close(sinks, most_ms);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->sinks) {
        close_sinks(f, 100);
    }
    mg_loop_close(&f->loop);
    unlink(f->path);
    unlink(f->other);
    rmdir(f->folder);
    free(f);
    return 0;
}

static struct mg_sink_settings file_settings(const struct fixture *f)
{
    return (struct mg_sink_settings){.kind = MG_SINK_FILE,
                                     .path = mg_str_from(f->path),
                                     .mode = 0640,
                                     .reopen_check_ms = 1000,
                                     .queue_bytes = 1 << 20,
                                     .queue_entries = 8192};
}

static struct mg_sink *open_sink(struct fixture *f, const struct mg_sink_settings *settings)
{
    struct mg_sink *sink;
    char message[256] = "";
    if (mg_sink_open(f->sinks, settings, &sink, message, sizeof message) != 0) {
        fail_msg("%s", message);
    }
    return sink;
}

static void put_number(struct mg_sink *sink, int number)
{
    char line[64];
    const int length = snprintf(line, sizeof line, "line %06d\n", number);
    mg_sink_put(sink, mg_str_make(line, (size_t)length), MG_SINK_INFO);
}

static struct mg_sink_counts counts_of(const struct mg_sink *sink)
{
    struct mg_sink_counts counts;
    mg_sink_counts(sink, &counts);
    assert_int_equal(counts.offered, counts.written + counts.dropped + counts.queued);
    return counts;
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* Runs the loop until the sink's queue is empty. */
static void drain(struct fixture *f, const struct mg_sink *sink)
{
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (counts_of(sink).queued > 0) {
        assert_true(now_ms() < until);
        mg_loop_step(&f->loop, false);
    }
}

/* Adds what can be read at this moment to text. */
static size_t read_all(int fd, char *text, size_t length, size_t room)
{
    ssize_t n;
    while ((n = read(fd, text + length, room - 1 - length)) > 0) {
        length += (size_t)n;
    }
    text[length] = '\0';
    return length;
}

static char *read_file(const char *path)
{
    static char text[1 << 20];
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    read_all(fd, text, 0, sizeof text);
    close(fd);
    return text;
}

/* How many lines "line NNNNNN" there are; every other line must be a record of loss. */
static int count_whole_lines(const char *text)
{
    int lines = 0;
    while (*text) {
        const size_t length = strcspn(text, "\n");
        assert_int_equal(text[length], '\n');
        if (strncmp(text, "{\"event\":\"lost\"", 15) != 0) {
            assert_int_equal(length, 11);
            assert_memory_equal(text, "line ", 5);
            lines++;
        }
        text += length + 1;
    }
    return lines;
}

/* --- pipes --- */

/* Standard output becomes the pipe's end while fn runs. */
static struct mg_sink *open_stdout(struct fixture *f, int fd, struct mg_sink_settings *settings)
{
    fflush(stdout);
    const int saved = dup(STDOUT_FILENO);
    assert_true(dup2(fd, STDOUT_FILENO) >= 0);
    settings->kind = MG_SINK_STDOUT;
    settings->path = MG_STR("");
    struct mg_sink *sink = open_sink(f, settings);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    return sink;
}

static void lines_reach_a_pipe_in_the_same_turn(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    char text[256];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_stdout(f, fds[1], &settings);
    put_number(sink, 1);
    put_number(sink, 2);
    mg_sinks_flush(f->sinks);
    const ssize_t n = read(fds[0], text, sizeof text);
    assert_int_equal(n, 24);
    assert_memory_equal(text, "line 000001\nline 000002\n", 24);
    assert_int_equal(f->stats.value[MG_STAT_LOG_WRITTEN], 2);
    assert_int_equal(f->stats.value[MG_STAT_LOG_BYTES], 24);
    assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0); /* others share it */
    mg_sink_close(sink);
    close(fds[0]);
    close(fds[1]);
}

static void a_pipe_that_nobody_reads_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    static char text[1 << 20];
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    struct mg_sink_settings settings = file_settings(f);
    settings.queue_bytes = 10000;
    struct mg_sink *sink = open_stdout(f, fds[1], &settings);
    const uint64_t before = now_ms();
    for (int i = 0; i < 20000; i++) { /* 240 KB, and the pipe takes 64 KB */
        put_number(sink, i);
        mg_sinks_flush(f->sinks);
    }
    assert_true(now_ms() - before < DEADLINE_MS);
    struct mg_sink_counts counts = counts_of(sink);
    assert_int_equal(counts.offered, 20000);
    assert_true(counts.dropped > 10000);
    assert_true(counts.queued * 12 <= 10000);
    size_t length = 0;
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (counts_of(sink).queued > 0) {
        assert_true(now_ms() < until);
        length = read_all(fds[0], text, length, sizeof text);
        mg_loop_step(&f->loop, false);
    }
    read_all(fds[0], text, length, sizeof text);
    counts = counts_of(sink);
    assert_int_equal(count_whole_lines(text), counts.written);
    assert_non_null(strstr(text, "line 000000\n"));
    assert_non_null(strstr(text, "line 019999\n"));
    char wanted[128];
    snprintf(wanted, sizeof wanted, "{\"event\":\"lost\",\"sink\":\"stdout\",\"lines\":%d,",
             (int)counts.dropped);
    assert_non_null(strstr(text, wanted));
    assert_int_equal(f->stats.value[MG_STAT_LOG_DROPPED], counts.dropped);
    mg_sink_close(sink);
    close(fds[0]);
    close(fds[1]);
}

static void a_line_longer_than_a_pipe_takes_is_refused(void **state)
{
    struct fixture *f = *state;
    static char line[5000];
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_stdout(f, fds[1], &settings);
    assert_int_equal(mg_sink_line_bytes(sink), 4096);
    memset(line, 'x', sizeof line);
    line[4095] = '\n';
    mg_sink_put(sink, mg_str_make(line, 4096), MG_SINK_INFO);
    mg_sink_put(sink, mg_str_make(line, 4097), MG_SINK_INFO);
    const struct mg_sink_counts counts = counts_of(sink);
    assert_int_equal(counts.queued, 1);
    assert_int_equal(counts.dropped, 1);
    mg_sink_close(sink);
    close(fds[0]);
    close(fds[1]);
}

static void a_reader_that_went_away_costs_its_lines_only(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_stdout(f, fds[1], &settings);
    close(fds[0]);
    put_number(sink, 1);
    mg_sinks_flush(f->sinks);
    const struct mg_sink_counts counts = counts_of(sink);
    assert_int_equal(counts.dropped, 1);
    assert_int_equal(counts.queued, 0);
    mg_sink_close(sink);
    close(fds[1]);
}

static void several_writers_never_tear_lines_on_a_pipe(void **state)
{
    struct fixture *f = *state;
    enum { WRITERS = 4, LINES = 3000 };
    int fds[2];
    static char text[1 << 20];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(stdout);
    for (int writer = 0; writer < WRITERS; writer++) {
        if (fork() == 0) {
            struct mg_loop loop;
            struct mg_sink_settings settings = file_settings(f);
            settings.queue_bytes = 1 << 20;
            dup2(fds[1], STDOUT_FILENO);
            settings.kind = MG_SINK_STDOUT;
            if (mg_loop_open(&loop) != 0) {
                _exit(1);
            }
            struct mg_sinks *sinks = mg_sinks_open(&(struct mg_sinks_parts){.loop = &loop});
            struct mg_sink *sink;
            char message[64];
            if (mg_sink_open(sinks, &settings, &sink, message, sizeof message) != 0) {
                _exit(1);
            }
            for (int i = 0; i < LINES; i++) {
                put_number(sink, i);
                if (i % 7 == 0) {
                    mg_sinks_flush(sinks);
                }
            }
            mg_sink_close(sink);
            mg_sinks_close(sinks, DEADLINE_MS);
            _exit(0);
        }
    }
    close(fds[1]);
    size_t length = 0;
    ssize_t n;
    while ((n = read(fds[0], text + length, sizeof text - 1 - length)) > 0) {
        length += (size_t)n;
    }
    text[length] = '\0';
    close(fds[0]);
    for (int writer = 0; writer < WRITERS; writer++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_whole_lines(text), WRITERS * LINES);
}

/* --- files --- */

static void lines_reach_a_file_made_with_its_mode(void **state)
{
    struct fixture *f = *state;
    const struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_sink(f, &settings);
    put_number(sink, 1);
    drain(f, sink);
    put_number(sink, 2);
    drain(f, sink);
    assert_string_equal(read_file(f->path), "line 000001\nline 000002\n");
    struct stat about;
    assert_int_equal(stat(f->path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);
    mg_sink_close(sink);
}

static void rename_and_reopen_lose_no_line(void **state)
{
    struct fixture *f = *state;
    struct mg_sink_settings settings = file_settings(f);
    settings.reopen_check_ms = 3600 * 1000;
    struct mg_sink *sink = open_sink(f, &settings);
    int number = 0, rotated = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 100; i++) {
            put_number(sink, number++);
            mg_loop_step(&f->loop, false);
        }
        assert_int_equal(rename(f->path, f->other), 0);
        put_number(sink, number++);
        drain(f, sink); /* still the old file, or already the new one */
        put_number(sink, number++);
        mg_sinks_reopen(f->sinks);
        drain(f, sink);
        put_number(sink, number++);
        drain(f, sink);
        rotated += count_whole_lines(read_file(f->other));
    }
    assert_int_equal(rotated + count_whole_lines(read_file(f->path)), number);
    assert_int_equal(counts_of(sink).dropped, 0);
    mg_sink_close(sink);
}

static void a_reopen_happens_without_traffic(void **state)
{
    struct fixture *f = *state;
    const struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_sink(f, &settings);
    assert_int_equal(rename(f->path, f->other), 0);
    mg_sinks_reopen(f->sinks);
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (access(f->path, F_OK) != 0) {
        assert_true(now_ms() < until);
        mg_loop_step(&f->loop, false);
    }
    mg_sink_close(sink);
}

static void a_path_that_leads_elsewhere_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct mg_sink_settings settings = file_settings(f);
    settings.reopen_check_ms = 1;
    struct mg_sink *sink = open_sink(f, &settings);
    put_number(sink, 1);
    drain(f, sink);
    assert_int_equal(unlink(f->path), 0);
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (access(f->path, F_OK) != 0) {
        assert_true(now_ms() < until);
        put_number(sink, 2);
        drain(f, sink);
    }
    mg_sink_close(sink);
}

/* RLIMIT_FSIZE stands for the end of the disk: writes fail, or take only a part. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_costs_lines_but_tears_none(void **state)
{
    struct fixture *f = *state;
    struct mg_sink_settings settings = file_settings(f);
    settings.queue_bytes = 6000; /* 500 lines */
    struct mg_sink *sink = open_sink(f, &settings);
    limit_files(1000); /* 83 lines and a part */
    for (int i = 0; i < 100; i++) {
        put_number(sink, i);
    }
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (counts_of(sink).written < 83) {
        assert_true(now_ms() < until);
        mg_loop_step(&f->loop, false);
    }
    for (int i = 100; i < 2000; i++) {
        put_number(sink, i);
        mg_loop_step(&f->loop, false);
    }
    struct mg_sink_counts counts = counts_of(sink);
    assert_int_equal(counts.written, 83);
    assert_true(counts.dropped > 1000);
    assert_int_equal(count_whole_lines(read_file(f->path)), 83); /* no half line */
    limit_files(RLIM_INFINITY);
    const uint64_t space_back = now_ms();
    drain(f, sink);
    assert_true(now_ms() - space_back < DEADLINE_MS);
    counts = counts_of(sink);
    const char *text = read_file(f->path);
    assert_int_equal(count_whole_lines(text), counts.written);
    assert_non_null(strstr(text, "\"reason\":\"disk\""));
    assert_non_null(strstr(text, "line 001999\n"));
    assert_int_equal(counts.offered, 2000);
    mg_sink_close(sink);
}

static void a_path_that_cannot_be_opened_is_named(void **state)
{
    struct fixture *f = *state;
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink;
    char message[256];
    settings.path = MG_STR("/nonexistent/folder/a.log");
    assert_true(mg_sink_open(f->sinks, &settings, &sink, message, sizeof message) < 0);
    assert_string_equal(
        message, "cannot open the log file /nonexistent/folder/a.log: No such file or directory");
    settings.path = MG_STR("/tmp");
    assert_true(mg_sink_open(f->sinks, &settings, &sink, message, sizeof message) < 0);
    assert_string_equal(message, "cannot open the log file /tmp: Is a directory");
    settings.path = mg_str_from(f->path);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_true(mg_sink_open(f->sinks, &settings, &sink, message, sizeof message) < 0);
    assert_non_null(strstr(message, "nobody reads this pipe"));
}

static void standard_output_may_be_a_file(void **state)
{
    struct fixture *f = *state;
    const int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_stdout(f, fd, &settings);
    put_number(sink, 1);
    drain(f, sink);
    assert_int_equal(write(fd, "line 000002\n", 12), 12); /* the position is shared */
    put_number(sink, 3);
    drain(f, sink);
    assert_string_equal(read_file(f->path), "line 000001\nline 000002\nline 000003\n");
    mg_sink_close(sink);
    close(fd);
}

/* --- the registry --- */

static void equal_settings_are_one_sink(void **state)
{
    struct fixture *f = *state;
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *first = open_sink(f, &settings), *second = open_sink(f, &settings);
    assert_ptr_equal(first, second);
    settings.drop_newest = true;
    struct mg_sink *other = open_sink(f, &settings);
    assert_ptr_not_equal(first, other);
    put_number(first, 1);
    mg_sink_close(first); /* a generation ended: the other one still has the sink */
    put_number(second, 2);
    mg_sink_close(second); /* the last one: what is queued is still written */
    mg_sink_close(other);
    const uint64_t until = now_ms() + DEADLINE_MS;
    while (f->stats.value[MG_STAT_LOG_WRITTEN] < 2) {
        assert_true(now_ms() < until);
        mg_loop_step(&f->loop, false);
    }
    assert_string_equal(read_file(f->path), "line 000001\nline 000002\n");
}

static void closing_writes_what_is_queued(void **state)
{
    struct fixture *f = *state;
    const struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_sink(f, &settings);
    for (int i = 0; i < 1000; i++) {
        put_number(sink, i);
        if (i == 500) {
            mg_sinks_flush(f->sinks); /* a job is under way at the end */
        }
    }
    mg_sink_close(sink);
    close_sinks(f, DEADLINE_MS);
    assert_int_equal(count_whole_lines(read_file(f->path)), 1000);
    assert_int_equal(f->stats.value[MG_STAT_LOG_WRITTEN], 1000);
}

static void a_sink_may_be_closed_after_the_end(void **state)
{
    struct fixture *f = *state;
    const struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_sink(f, &settings);
    put_number(sink, 1);
    close_sinks(f, DEADLINE_MS); /* a generation is freed later than its worker's sinks */
    put_number(sink, 2);
    assert_string_equal(read_file(f->path), "line 000001\n");
    mg_sink_close(sink);
}

static void closing_waits_no_longer_than_it_may(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct mg_sink_settings settings = file_settings(f);
    struct mg_sink *sink = open_stdout(f, fds[1], &settings);
    for (int i = 0; i < 8000; i++) {
        put_number(sink, i);
    }
    mg_sink_close(sink);
    close_sinks(f, 30);
    const uint64_t written = f->stats.value[MG_STAT_LOG_WRITTEN];
    assert_true(written > 0 && written < 8000);
    assert_int_equal(f->stats.value[MG_STAT_LOG_DROPPED], 8000 - written);
    close(fds[0]);
    close(fds[1]);
}

#define WITH_SINKS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SINKS(lines_reach_a_pipe_in_the_same_turn),
        WITH_SINKS(a_pipe_that_nobody_reads_holds_nothing_up),
        WITH_SINKS(a_line_longer_than_a_pipe_takes_is_refused),
        WITH_SINKS(a_reader_that_went_away_costs_its_lines_only),
        WITH_SINKS(several_writers_never_tear_lines_on_a_pipe),
        WITH_SINKS(lines_reach_a_file_made_with_its_mode),
        WITH_SINKS(rename_and_reopen_lose_no_line),
        WITH_SINKS(a_reopen_happens_without_traffic),
        WITH_SINKS(a_path_that_leads_elsewhere_is_noticed),
        WITH_SINKS(a_full_disk_costs_lines_but_tears_none),
        WITH_SINKS(a_path_that_cannot_be_opened_is_named),
        WITH_SINKS(standard_output_may_be_a_file),
        WITH_SINKS(equal_settings_are_one_sink),
        WITH_SINKS(closing_writes_what_is_queued),
        WITH_SINKS(a_sink_may_be_closed_after_the_end),
        WITH_SINKS(closing_waits_no_longer_than_it_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
