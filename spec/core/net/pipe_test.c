/* SPDX-License-Identifier: Apache-2.0 */
/* The pipes of a loop: how many there are, which are lent again, and what a refusal costs. */
#include "net/pipe.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static void the_one_that_came_back_last_is_lent_first(void **state)
{
    (void)state;
    struct mg_pipes pipes = {0};
    struct mg_pipe *first = mg_pipes_take(&pipes);
    struct mg_pipe *second = mg_pipes_take(&pipes);
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first->bytes >= MG_PIPE_LEAST);
    mg_pipes_put(&pipes, first, 0);
    mg_pipes_put(&pipes, second, 0);
    assert_ptr_equal(mg_pipes_take(&pipes), second);
    mg_pipes_put(&pipes, second, 0);
    assert_int_equal(pipes.count, 2);
    mg_pipes_deinit(&pipes);
}

static void neither_end_blocks_or_survives_exec(void **state)
{
    (void)state;
    struct mg_pipes pipes = {0};
    struct mg_pipe *pipe = mg_pipes_take(&pipes);
    const int fds[] = {pipe->read_fd, pipe->write_fd};
    for (size_t i = 0; i < 2; i++) {
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    }
    mg_pipes_put(&pipes, pipe, 0);
    mg_pipes_deinit(&pipes);
}

static void one_that_is_not_empty_is_closed(void **state)
{
    (void)state;
    struct mg_pipes pipes = {0};
    struct mg_pipe *pipe = mg_pipes_take(&pipes);
    const int fd = pipe->read_fd;
    assert_int_equal(write(pipe->write_fd, "secret", 6), 6);
    mg_pipes_put(&pipes, pipe, 6);
    assert_int_equal(pipes.count, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    mg_pipes_deinit(&pipes);
}

static void there_are_no_more_than_so_many(void **state)
{
    (void)state;
    struct mg_pipes pipes = {0};
    struct mg_pipe *taken[MG_PIPES];
    for (size_t i = 0; i < MG_PIPES; i++) {
        taken[i] = mg_pipes_take(&pipes);
        assert_non_null(taken[i]);
    }
    assert_null(mg_pipes_take(&pipes));
    mg_pipes_put(&pipes, taken[0], 0);
    assert_ptr_equal(mg_pipes_take(&pipes), taken[0]);
    for (size_t i = 0; i < MG_PIPES; i++) {
        mg_pipes_put(&pipes, taken[i], 0);
    }
    mg_pipes_deinit(&pipes);
}

/* One descriptor short of a pipe, and none at all. */
static void a_refusal_leaks_nothing_and_is_not_asked_for_at_once(void **state)
{
    (void)state;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = dup(0);
    close(next);
    for (rlim_t room = 0; room < 2; room++) {
        struct mg_pipes pipes = {0};
        const struct rlimit few = {.rlim_cur = (rlim_t)next + room, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        assert_null(mg_pipes_take(&pipes));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        int refusals = 0;
        struct mg_pipe *pipe;
        while (!(pipe = mg_pipes_take(&pipes))) { /* though there is one to be had again */
            refusals++;
        }
        assert_in_range(refusals, 100, 10000);
        assert_int_equal(pipe->read_fd, next);
        mg_pipes_put(&pipes, pipe, 0);
        mg_pipes_deinit(&pipes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_came_back_last_is_lent_first),
        cmocka_unit_test(neither_end_blocks_or_survives_exec),
        cmocka_unit_test(one_that_is_not_empty_is_closed),
        cmocka_unit_test(there_are_no_more_than_so_many),
        cmocka_unit_test(a_refusal_leaks_nothing_and_is_not_asked_for_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
