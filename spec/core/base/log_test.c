/* SPDX-License-Identifier: Apache-2.0 */
/* The error log: its line, escaping, suppression, and what happens when the fd refuses. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WALL_MS 1795491600123 /* 2026-11-24T03:40:00.123Z */

struct fixture {
    struct mg_log *log;
    struct mg_clock clock;
    char folder[32], path[64];
};

static void set_up(struct fixture *f, enum mg_log_level level)
{
    snprintf(f->folder, sizeof f->folder, "/tmp/moongate-log-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/error.log", f->folder);
    assert_int_equal(mg_log_open(&f->log, f->path, level), 0);
    mg_clock_init_virtual(&f->clock, WALL_MS);
    mg_log_set_clock(f->log, &f->clock);
}

static void tear_down(struct fixture *f)
{
    mg_log_close(f->log);
    unlink(f->path);
    assert_return_code(rmdir(f->folder), 0);
}

/* The file's content; the caller frees it. */
static char *content(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_true(fread(text, 1, 65535, file) < 65535);
    fclose(file);
    return text;
}

static void expect_content(struct fixture *f, const char *expected)
{
    char *text = content(f->path);
    assert_string_equal(text, expected);
    free(text);
    assert_return_code(truncate(f->path, 0), 0);
}

static void writes_time_level_component_and_message(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    mg_log_write(f.log, MG_LOG_WARN, "worker", "cannot accept error=%d", 24);
    mg_log_write(f.log, MG_LOG_EMERG, "plugin x", "%s", "gone");
    mg_log_write(f.log, MG_LOG_DEBUG, "worker", "not this one");
    expect_content(&f, "2026-11-24T03:40:00.123Z warn worker: cannot accept error=24\n"
                       "2026-11-24T03:40:00.123Z emerg plugin x: gone\n");
    mg_log_set_level(f.log, MG_LOG_DEBUG);
    assert_true(mg_log_enabled(f.log, MG_LOG_DEBUG));
    assert_false(mg_log_enabled(NULL, MG_LOG_EMERG));
    mg_log_write(NULL, MG_LOG_EMERG, "worker", "nowhere");
    expect_content(&f, "");
    tear_down(&f);
}

static void a_peers_bytes_cannot_make_a_line_or_reach_the_terminal(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    static const char bytes[] =
        "a\nb\r\tc\x1b[2J\x7f\0 \xc3\xa9 \xc2\x85 \xff\xe2\x82 \xed\xa0\x80 "
        "\xf0\x9f\x8c\x99 \xf4\x90\x80\x80 \xc0\xaf \xe0\x80\xaf";
    mg_log_bytes(f.log, MG_LOG_INFO, "x", NULL, mg_str_make(bytes, sizeof bytes - 1));
    expect_content(&f, "2026-11-24T03:40:00.123Z info x: a\\nb\\r\\tc\\x1b[2J\\x7f\\x00 \xc3\xa9 "
                       "\\xc2\\x85 \\xff\\xe2\\x82 \\xed\\xa0\\x80 \xf0\x9f\x8c\x99 "
                       "\\xf4\\x90\\x80\\x80 \\xc0\\xaf \\xe0\\x80\\xaf\n");
    tear_down(&f);
}

static void cuts_a_line_at_four_kilobytes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    char *big = malloc(10000);
    assert_non_null(big);
    memset(big, 'a', 9999);
    big[9999] = '\0';
    mg_log_write(f.log, MG_LOG_INFO, "x", "%s", big);
    memset(big, '\n', 9999);
    mg_log_write(f.log, MG_LOG_INFO, "x", "%s", big);
    char *text = content(f.path);
    char *end = strchr(text, '\n');
    assert_non_null(end);
    assert_in_range(end - text, MG_LOG_LINE_BYTES - 12, MG_LOG_LINE_BYTES - 1);
    assert_memory_equal(end - 6, "a[cut]", 6);
    assert_in_range(strlen(end + 1), MG_LOG_LINE_BYTES - 12, MG_LOG_LINE_BYTES);
    assert_string_equal(end + strlen(end) - 8, "\\n[cut]\n");
    free(text);
    free(big);
    tear_down(&f);
}

/* The longest message that is not cut, and one byte more. */
static void a_line_that_just_fits_is_whole(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    char big[MG_LOG_LINE_BYTES];
    memset(big, 'a', sizeof big);
    const size_t head = strlen("2026-11-24T03:40:00.123Z info x: ");
    const size_t fits = MG_LOG_LINE_BYTES - 8 - head;
    mg_log_bytes(f.log, MG_LOG_INFO, "x", NULL, mg_str_make(big, fits));
    char *text = content(f.path);
    assert_int_equal(strlen(text), head + fits + 1);
    assert_null(strstr(text, "[cut]"));
    free(text);
    mg_log_bytes(f.log, MG_LOG_INFO, "x", NULL, mg_str_make(big, fits + 1));
    text = content(f.path);
    assert_non_null(strstr(text, "a[cut]\n"));
    free(text);
    tear_down(&f);
}

static void noise(struct fixture *f, int lines)
{
    for (int i = 0; i < lines; i++) {
        mg_log_write(f->log, MG_LOG_ERROR, "site", "n=%d", i);
    }
}

static int count_lines(struct fixture *f)
{
    int lines = 0;
    char *text = content(f->path);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    free(text);
    return lines;
}

static void a_noisy_site_is_counted_instead(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    noise(&f, 10);
    assert_int_equal(count_lines(&f), 10);
    noise(&f, 25);
    assert_int_equal(count_lines(&f), 10);
    mg_log_write(f.log, MG_LOG_ERROR, "other", "another site still writes");
    assert_int_equal(count_lines(&f), 11);
    assert_return_code(truncate(f.path, 0), 0);
    mg_clock_advance(&f.clock, 1000000);
    noise(&f, 1);
    expect_content(&f, "2026-11-24T03:40:01.123Z warn site: 25 suppressed\n"
                       "2026-11-24T03:40:01.123Z error site: n=0\n");
    tear_down(&f);
}

static void a_flush_pays_what_is_owed_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    noise(&f, 12);
    assert_return_code(truncate(f.path, 0), 0);
    mg_log_flush(f.log);
    mg_log_flush(f.log);
    mg_log_flush(NULL);
    expect_content(&f, "2026-11-24T03:40:00.123Z warn site: 2 suppressed\n");
    tear_down(&f);
}

static void a_component_need_not_outlive_its_lines(void **state)
{
    (void)state;
    static const char site[] = "site";
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    char component[] = "plugin brief";
    for (int i = 0; i < 11; i++) {
        mg_log_bytes(f.log, MG_LOG_WARN, component, site, MG_STR("x"));
    }
    memset(component, 'z', sizeof component - 1); /* somebody else's by now */
    assert_return_code(truncate(f.path, 0), 0);
    mg_log_flush(f.log);
    expect_content(&f, "2026-11-24T03:40:00.123Z warn plugin brief: 1 suppressed\n");
    tear_down(&f);
}

static void a_line_without_a_site_is_never_suppressed(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    for (int i = 0; i < 30; i++) {
        mg_log_bytes(f.log, MG_LOG_INFO, "x", NULL, MG_STR("line"));
    }
    assert_int_equal(count_lines(&f), 30);
    tear_down(&f);
}

static void a_report_is_a_line_for_each_of_its_lines(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, MG_LOG_INFO);
    mg_log_text(f.log, MG_LOG_ERROR, "reload", MG_STR("a.yml:1:1: no\n    1 | x\t: y\n\n1 error."));
    mg_log_text(f.log, MG_LOG_DEBUG, "reload", MG_STR("not this one"));
    expect_content(&f, "2026-11-24T03:40:00.123Z error reload: a.yml:1:1: no\n"
                       "2026-11-24T03:40:00.123Z error reload:     1 | x\\t: y\n"
                       "2026-11-24T03:40:00.123Z error reload: 1 error.\n");
    tear_down(&f);
}

static void a_long_report_is_cut_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    char text[2 * (MG_LOG_TEXT_LINES + 3)];
    set_up(&f, MG_LOG_INFO);
    for (size_t extra = 0; extra <= 3; extra += 3) {
        const size_t lines = MG_LOG_TEXT_LINES + extra;
        for (size_t i = 0; i < lines; i++) {
            text[2 * i] = 'x';
            text[2 * i + 1] = '\n';
        }
        mg_log_text(f.log, MG_LOG_ERROR, "reload", mg_str_make(text, 2 * lines));
        char *written = content(f.path);
        size_t count = 0;
        for (const char *at = written; (at = strchr(at, '\n')); at++) {
            count++;
        }
        assert_int_equal(count, MG_LOG_TEXT_LINES + (extra ? 1 : 0));
        assert_int_equal(strstr(written, "error reload: 3 more lines\n") != NULL, extra > 0);
        free(written);
        assert_return_code(truncate(f.path, 0), 0);
    }
    tear_down(&f);
}

static void reopens_for_rotation_and_keeps_the_old_file_on_failure(void **state)
{
    (void)state;
    struct fixture f;
    char moved[80];
    set_up(&f, MG_LOG_INFO);
    snprintf(moved, sizeof moved, "%s.1", f.path);
    mg_log_write(f.log, MG_LOG_INFO, "x", "before");
    assert_return_code(rename(f.path, moved), 0);
    assert_int_equal(mg_log_reopen(f.log), 0);
    mg_log_write(f.log, MG_LOG_INFO, "x", "after");
    expect_content(&f, "2026-11-24T03:40:00.123Z info x: after\n");
    unlink(f.path);
    assert_return_code(mkdir(f.path, 0700), 0);
    assert_int_equal(mg_log_reopen(f.log), -EISDIR);
    mg_log_write(f.log, MG_LOG_INFO, "x", "goes on");
    assert_return_code(rmdir(f.path), 0);
    unlink(moved);
    tear_down(&f);
}

static void a_file_that_cannot_be_opened_is_an_error(void **state)
{
    (void)state;
    struct mg_log *log;
    assert_int_equal(mg_log_open(&log, "/nonexistent/folder/error.log", MG_LOG_INFO), -ENOENT);
    assert_null(log);
    assert_int_equal(mg_log_open(&log, "stderr", MG_LOG_CRIT), 0);
    assert_int_equal(mg_log_reopen(log), 0);
    mg_log_close(log);
    mg_log_close(NULL);
    assert_return_code(fcntl(STDERR_FILENO, F_GETFD), 0);
}

/* The log is a FIFO whose reader does not read: nothing blocks, and the loss is reported. */
static void counts_what_a_full_pipe_refuses(void **state)
{
    (void)state;
    struct fixture f = {.log = NULL};
    char bytes[4096];
    snprintf(f.folder, sizeof f.folder, "/tmp/moongate-log-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    snprintf(f.path, sizeof f.path, "%s/fifo", f.folder);
    assert_return_code(mkfifo(f.path, 0600), 0);
    const int reader = open(f.path, O_RDONLY | O_NONBLOCK);
    const int writer = open(f.path, O_WRONLY | O_NONBLOCK);
    assert_int_equal(mg_log_open(&f.log, f.path, MG_LOG_INFO), 0);
    mg_clock_init_virtual(&f.clock, WALL_MS);
    mg_log_set_clock(f.log, &f.clock);
    memset(bytes, '-', sizeof bytes);
    while (write(writer, bytes, sizeof bytes) > 0) {
    }
    mg_log_write(f.log, MG_LOG_INFO, "x", "one");
    mg_log_write(f.log, MG_LOG_INFO, "x", "two");
    mg_log_flush(f.log); /* still full: the count is kept */
    while (read(reader, bytes, sizeof bytes) > 0) {
    }
    mg_log_write(f.log, MG_LOG_INFO, "x", "three");
    const char *expected = "2026-11-24T03:40:00.123Z warn log: 2 lost\n"
                           "2026-11-24T03:40:00.123Z info x: three\n";
    const ssize_t count = read(reader, bytes, sizeof bytes);
    assert_int_equal(count, strlen(expected));
    assert_memory_equal(bytes, expected, strlen(expected));
    close(reader);
    close(writer);
    tear_down(&f);
}

/* The log on a standard error that is fd; what was standard error comes back as *saved. */
static struct mg_log *open_on_stderr(int fd, int *saved)
{
    struct mg_log *log;
    *saved = dup(STDERR_FILENO);
    assert_return_code(dup2(fd, STDERR_FILENO), 0);
    assert_int_equal(mg_log_open(&log, NULL, MG_LOG_INFO), 0);
    return log;
}

static void put_stderr_back(int saved)
{
    assert_return_code(dup2(saved, STDERR_FILENO), 0);
    close(saved);
}

/* Both ends block, as those a service manager hands out. A log that waits here waits for ever, and
 * the alarm ends the test. */
static void expect_no_waiting(int reader, int writer)
{
    char bytes[4096] = "";
    int saved;
    alarm(20);
    struct mg_log *log = open_on_stderr(writer, &saved);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0); /* others' too: left alone */
    for (int i = 0; i < 3000; i++) { /* each second lets ten through, so time goes on */
        struct mg_clock clock;
        mg_clock_init_virtual(&clock, WALL_MS + i * 1000);
        mg_log_set_clock(log, &clock);
        mg_log_write(log, MG_LOG_INFO, "x", "%0300d", i);
        mg_log_set_clock(log, NULL);
    }
    assert_return_code(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
    while (read(reader, bytes, sizeof bytes) > 0) {
    }
    mg_log_write(log, MG_LOG_INFO, "y", "behind it");
    const ssize_t count = read(reader, bytes, sizeof bytes - 1);
    assert_true(count > 0);
    bytes[count] = '\0';
    assert_non_null(strstr(bytes, " lost\n"));
    mg_log_close(log);
    put_stderr_back(saved);
    alarm(0);
    close(reader);
    close(writer);
}

static void does_not_wait_for_who_reads_standard_error(void **state)
{
    (void)state;
    int fds[2];
    assert_return_code(pipe(fds), 0);
    expect_no_waiting(fds[0], fds[1]);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    expect_no_waiting(fds[0], fds[1]);
}

/* `2> file`: other lines go there through the same descriptor. */
static void keeps_the_place_in_a_file_that_others_write_too(void **state)
{
    (void)state;
    struct fixture f;
    int saved;
    set_up(&f, MG_LOG_INFO);
    const int fd = open(f.path, O_WRONLY | O_TRUNC);
    struct mg_log *log = open_on_stderr(fd, &saved);
    mg_log_set_clock(log, &f.clock);
    assert_int_equal(write(STDERR_FILENO, "before\n", 7), 7);
    mg_log_write(log, MG_LOG_INFO, "x", "one");
    assert_int_equal(write(STDERR_FILENO, "after\n", 6), 6);
    mg_log_close(log);
    put_stderr_back(saved);
    close(fd);
    expect_content(&f, "before\n2026-11-24T03:40:00.123Z info x: one\nafter\n");
    tear_down(&f);
}

static void knows_the_names_of_the_levels(void **state)
{
    (void)state;
    enum mg_log_level level;
    for (int i = MG_LOG_EMERG; i <= MG_LOG_DEBUG; i++) {
        const char *name = mg_log_level_name((enum mg_log_level)i);
        assert_int_equal(mg_log_level_parse(mg_str_from(name), &level), 0);
        assert_int_equal(level, i);
    }
    assert_int_equal(mg_log_level_parse(MG_STR("warning"), &level), 0);
    assert_int_equal(level, MG_LOG_WARN);
    assert_int_equal(mg_log_level_parse(MG_STR("err"), &level), 0);
    assert_int_equal(level, MG_LOG_ERROR);
    assert_int_equal(mg_log_level_parse(MG_STR("loud"), &level), MG_EINVALID);
}

static void quotes_a_value(void **state)
{
    (void)state;
    char text[8];
    assert_string_equal(mg_log_quote(text, sizeof text, MG_STR("a b")), "\"a b\"");
    assert_string_equal(mg_log_quote(text, sizeof text, MG_STR("\"\\")), "\"\\\"\\\\\"");
    assert_string_equal(mg_log_quote(text, sizeof text, MG_STR("abcdefgh")), "\"abcd\"");
    assert_string_equal(mg_log_quote(text, 3, MG_STR("abc")), "\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_time_level_component_and_message),
        cmocka_unit_test(a_peers_bytes_cannot_make_a_line_or_reach_the_terminal),
        cmocka_unit_test(cuts_a_line_at_four_kilobytes),
        cmocka_unit_test(a_line_that_just_fits_is_whole),
        cmocka_unit_test(a_noisy_site_is_counted_instead),
        cmocka_unit_test(a_flush_pays_what_is_owed_once),
        cmocka_unit_test(a_component_need_not_outlive_its_lines),
        cmocka_unit_test(a_line_without_a_site_is_never_suppressed),
        cmocka_unit_test(a_report_is_a_line_for_each_of_its_lines),
        cmocka_unit_test(a_long_report_is_cut_and_counted),
        cmocka_unit_test(reopens_for_rotation_and_keeps_the_old_file_on_failure),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_an_error),
        cmocka_unit_test(counts_what_a_full_pipe_refuses),
        cmocka_unit_test(does_not_wait_for_who_reads_standard_error),
        cmocka_unit_test(keeps_the_place_in_a_file_that_others_write_too),
        cmocka_unit_test(knows_the_names_of_the_levels),
        cmocka_unit_test(quotes_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
