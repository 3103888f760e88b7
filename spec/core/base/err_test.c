/* SPDX-License-Identifier: Apache-2.0 */
/* base/err: codes, their texts, and the end of a process with a bug. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const int all[] = {
#define CODE(name, number, text) MG_E##name,
    MG_ERR_MAP(CODE)
#undef CODE
};

static void codes_are_distinct_and_outside_the_range_of_the_system(void **state)
{
    (void)state;
    const size_t count = sizeof all / sizeof all[0];
    for (size_t i = 0; i < count; i++) {
        assert_true(all[i] < MG_ERR_BASE && all[i] < -4096); /* libuv's lowest is -4095 */
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(all[i], all[k]);
        }
    }
}

static void each_code_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(mg_err_name(MG_EHEAD_TOO_LARGE), "HEAD_TOO_LARGE");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_non_null(mg_err_name(all[i]));
    }
    assert_null(mg_err_name(0));
    assert_null(mg_err_name(-ENOENT));
}

static void each_code_has_a_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_string_not_equal(mg_err_text(all[i]), "unknown error");
    }
    assert_string_equal(mg_err_text(0), "success");
    assert_string_equal(mg_err_text(MG_EHOST), "missing or bad Host");
    assert_string_equal(mg_err_text(-ECONNREFUSED), strerror(ECONNREFUSED));
    assert_string_equal(mg_err_text(-999999), "unknown error");
    assert_string_equal(mg_err_text(1), "unknown error");
}

static void a_false_requirement_ends_the_process_and_says_where(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        dup2(pipes[1], STDERR_FILENO);
        mg_require(1 + 1 == 2);
        mg_require(1 + 1 == 3);
        _exit(0);
    }
    close(pipes[1]);
    char text[256] = {0};
    assert_true(read(pipes[0], text, sizeof text - 1) > 0);
    close(pipes[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "1 + 1 == 3"));
    assert_non_null(strstr(text, "err_test.c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_distinct_and_outside_the_range_of_the_system),
        cmocka_unit_test(each_code_has_a_name),
        cmocka_unit_test(each_code_has_a_text),
        cmocka_unit_test(a_false_requirement_ends_the_process_and_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
