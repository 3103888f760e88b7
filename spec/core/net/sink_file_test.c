/* SPDX-License-Identifier: Apache-2.0 */
/* One job of a log file, run on this thread: whole lines or nothing, also when the disk is full. */
#include "net/sink_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE "0123456789\n"
#define LINE_BYTES 11

static char folder[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mg-sink-file-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/access.log", folder);
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}

/* RLIMIT_FSIZE stands for the end of the disk: writes fail, or take only a part. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int teardown(void **state)
{
    (void)state;
    limit_files(RLIM_INFINITY);
    unlink(path);
    rmdir(folder);
    return 0;
}

static struct mg_sink_file open_file(void)
{
    struct mg_sink_file file;
    assert_int_equal(mg_sink_file_open(&file, mg_str_from(path), 0600, 1000), 0);
    return file;
}

static void run(struct mg_sink_file *file, const char *lead, const char *data)
{
    file->lead = mg_str_from(lead);
    file->data = mg_str_from(data);
    mg_sink_file_run(file);
}

static size_t file_size(void)
{
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    return (size_t)about.st_size;
}

static void a_line_that_does_not_fit_is_cut_off_again(void **state)
{
    (void)state;
    struct mg_sink_file file = open_file();
    limit_files(2 * LINE_BYTES + 5);
    run(&file, "", LINE LINE LINE LINE);
    assert_int_equal(file.data_done, 2 * LINE_BYTES);
    assert_true(file.err < 0);
    assert_int_equal(file_size(), 2 * LINE_BYTES);
    run(&file, "", LINE LINE);
    assert_int_equal(file.data_done, 0);
    assert_int_equal(file_size(), 2 * LINE_BYTES);
    limit_files(RLIM_INFINITY);
    run(&file, "", LINE LINE);
    assert_int_equal(file.err, 0);
    assert_int_equal(file.data_done, 2 * LINE_BYTES);
    assert_int_equal(file_size(), 4 * LINE_BYTES);
    mg_sink_file_close(&file);
}

static void without_its_lead_no_data_is_written(void **state)
{
    (void)state;
    struct mg_sink_file file = open_file();
    limit_files(LINE_BYTES - 1);
    run(&file, LINE, "a\n");
    assert_false(file.lead_done);
    assert_int_equal(file.data_done, 0);
    assert_int_equal(file_size(), 0);
    limit_files(RLIM_INFINITY);
    run(&file, LINE, "a\n");
    assert_true(file.lead_done);
    assert_int_equal(file_size(), LINE_BYTES + 2);
    mg_sink_file_close(&file);
}

static void a_reopen_that_fails_keeps_the_old_file(void **state)
{
    (void)state;
    struct mg_sink_file file = open_file();
    char moved[96];
    snprintf(moved, sizeof moved, "%s.d", folder);
    assert_int_equal(rename(folder, moved), 0);
    file.reopen = true;
    run(&file, "", LINE);
    assert_int_equal(file.err, -ENOENT);
    assert_int_equal(file.data_done, LINE_BYTES);
    assert_true(file.reopen); /* still to be done */
    assert_int_equal(rename(moved, folder), 0);
    run(&file, "", LINE);
    assert_int_equal(file.err, 0);
    assert_false(file.reopen);
    assert_int_equal(file_size(), 2 * LINE_BYTES);
    mg_sink_file_close(&file);
}

static void long_data_goes_in_pieces_of_whole_lines(void **state)
{
    (void)state;
    enum { LINES = 20000 };
    struct mg_sink_file file = open_file();
    char *data = malloc(LINES * LINE_BYTES + 1);
    assert_non_null(data);
    for (int i = 0; i < LINES; i++) {
        memcpy(data + i * LINE_BYTES, LINE, LINE_BYTES + 1);
    }
    limit_files(100000);
    run(&file, "", data);
    assert_int_equal(file.data_done, 100000 / LINE_BYTES * LINE_BYTES);
    assert_int_equal(file_size(), file.data_done);
    free(data);
    mg_sink_file_close(&file);
}

static int write_many(int writes)
{
    struct mg_sink_file file = open_file();
    for (int i = 0; i < writes; i++) {
        run(&file, "", LINE LINE LINE);
    }
    mg_sink_file_close(&file);
    return 0;
}

static void writers_that_share_a_full_file_leave_whole_lines(void **state)
{
    (void)state;
    limit_files(50000);
    fflush(stdout);
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            _exit(write_many(1000));
        }
    }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    limit_files(RLIM_INFINITY);
    assert_int_equal(file_size(), 50000 / LINE_BYTES * LINE_BYTES);
    char line[LINE_BYTES];
    const int fd = open(path, O_RDONLY);
    while (read(fd, line, LINE_BYTES) == LINE_BYTES) {
        assert_memory_equal(line, LINE, LINE_BYTES);
    }
    close(fd);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_line_that_does_not_fit_is_cut_off_again),
        WITH_FOLDER(without_its_lead_no_data_is_written),
        WITH_FOLDER(a_reopen_that_fails_keeps_the_old_file),
        WITH_FOLDER(long_data_goes_in_pieces_of_whole_lines),
        WITH_FOLDER(writers_that_share_a_full_file_leave_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
