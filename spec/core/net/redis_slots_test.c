/* SPDX-License-Identifier: Apache-2.0 */
/* Hash slots: of keys (values from the cluster specification), of CLUSTER SLOTS, redirections. */
#include "net/redis_slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void slots_of_keys_are_those_of_the_specification(void **state)
{
    (void)state;
    assert_int_equal(mg_redis_slot_of(MG_STR("123456789")), 0x31C3);
    assert_int_equal(mg_redis_slot_of(MG_STR("")), 0);
    assert_int_equal(mg_redis_slot_of(MG_STR("foo")), 12182);
    assert_int_equal(mg_redis_slot_of(MG_STR("{user1000}.following")),
                     mg_redis_slot_of(MG_STR("user1000")));
    assert_int_equal(mg_redis_slot_of(MG_STR("foo{}{bar}")), 8363); /* the whole key */
    assert_int_equal(mg_redis_slot_of(MG_STR("foo{{bar}}zap")), mg_redis_slot_of(MG_STR("{bar")));
    assert_int_equal(mg_redis_slot_of(MG_STR("foo{bar}{zap}")), mg_redis_slot_of(MG_STR("bar")));
    assert_int_not_equal(mg_redis_slot_of(MG_STR("foo{bar")), mg_redis_slot_of(MG_STR("bar")));
}

static int read_map(struct mg_redis_slots *slots, const char *wire)
{
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *reply;
    assert_int_equal(mg_resp_feed(reader, mg_str_from(wire)), 0);
    assert_int_equal(mg_resp_next(reader, &reply), 0);
    const int err = mg_redis_slots_read(slots, reply, MG_STR("asked"));
    mg_resp_reader_free(reader);
    return err;
}

static void expect_server(const struct mg_redis_slots *slots, uint16_t slot, const char *host,
                          uint16_t port)
{
    const struct mg_redis_address *server = mg_redis_slots_server(slots, slot);
    assert_non_null(server);
    assert_int_equal(server->host.len, strlen(host));
    assert_memory_equal(server->host.ptr, host, strlen(host));
    assert_int_equal(server->port, port);
}

#define TWO_RANGES                                                                                 \
    "*2\r\n*4\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*2\r\n$1\r\nr\r\n:"  \
    "1\r\n*3\r\n:5461\r\n:16000\r\n*2\r\n$0\r\n\r\n:7001\r\n"

static void a_map_is_read(void **state)
{
    struct mg_redis_slots *slots = mg_redis_slots_new();
    (void)state;
    assert_null(mg_redis_slots_server(slots, 0));
    assert_int_equal(read_map(slots, TWO_RANGES), 0);
    expect_server(slots, 0, "127.0.0.1", 7000);
    expect_server(slots, 5460, "127.0.0.1", 7000);
    expect_server(slots, 5461, "asked", 7001); /* it does not know its own name */
    expect_server(slots, 16000, "asked", 7001);
    assert_null(mg_redis_slots_server(slots, 16001));
    assert_non_null(mg_redis_slots_master(slots, 1));
    assert_null(mg_redis_slots_master(slots, 2));
    for (uint16_t i = 0; i < 100; i++) { /* the list of masters grows */
        const struct mg_redis_address server = {.host = MG_STR("other"), .port = (uint16_t)(1 + i)};
        mg_redis_slots_move(slots, i, &server);
    }
    expect_server(slots, 0, "other", 1);
    expect_server(slots, 99, "other", 100);
    expect_server(slots, 100, "127.0.0.1", 7000);
    mg_redis_slots_free(slots);
}

static void what_is_no_map_changes_nothing(void **state)
{
    static const char *const wrong[] = {
        "*0\r\n",
        "*-1\r\n",
        "+OK\r\n",
        "*1\r\n+x\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*2\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nb\r\n:"
        "1\r\n",
    };
    struct mg_redis_slots *slots = mg_redis_slots_new();
    (void)state;
    assert_int_equal(read_map(slots, TWO_RANGES), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(read_map(slots, wrong[i]), MG_EBAD_RESPONSE);
        expect_server(slots, 0, "127.0.0.1", 7000);
    }
    mg_redis_slots_free(slots);
}

static void expect_redirection(const char *text, uint16_t slot, const char *host, uint16_t port)
{
    struct mg_redis_address server;
    uint16_t found;
    assert_int_equal(mg_redis_redirection(mg_str_from(text), &found, &server), 0);
    assert_int_equal(found, slot);
    assert_true(mg_str_equal(server.host, mg_str_from(host)));
    assert_int_equal(server.port, port);
}

static void redirections_are_read(void **state)
{
    static const char *const wrong[] = {
        "MOVED",           "MOVED 1",         "MOVED 1 a",    "MOVED 1 a:",  "MOVED 1 a:0",
        "MOVED 1 a:70000", "MOVED 16384 a:1", "MOVED -1 a:1", "MOVED x a:1", "MOVED  1 a:1"};
    struct mg_redis_address server;
    uint16_t slot;
    (void)state;
    expect_redirection("MOVED 3999 127.0.0.1:6381", 3999, "127.0.0.1", 6381);
    expect_redirection("ASK 16383 ::1:6381", 16383, "::1", 6381);
    expect_redirection("MOVED 0 :6381", 0, "", 6381);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(mg_redis_redirection(mg_str_from(wrong[i]), &slot, &server),
                         MG_EBAD_RESPONSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_of_keys_are_those_of_the_specification),
        cmocka_unit_test(a_map_is_read),
        cmocka_unit_test(what_is_no_map_changes_nothing),
        cmocka_unit_test(redirections_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
