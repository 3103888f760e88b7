/* SPDX-License-Identifier: Apache-2.0 */
/* The Redis client against a real redis-server: replies, one write a turn, logins, scripts, error
 * classes, limits of what waits. */
#include "net/redis.h"

#include "support/redis_client.h"
#include "support/redis_server.h"
#include "support/sockets.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct redis_server server;

static int start_server(void **state)
{
    (void)state;
    redis_server_start(&server, NULL);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    redis_server_stop(&server);
    return 0;
}

static void open_client(struct redis_client *client)
{
    redis_client_open(client);
    redis_client_hold(client, server.address);
}

static void replies_of_every_type(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    assert_string_equal(redis_client_say(&client, "SET", "key", "value", NULL), "OK");
    assert_string_equal(redis_client_say(&client, "GET", "key", NULL), "value");
    assert_string_equal(redis_client_say(&client, "GET", "missing", NULL), "(nil)");
    assert_string_equal(redis_client_say(&client, "SET", "empty", "", NULL), "OK");
    assert_string_equal(redis_client_say(&client, "GET", "empty", NULL), "");
    assert_string_equal(redis_client_say(&client, "INCRBY", "n", "-5", NULL), "(integer) -5");
    assert_string_equal(redis_client_say(&client, "RPUSH", "list", "a", "b", NULL), "(integer) 2");
    assert_string_equal(redis_client_say(&client, "LRANGE", "list", "0", "9", NULL), "[a, b]");
    assert_string_equal(
        redis_client_say(&client, "EVAL", "return {1, {2, 'x', {}}, false}", "0", NULL),
        "[(integer) 1, [(integer) 2, x, []], (nil)]");
    redis_client_close(&client);
}

static void errors_have_their_class(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    redis_client_say(&client, "SET", "text", "x", NULL);
    assert_string_equal(redis_client_say(&client, "LPUSH", "text", "a", NULL), "wrongtype");
    assert_string_equal(redis_client_say(&client, "NOSUCH", "text", NULL), "other");
    assert_string_equal(redis_client_say(&client, "EVALSHA", "0", "0", NULL), "noscript");
    redis_server_ask(&server, "CONFIG", "SET", "maxmemory", "1", NULL);
    assert_string_equal(redis_client_say(&client, "SET", "a", "b", NULL), "oom");
    redis_server_ask(&server, "CONFIG", "SET", "maxmemory", "0", NULL);
    redis_server_ask(&server, "REPLICAOF", "127.0.0.1", "9", NULL);
    assert_string_equal(redis_client_say(&client, "SET", "a", "b", NULL), "readonly");
    redis_server_ask(&server, "CONFIG", "SET", "replica-serve-stale-data", "no", NULL);
    assert_string_equal(redis_client_say(&client, "GET", "text", NULL), "masterdown");
    redis_server_ask(&server, "CONFIG", "SET", "replica-serve-stale-data", "yes", NULL);
    redis_server_ask(&server, "REPLICAOF", "NO", "ONE", NULL);
    assert_string_equal(redis_client_say(&client, "SET", "a", "b", NULL), "OK");
    assert_int_equal(mg_redis_breaker_reason(client.redis->breaker.record), MG_REDIS_MASTERDOWN);
    assert_int_equal(client.redis->breaker.record->results[MG_REDIS_OOM], 1);
    redis_client_close(&client);
}

static void a_turn_is_one_write(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    redis_client_wait_up(&client);
    redis_client_say(&client, "SET", "n", "0", NULL);
    const long reads = redis_server_count(&server, "stats", "total_reads_processed:");
    for (int i = 0; i < 500; i++) {
        redis_client_send(&client, "INCR", "n", NULL);
    }
    redis_client_wait_all(&client);
    const long more = redis_server_count(&server, "stats", "total_reads_processed:") - reads;
    assert_in_range(more, 1, 5); /* 12 KB at 16 KB a read, and our own questions */
    char expected[32];
    for (uint32_t i = 0; i < 500; i++) {
        snprintf(expected, sizeof expected, "(integer) %u", i + 1);
        assert_string_equal(client.calls[i + 1].reply, expected); /* in order */
    }
    redis_client_close(&client);
}

static void logs_in_and_selects(void **state)
{
    struct redis_client client;
    (void)state;
    redis_server_ask(&server, "ACL", "SETUSER", "limiter", "on", ">pass word", "~mg:*", "+@all",
                     "-get", NULL);
    redis_client_open(&client);
    client.options.username = MG_STR("limiter");
    client.options.password = MG_STR("pass word");
    client.options.database = 3;
    redis_client_hold(&client, server.address);
    assert_string_equal(redis_client_say(&client, "ACL", "WHOAMI", NULL), "limiter");
    assert_string_equal(redis_client_say(&client, "SET", "mg:a", "1", NULL), "OK");
    assert_string_equal(redis_client_say(&client, "SET", "other", "1", NULL), "auth");
    assert_string_equal(redis_client_say(&client, "GET", "mg:a", NULL), "auth");
    assert_non_null(strstr(redis_server_ask(&server, "INFO", "keyspace", NULL), "db3:keys=1"));
    redis_client_close(&client);
}

static void a_wrong_password_is_named(void **state)
{
    struct redis_client client;
    (void)state;
    redis_client_open(&client);
    client.options.username = MG_STR("default");
    client.options.password = MG_STR("wrong");
    redis_server_ask(&server, "CONFIG", "SET", "requirepass", "right", NULL);
    redis_client_hold(&client, server.address);
    assert_string_equal(redis_client_say(&client, "PING", NULL), "auth");
    struct redis_client good;
    redis_client_open(&good);
    good.options.password = MG_STR("right");
    redis_client_hold(&good, server.address);
    assert_string_equal(redis_client_say(&good, "CONFIG", "SET", "requirepass", "", NULL), "OK");
    redis_client_close(&good);
    redis_client_close(&client);
}

static struct redis_call *run_script(struct redis_client *client, struct mg_redis_script *script,
                                     const char *key, const char *argument)
{
    const mg_str keys[] = {mg_str_from(key)}, words[] = {mg_str_from(argument)};
    struct redis_call *call = redis_client_ask(
        client, &(struct mg_redis_ask){
                    .script = script, .keys = keys, .key_count = 1, .words = words, .count = 1});
    redis_client_wait(client, call);
    return call;
}

static void scripts_are_loaded_and_called_by_digest(void **state)
{
    static const char source[] = "return {KEYS[1], ARGV[1]}";
    struct redis_client client;
    (void)state;
    redis_client_open(&client);
    struct mg_redis_script *script =
        mg_redis_script_hold(mg_redis_scripts(client.set), mg_str_from(source));
    redis_server_ask(&server, "SCRIPT", "FLUSH", NULL);
    redis_server_ask(&server, "CONFIG", "RESETSTAT", NULL);
    redis_client_hold(&client, server.address);
    assert_string_equal(run_script(&client, script, "k", "1")->reply, "[k, 1]");
    assert_int_equal(redis_server_count(&server, "commandstats", "cmdstat_evalsha:calls="), 1);
    assert_int_equal(redis_server_count(&server, "commandstats", "cmdstat_eval:calls="), 0);
    redis_server_ask(&server, "SCRIPT", "FLUSH", NULL);
    assert_string_equal(run_script(&client, script, "k", "2")->reply, "[k, 2]");
    assert_string_equal(run_script(&client, script, "k", "3")->reply, "[k, 3]");
    assert_int_equal(redis_server_count(&server, "commandstats", "cmdstat_evalsha:calls="), 3);
    assert_int_equal(redis_server_count(&server, "commandstats", "cmdstat_eval:calls="), 1);
    assert_int_equal(client.redis->breaker.record->results[MG_REDIS_NOSCRIPT], 1);
    mg_redis_script_release(script);
    redis_client_close(&client);
}

/* Redis ends connections that send long words before they log in. */
static void a_missing_password_is_named_in_spite_of_long_scripts(void **state)
{
    static char source[20000];
    struct redis_client client, good;
    (void)state;
    memset(source, ' ', sizeof source - 1);
    memcpy(source, "return 1", 8);
    redis_client_open(&client);
    struct mg_redis_script *script =
        mg_redis_script_hold(mg_redis_scripts(client.set), mg_str_from(source));
    redis_server_ask(&server, "CONFIG", "SET", "requirepass", "right", NULL);
    redis_client_hold(&client, server.address);
    assert_string_equal(redis_client_say(&client, "PING", NULL), "auth");
    redis_client_open(&good);
    good.options.password = MG_STR("right");
    redis_client_hold(&good, server.address);
    assert_string_equal(redis_client_say(&good, "CONFIG", "SET", "requirepass", "", NULL), "OK");
    redis_client_close(&good);
    mg_redis_script_release(script);
    redis_client_close(&client);
}

static void what_waits_is_bounded(void **state)
{
    struct redis_client client;
    (void)state;
    redis_client_open(&client);
    client.options.max_pending = 16;
    redis_client_hold(&client, server.address);
    for (int i = 0; i < 17; i++) { /* the first wait for the connection */
        redis_client_send(&client, "PING", NULL);
    }
    assert_int_equal(client.results[MG_REDIS_OVERLOAD], 1);
    redis_client_wait_all(&client);
    assert_int_equal(client.results[MG_REDIS_OK], 16);
    redis_client_close(&client);
}

static void a_cancelled_command_answers_nobody(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    redis_client_say(&client, "SET", "a", "1", NULL);
    struct redis_call *first = redis_client_send(&client, "GET", "a", NULL);
    struct redis_call *second = redis_client_send(&client, "ECHO", "two", NULL);
    mg_redis_cancel(&first->command);
    redis_client_wait(&client, second);
    assert_string_equal(second->reply, "two");
    assert_false(first->is_over);
    struct redis_call *waiting = redis_client_send(&client, "ECHO", "three", NULL);
    mg_redis_release(client.redis); /* the last reference */
    client.redis = NULL;
    assert_true(waiting->is_over);
    assert_int_equal(waiting->result, MG_REDIS_REFUSED);
    redis_client_close(&client);
}

static void equal_options_are_one_instance(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    struct mg_redis *again = mg_redis_hold(client.set, &client.options);
    assert_ptr_equal(again, client.redis);
    client.options.timeout_ms++;
    struct mg_redis *other = mg_redis_hold(client.set, &client.options);
    assert_ptr_not_equal(other, client.redis);
    assert_ptr_equal(other->breaker.record, client.redis->breaker.record); /* the same store */
    mg_redis_release(other);
    mg_redis_release(again);
    redis_client_close(&client);
}

/* Long names that differ in their last letter alone. */
static void every_byte_of_a_store_s_name_tells_it_from_others(void **state)
{
    char name[1200];
    struct mg_buf one, other;
    struct mg_redis_address node = {.host = mg_str_make(name, sizeof name), .port = 6379};
    struct mg_redis_options options = {
        .name = MG_STR("n"), .master = node.host, .nodes = &node, .node_count = 1};
    (void)state;
    memset(name, 'a', sizeof name);
    mg_buf_init(&one, 64 * 1024);
    mg_buf_init(&other, 64 * 1024);
    assert_int_equal(mg_redis_options_identity(&options, &one), 0);
    name[sizeof name - 1] = 'b';
    assert_int_equal(mg_redis_options_identity(&options, &other), 0);
    assert_int_equal(one.len, other.len);
    assert_memory_not_equal(one.data, other.data, one.len);
    mg_buf_deinit(&one);
    mg_buf_deinit(&other);
}

static void a_huge_reply_is_refused(void **state)
{
    struct redis_client client;
    (void)state;
    open_client(&client);
    assert_string_equal(redis_client_say(&client, "SETRANGE", "big", "17000000", "x", NULL),
                        "(integer) 17000001");
    assert_string_equal(redis_client_say(&client, "GET", "big", NULL), "protocol");
    assert_string_equal(redis_client_say(&client, "SETRANGE", "fits", "15000000", "x", NULL),
                        "(integer) 15000001");
    redis_client_wait_ok(&client);
    struct redis_call *call = redis_client_send(&client, "GET", "fits", NULL);
    redis_client_wait(&client, call);
    assert_int_equal(call->result, MG_REDIS_OK);
    redis_server_ask(&server, "FLUSHALL", NULL);
    redis_client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_of_every_type),
        cmocka_unit_test(errors_have_their_class),
        cmocka_unit_test(a_turn_is_one_write),
        cmocka_unit_test(logs_in_and_selects),
        cmocka_unit_test(a_wrong_password_is_named),
        cmocka_unit_test(scripts_are_loaded_and_called_by_digest),
        cmocka_unit_test(a_missing_password_is_named_in_spite_of_long_scripts),
        cmocka_unit_test(what_waits_is_bounded),
        cmocka_unit_test(a_cancelled_command_answers_nobody),
        cmocka_unit_test(equal_options_are_one_instance),
        cmocka_unit_test(every_byte_of_a_store_s_name_tells_it_from_others),
        cmocka_unit_test(a_huge_reply_is_refused),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
