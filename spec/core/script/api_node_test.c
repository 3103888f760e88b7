/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins learn of the machine. */
#include "support/request.h"

#include "base/log.h"
#include "base/stats.h"
#include "script/vm.h"

#include "script/ffi.h"

#include <unistd.h>

static void the_node_id_is_a_uuid_and_stays(void **state)
{
    (void)state;
    char first[37] = "", second[37] = "";
    assert_int_equal(mg_ffi_node_id(first, sizeof first), 36);
    assert_int_equal(mg_ffi_node_id(second, sizeof second), 36);
    assert_string_equal(first, second);
    const char *shape = "xxxxxxxx-xxxx-8xxx-yxxx-xxxxxxxxxxxx";
    for (int i = 0; i < 36; i++) {
        if (shape[i] == 'x') {
            assert_non_null(strchr("0123456789abcdef", first[i]));
        } else if (shape[i] == 'y') {
            assert_non_null(strchr("89ab", first[i]));
        } else {
            assert_int_equal(first[i], shape[i]);
        }
    }
    assert_int_equal(mg_ffi_node_id(first, 35), 0);
}

static void the_host_name_is_the_systems(void **state)
{
    (void)state;
    char wanted[256], name[256];
    assert_int_equal(gethostname(wanted, sizeof wanted), 0);
    assert_int_equal(mg_ffi_node_hostname(name, sizeof name), strlen(wanted));
    assert_string_equal(name, wanted);
    assert_int_equal(mg_ffi_node_hostname(name, 1), 0);
}

static void trust_follows_the_configured_ranges(void **state)
{
    struct mg_req *req = *state;
    struct mg_vm vm = {.config = NULL};
    assert_int_equal(mg_ffi_ip_is_trusted(&vm, "10.1.2.3", 8), 0);
    vm.config = req->config;
    assert_int_equal(mg_ffi_ip_is_trusted(&vm, "10.1.2.3", 8), 1);
    assert_int_equal(mg_ffi_ip_is_trusted(&vm, "11.1.2.3", 8), 0);
    assert_int_equal(mg_ffi_ip_is_trusted(&vm, "nonsense", 8), 0);
}

static void the_process_knows_itself(void **state)
{
    (void)state;
    struct mg_vm vm = {.options = {.worker = 1, .workers = 4}};
    assert_int_equal(mg_ffi_process_id(), getpid());
    assert_int_equal(mg_ffi_worker_id(&vm), 1);
    assert_int_equal(mg_ffi_worker_count(&vm), 4);
    assert_string_equal(mg_ffi_version(), MOONGATE_VERSION);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    char one[16] = "", two[17] = "";
    assert_int_equal(mg_ffi_random(one, sizeof one), 1);
    assert_int_equal(mg_ffi_random(two, 16), 1);
    assert_memory_not_equal(one, two, 16);
    assert_int_equal(mg_ffi_random(two, 17), 0);
}

static void statistics_count_connections_and_requests(void **state)
{
    (void)state;
    struct mg_stats stats = {.value = {0}};
    struct mg_vm vm = {.options = {.stats = NULL}};
    struct mg_ffi_statistics seen;
    assert_int_equal(mg_ffi_node_statistics(&vm, &seen), 1);
    assert_true(seen.active == 0 && seen.requests == 0);
    mg_stats_add(&stats, MG_STAT_CONNECTIONS, 3);
    mg_stats_add(&stats, MG_STAT_CONNECTIONS_IDLE, 2);
    mg_stats_add(&stats, MG_STAT_ACCEPTED, 9);
    mg_stats_add(&stats, MG_STAT_REQUESTS, 20);
    mg_stats_add(&stats, MG_STAT_REQUESTS_ACTIVE, 1);
    vm.options.stats = &stats;
    assert_int_equal(mg_ffi_node_statistics(&vm, &seen), 1);
    assert_true(seen.active == 3 && seen.idle == 2 && seen.accepted == 9);
    assert_true(seen.requests == 20 && seen.requests_active == 1);
}

static void a_line_reaches_the_error_log(void **state)
{
    (void)state;
    char path[] = "/tmp/api_node_test.XXXXXX", line[256] = "";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct mg_vm vm = {.options = {.log = NULL}};
    assert_int_equal(mg_ffi_log_enabled(&vm, MG_LOG_ERROR), 0);
    assert_int_equal(mg_log_open(&vm.options.log, path, MG_LOG_NOTICE), 0);
    assert_int_equal(mg_ffi_log_enabled(&vm, MG_LOG_NOTICE), 1);
    assert_int_equal(mg_ffi_log_enabled(&vm, MG_LOG_INFO), 0);
    assert_int_equal(mg_ffi_log_write(&vm, MG_LOG_WARN, "plugin demo", "careful\nx", 9), 1);
    mg_log_close(vm.options.log);
    assert_true(read(fd, line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, " warn plugin demo: careful\\nx\n"));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_node_id_is_a_uuid_and_stays),
        cmocka_unit_test(the_host_name_is_the_systems),
        cmocka_unit_test_setup_teardown(trust_follows_the_configured_ranges, request_setup,
                                        request_teardown),
        cmocka_unit_test(the_process_knows_itself),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(statistics_count_connections_and_requests),
        cmocka_unit_test(a_line_reaches_the_error_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
