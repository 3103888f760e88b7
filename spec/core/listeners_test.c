/* SPDX-License-Identifier: Apache-2.0 */
/* The master's listening sockets: one for each worker, all or nothing. */
#include "listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/moongate-test-XXXXXX";

static struct mg_plan plan_of(const char *first, const char *second)
{
    struct mg_plan plan = {.listener_count = second ? 2 : 1};
    snprintf(plan.listeners[0].address, sizeof plan.listeners[0].address, "%s", first);
    snprintf(plan.listeners[1].address, sizeof plan.listeners[1].address, "%s",
             second ? second : "");
    plan.listeners[0].backlog = plan.listeners[1].backlog = 16;
    return plan;
}

static bool is_open(int fd)
{
    return fd >= 0 && fcntl(fd, F_GETFD) >= 0;
}

static void workers_have_sockets_of_their_own_on_one_port(void **state)
{
    (void)state;
    const struct mg_plan plan = plan_of("127.0.0.1:0", NULL);
    struct mg_listeners listeners;
    char message[256];
    char text[256];
    char expected[64];
    assert_int_equal(mg_listeners_bind(&listeners, &plan, 3, message, sizeof message), 0);
    const int first = mg_listeners_fd(&listeners, 0, 0);
    const uint16_t port = mg_listen_port(first);
    assert_true(port > 0);
    for (uint32_t i = 1; i < 3; i++) {
        assert_int_not_equal(mg_listeners_fd(&listeners, i, 0), first);
        assert_int_equal(mg_listen_port(mg_listeners_fd(&listeners, i, 0)), port);
    }
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    mg_listeners_describe(&listeners, text, sizeof text);
    assert_string_equal(text, expected);
    mg_listeners_close(&listeners);
    assert_false(is_open(first));
}

static void a_new_worker_keeps_only_what_is_its_own(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "unix:%s/own", folder);
    const struct mg_plan plan = plan_of("127.0.0.1:0", path);
    struct mg_listeners listeners;
    char message[256];
    assert_int_equal(mg_listeners_bind(&listeners, &plan, 2, message, sizeof message), 0);
    const int other = mg_listeners_fd(&listeners, 0, 0);
    const int own = mg_listeners_fd(&listeners, 1, 0);
    const int shared = mg_listeners_fd(&listeners, 1, 1);
    assert_int_equal(mg_listeners_fd(&listeners, 0, 1), shared);
    mg_listeners_keep(&listeners, 1);
    assert_false(is_open(other));
    assert_true(is_open(own) && is_open(shared));
    mg_listeners_close(&listeners);
    assert_false(is_open(own) || is_open(shared));
    mg_listeners_unlink(&listeners);
    assert_int_equal(access(path + strlen("unix:"), F_OK), -1);
}

static void a_taken_port_undoes_the_rest(void **state)
{
    (void)state;
    struct mg_listeners holder;
    struct mg_listeners listeners;
    char message[256] = "";
    char path[128];
    char taken[64];
    struct mg_plan plan = plan_of("127.0.0.1:0", NULL);
    assert_int_equal(mg_listeners_bind(&holder, &plan, 1, message, sizeof message), 0);
    mg_listeners_describe(&holder, taken, sizeof taken);
    snprintf(path, sizeof path, "unix:%s/undone", folder);
    plan = plan_of(path, taken);
    assert_int_equal(mg_listeners_bind(&listeners, &plan, 2, message, sizeof message), -EADDRINUSE);
    assert_non_null(strstr(message, taken));
    assert_int_equal(access(path + strlen("unix:"), F_OK), -1);
    assert_null(listeners.fds);
    mg_listeners_close(&holder);
}

static void what_is_no_address_is_named_with_its_place(void **state)
{
    (void)state;
    const struct mg_plan plan = plan_of("127.0.0.1:0", "localhost:80");
    struct mg_listeners listeners;
    char message[256] = "";
    assert_int_equal(mg_listeners_bind(&listeners, &plan, 1, message, sizeof message), MG_EINVALID);
    assert_non_null(strstr(message, "gateway.listeners[1].address: 'localhost:80'"));
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_have_sockets_of_their_own_on_one_port),
        cmocka_unit_test(a_new_worker_keeps_only_what_is_its_own),
        cmocka_unit_test(a_taken_port_undoes_the_rest),
        cmocka_unit_test(what_is_no_address_is_named_with_its_place),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
