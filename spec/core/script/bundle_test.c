/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles: what is written is read back, and nothing else is accepted. */
#define _GNU_SOURCE /* memfd_create */
#include "script/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int make(const struct mg_plan *plan)
{
    struct mg_bundle_writer writer;
    mg_bundle_writer_init(&writer);
    assert_int_equal(mg_bundle_writer_add(&writer, MG_STR("file"), MG_STR("moongate.yml")), 0);
    assert_int_equal(mg_bundle_writer_add(&writer, MG_STR("lua:a"), MG_STR("return 1")), 0);
    assert_int_equal(mg_bundle_writer_add(&writer, MG_STR("lua:b"), MG_STR("")), 0);
    assert_int_equal(mg_bundle_writer_plan(&writer, plan), 0);
    const int fd = mg_bundle_writer_seal(&writer);
    assert_true(fd >= 0);
    return fd;
}

static void count(void *context, mg_str name, mg_str data)
{
    (void)name;
    (void)data;
    ++*(int *)context;
}

static void entries_are_found_by_name_and_prefix(void **state)
{
    (void)state;
    struct mg_bundle bundle;
    assert_int_equal(mg_bundle_open(&bundle, make(&(struct mg_plan){0})), 0);
    mg_str data;
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:a"), &data));
    assert_true(mg_str_equal(data, MG_STR("return 1")));
    assert_true(mg_bundle_find(&bundle, MG_STR("lua:b"), &data));
    assert_int_equal(data.len, 0);
    assert_false(mg_bundle_find(&bundle, MG_STR("lua:"), &data));
    int found = 0;
    mg_bundle_each(&bundle, MG_STR("lua:"), count, &found);
    assert_int_equal(found, 2);
    mg_bundle_close(&bundle);
}

static void the_plan_comes_back_as_it_was(void **state)
{
    (void)state;
    struct mg_plan plan = {.workers = 4,
                           .shared_memory = 1ULL << 40,
                           .limit_cells = 65536,
                           .breakers = 3,
                           .watchdog_ms = 2000,
                           .drain_delay = 1,
                           .drain_timeout = 30000,
                           .init_timeout = 10000,
                           .user = "www-data",
                           .error_log = "/var/log/with space.log",
                           .log_level = "notice",
                           .listener_count = 2};
    plan.listeners[0] = (struct mg_plan_listener){.address = "[::]:8000", .backlog = 1024};
    plan.listeners[1] = (struct mg_plan_listener){.address = "unix:/run/a b.sock", .backlog = 5};
    struct mg_bundle bundle;
    assert_int_equal(mg_bundle_open(&bundle, make(&plan)), 0);
    memcpy(plan.digest, bundle.plan.digest, sizeof plan.digest);
    assert_int_equal(strlen(plan.digest), 64);
    assert_memory_equal(&bundle.plan.listeners, &plan.listeners, sizeof plan.listeners);
    assert_int_equal(bundle.plan.workers, 4);
    assert_true(bundle.plan.shared_memory == 1ULL << 40);
    assert_int_equal(bundle.plan.limit_cells, 65536);
    assert_int_equal(bundle.plan.breakers, 3);
    assert_int_equal(bundle.plan.drain_timeout, 30000);
    assert_string_equal(bundle.plan.user, "www-data");
    assert_string_equal(bundle.plan.error_log, "/var/log/with space.log");
    assert_string_equal(bundle.plan.log_level, "notice");
    mg_bundle_close(&bundle);
}

static void a_line_end_cannot_be_smuggled_into_the_plan(void **state)
{
    (void)state;
    struct mg_bundle_writer writer;
    mg_bundle_writer_init(&writer);
    const struct mg_plan plan = {.error_log = "a\nworkers 9"};
    assert_int_equal(mg_bundle_writer_plan(&writer, &plan), MG_EINVALID);
    mg_buf_deinit(&writer.bytes);
}

static void the_digest_changes_with_any_byte(void **state)
{
    (void)state;
    struct mg_bundle one, same, other;
    assert_int_equal(mg_bundle_open(&one, make(&(struct mg_plan){.workers = 1})), 0);
    assert_int_equal(mg_bundle_open(&same, make(&(struct mg_plan){.workers = 1})), 0);
    assert_int_equal(mg_bundle_open(&other, make(&(struct mg_plan){.workers = 2})), 0);
    assert_string_equal(one.plan.digest, same.plan.digest);
    assert_string_not_equal(one.plan.digest, other.plan.digest);
    mg_bundle_close(&one);
    mg_bundle_close(&same);
    mg_bundle_close(&other);
}

static void a_sealed_bundle_cannot_be_changed(void **state)
{
    (void)state;
    const int fd = make(&(struct mg_plan){0});
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, 3), -1);
    close(fd);
}

static int fd_of(const char *bytes, size_t length)
{
    const int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    return fd;
}

static void what_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    struct mg_bundle bundle;
    assert_int_equal(mg_bundle_open(&bundle, make(&(struct mg_plan){.workers = 1})), 0);
    for (size_t length = 0; length <= bundle.bytes; length++) {
        struct mg_bundle part;
        const int fd = fd_of(bundle.data, length);
        const int err = mg_bundle_open(&part, fd);
        assert_int_equal(err == 0, length == bundle.bytes);
        if (err) {
            close(fd); /* it stays ours */
        } else {
            mg_bundle_close(&part);
        }
    }
    mg_bundle_close(&bundle);
}

static void lengths_that_lie_are_refused(void **state)
{
    (void)state;
    struct mg_bundle good, bad;
    assert_int_equal(mg_bundle_open(&good, make(&(struct mg_plan){0})), 0);
    char copy[4096];
    assert_true(good.bytes <= sizeof copy);
    for (size_t at = 16; at < 24; at++) { /* both lengths of the first entry */
        memcpy(copy, good.data, good.bytes);
        copy[at] = (char)0xff;
        const int fd = fd_of(copy, good.bytes);
        assert_int_equal(mg_bundle_open(&bad, fd), MG_EINVALID);
        close(fd);
    }
    mg_bundle_close(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_by_name_and_prefix),
        cmocka_unit_test(the_plan_comes_back_as_it_was),
        cmocka_unit_test(a_line_end_cannot_be_smuggled_into_the_plan),
        cmocka_unit_test(the_digest_changes_with_any_byte),
        cmocka_unit_test(a_sealed_bundle_cannot_be_changed),
        cmocka_unit_test(what_is_cut_or_longer_is_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
