/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster of two servers, played by the test on a virtual clock: where commands go, how
 * redirections are followed, how often the map is asked for. */
#include "net/redis.h"
#include "net/redis_cluster.h"
#include "net/redis_slots.h"

#include "support/redis_client.h"
#include "support/redis_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct cluster {
    struct redis_client client;
    struct redis_peer servers[2];
    struct mg_redis_address nodes[2];
    uint16_t border; /* slots below it are server 0's, by the map */
    int questions;
    bool is_paused;     /* server 1 keeps commands waiting */
    bool is_circle;     /* what moved says holds for all commands that come */
    char moved[2][300]; /* what a server answers to the next command but PING; "" = its number */
    char seen[2][512];  /* commands it got, but the login */
};

static struct cluster c;

static void say_map(struct redis_peer *peer)
{
    char text[1024];
    snprintf(text, sizeof text,
             "*2\r\n*3\r\n:0\r\n:%d\r\n*2\r\n$%zu\r\n%s\r\n:1\r\n"
             "*3\r\n:%d\r\n:16383\r\n*2\r\n$%zu\r\n%s\r\n:1\r\n",
             c.border - 1, strlen(c.servers[0].address), c.servers[0].address, c.border,
             strlen(c.servers[1].address), c.servers[1].address);
    redis_peer_say(peer, text);
}

static void answer(struct redis_peer *peer, const char *command)
{
    const int number = (int)(peer - c.servers);
    char text[16];
    if (strcmp(command, "PING") == 0) {
        redis_peer_say(peer, "+PONG\r\n");
        return;
    }
    if (strncmp(command, "SCRIPT", 6) == 0) {
        redis_peer_say(peer, "+sha\r\n");
        return;
    }
    if (strcmp(command, "CLUSTER SLOTS") == 0) {
        c.questions++;
        say_map(peer);
        return;
    }
    if (number == 1 && c.is_paused) {
        return;
    }
    const size_t length = strlen(c.seen[number]);
    snprintf(c.seen[number] + length, sizeof c.seen[number] - length, "%s%s", length ? ", " : "",
             command);
    if (strcmp(command, "ASKING") == 0) {
        redis_peer_say(peer, "+OK\r\n");
    } else if (c.moved[number][0]) {
        redis_peer_say(peer, c.moved[number]);
        c.moved[number][0] = c.is_circle ? c.moved[number][0] : '\0';
    } else {
        snprintf(text, sizeof text, "+%d\r\n", number);
        redis_peer_say(peer, text);
    }
}

static int set_up(void **state)
{
    (void)state;
    c = (struct cluster){.border = 8192};
    redis_client_open_virtual(&c.client);
    for (int i = 0; i < 2; i++) {
        redis_peer_open(&c.servers[i], c.client.loop, answer);
    }
    c.nodes[0] = (struct mg_redis_address){.host = mg_str_from(c.servers[0].address), .port = 1};
    c.client.options.topology = MG_REDIS_CLUSTER;
    c.client.options.nodes = c.nodes;
    c.client.options.node_count = 1;
    c.client.options.timeout_ms = 20;
    c.client.options.connect_timeout_ms = 100;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        redis_peer_close(&c.servers[i]);
    }
    redis_client_close(&c.client);
    return 0;
}

static void hold(void)
{
    redis_client_hold_options(&c.client);
}

/* foo has slot 12182, bar 5061 */
static const char *get(const char *key)
{
    return redis_client_say(&c.client, "GET", key, NULL);
}

static void redirect_next(int from, const char *how, const char *key, int to)
{
    char address[sizeof c.servers[to].address];
    memcpy(address, c.servers[to].address, sizeof address);
    snprintf(c.moved[from], sizeof c.moved[from], "-%s %u %s:1\r\n", how,
             mg_redis_slot_of(mg_str_from(key)), address);
}

static void commands_go_where_their_slot_is(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    assert_string_equal(get("bar"), "0");
    assert_string_equal(get("{foo}bar"), "1");
    redis_client_run(&c.client, 2000);
    assert_in_range(c.questions, 1, 2); /* once more when a server of the map was not there yet */
    const int before = c.questions;
    redis_client_run(&c.client, 5000);
    assert_int_equal(c.questions, before);
    assert_string_equal(redis_client_say(&c.client, "EVAL", "x", "1", "foo", NULL), "1");
    assert_string_equal(redis_client_say(&c.client, "OBJECT", "ENCODING", "foo", NULL), "1");
    assert_string_equal(
        redis_client_say(&c.client, "XREAD", "COUNT", "1", "STREAMS", "foo", "0", NULL), "1");
}

static void moved_is_followed_and_remembered(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    redirect_next(1, "MOVED", "foo", 0);
    assert_string_equal(get("foo"), "0");
    assert_string_equal(get("foo"), "0"); /* at once */
    assert_string_equal(c.seen[1], "GET foo, GET foo");
}

/* A worker whose map is a hand-over old asks the replica that the old master has become; the master
 * that this one names keeps the command while it hands over, too, and names the next. */
static void moved_is_followed_twice_but_not_in_a_circle(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    redirect_next(1, "MOVED", "foo", 0);
    redirect_next(0, "MOVED", "foo", 1);
    assert_string_equal(get("foo"), "1");
    assert_string_equal(c.seen[1], "GET foo, GET foo, GET foo");
    c.is_circle = true;
    redirect_next(1, "MOVED", "foo", 0);
    redirect_next(0, "MOVED", "foo", 1);
    assert_string_equal(get("foo"), "moved");
    assert_string_equal(c.seen[1], "GET foo, GET foo, GET foo, GET foo, GET foo");
    assert_int_equal(c.client.redis->breaker.record->opened, 0);
}

static void the_map_is_asked_for_once_a_second_at_most(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    const int before = c.questions;
    c.border = 16000;
    for (int i = 0; i < 300; i++) {
        redirect_next(1, "MOVED", "foo", 0);
        redirect_next(0, "MOVED", "bar", 1);
        get(i % 2 ? "foo" : "bar");
        redis_client_run(&c.client, 10);
    }
    assert_in_range(c.questions - before, 2, 4);
}

static void ask_is_followed_with_asking(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    redirect_next(1, "ASK", "foo", 0);
    assert_string_equal(get("foo"), "0");
    assert_string_equal(c.seen[0], "ASKING, GET foo");
    assert_string_equal(get("foo"), "1"); /* the slot has not moved yet */
}

static void servers_that_are_named_without_end_are_not_all_used(void **state)
{
    (void)state;
    hold();
    for (int i = 0; i < MG_REDIS_MASTERS + 10; i++) {
        snprintf(c.moved[1], sizeof c.moved[1], "-ASK 12182 unix:/nonexistent/%d:1\r\n", i);
        get("foo");
    }
    int count = 0;
    for (struct mg_link *at = c.client.redis->nodes.next; at != &c.client.redis->nodes;
         at = at->next) {
        count++;
    }
    assert_int_equal(count, MG_REDIS_MASTERS);
    assert_string_equal(get("bar"), "0");
}

static void ask_to_a_server_that_is_new_waits_for_it(void **state)
{
    (void)state;
    c.border = 16383; /* server 1 has one slot, which no command here is about */
    hold();
    assert_string_equal(get("foo"), "0");
    redis_peer_hang_up(&c.servers[1]);
    redirect_next(0, "ASK", "foo", 1);
    redis_client_run(&c.client, 100);
    assert_string_equal(get("foo"), "1");
}

static struct redis_call *run(struct mg_redis_script *script, const char *key)
{
    const mg_str keys[] = {mg_str_from(key)};
    struct redis_call *call = redis_client_ask(
        &c.client, &(struct mg_redis_ask){.script = script, .keys = keys, .key_count = 1});
    redis_client_wait(&c.client, call);
    return call;
}

static void scripts_go_to_an_importing_server_with_their_source(void **state)
{
    (void)state;
    struct mg_redis_script *script =
        mg_redis_script_hold(mg_redis_scripts(c.client.set), MG_STR("return 1"));
    hold();
    redirect_next(1, "ASK", "foo", 0);
    assert_string_equal(run(script, "foo")->reply, "0");
    assert_string_equal(c.seen[0], "ASKING, EVAL return 1 1 foo");
    assert_string_equal(run(script, "foo")->reply, "1");
    assert_non_null(strstr(c.seen[1], "EVALSHA"));
    mg_redis_script_release(script);
}

static void tryagain_is_sent_once_more_after_two_ms(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    snprintf(c.moved[1], sizeof c.moved[1], "-TRYAGAIN Multiple keys\r\n");
    struct redis_call *call = redis_client_send(&c.client, "MGET", "{foo}a", "{foo}b", NULL);
    redis_client_wait(&c.client, call);
    assert_string_equal(call->reply, "1");
    assert_in_range(call->took_ms, 2, 3);
    snprintf(c.moved[1], sizeof c.moved[1], "-TRYAGAIN Multiple keys\r\n");
    call = redis_client_send(&c.client, "MGET", "{foo}a", "{foo}b", NULL);
    redis_client_run(&c.client, 1);
    assert_string_equal(c.moved[1], ""); /* said */
    snprintf(c.moved[1], sizeof c.moved[1], "-TRYAGAIN Multiple keys\r\n");
    redis_client_wait(&c.client, call);
    assert_int_equal(call->result, MG_REDIS_TRYAGAIN); /* not twice */
}

static void a_pause_ends_with_the_instance(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    snprintf(c.moved[1], sizeof c.moved[1], "-TRYAGAIN Multiple keys\r\n");
    struct redis_call *call = redis_client_send(&c.client, "MGET", "{foo}a", "{foo}b", NULL);
    struct redis_call *cancelled = redis_client_send(&c.client, "GET", "foo", NULL);
    redis_client_run(&c.client, 1);
    mg_redis_cancel(&cancelled->command);
    mg_redis_release(c.client.redis);
    c.client.redis = NULL;
    assert_true(call->is_over);
    assert_int_equal(call->result, MG_REDIS_REFUSED);
}

static void a_lost_server_is_looked_for_and_the_others_serve(void **state)
{
    (void)state;
    c.nodes[1] = (struct mg_redis_address){.host = mg_str_from(c.servers[1].address), .port = 1};
    c.client.options.node_count = 2;
    hold();
    assert_string_equal(get("foo"), "1");
    redis_client_wait_up(&c.client);
    redis_client_run(&c.client, 50);
    redis_peer_close(&c.servers[1]);
    redis_client_run(&c.client, 100);
    assert_string_equal(get("foo"), "refused");
    assert_string_equal(get("bar"), "0");
    redis_client_run(&c.client, 5000); /* it tries and tries, and that opens nothing */
    assert_string_equal(get("bar"), "0");
    assert_int_equal(c.client.redis->breaker.record->opened, 0);
    c.border = 16383; /* server 0 takes over */
    redis_client_run(&c.client, 1200);
    assert_string_equal(get("foo"), "0");
    redis_peer_open(&c.servers[1], c.client.loop, answer); /* for tear_down */
}

static void without_a_map_nothing_is_sent(void **state)
{
    (void)state;
    c.border = 16384; /* a range that cannot be */
    c.client.options.timeout_ms = 5000;
    hold();
    assert_string_equal(get("foo"), "clusterdown");
    assert_string_equal(c.seen[0], "");
    c.border = 8192;
    redis_client_wait_ok(&c.client);
    assert_string_equal(get("foo"), "1");
}

static void the_first_server_that_answers_is_enough(void **state)
{
    (void)state;
    c.nodes[0].host = MG_STR("unix:/nonexistent/socket");
    c.nodes[1] = (struct mg_redis_address){.host = mg_str_from(c.servers[1].address), .port = 1};
    c.client.options.node_count = 2;
    hold();
    redis_client_run(&c.client, 3000);
    assert_string_equal(get("bar"), "0");
    assert_int_equal(c.client.redis->breaker.record->opened, 0);
}

static void pause_until_it_opens(void)
{
    c.is_paused = true;
    for (int i = 0; i < 10; i++) {
        redis_client_send(&c.client, "GET", "foo", NULL);
    }
    redis_client_wait_all(&c.client);
    assert_string_equal(get("bar"), "open");
}

static void a_change_of_the_map_is_worth_an_early_probe(void **state)
{
    (void)state;
    hold();
    assert_string_equal(get("foo"), "1");
    pause_until_it_opens();
    c.border = 16383; /* server 0 takes over */
    redis_client_run(&c.client, 110);
    assert_string_equal(get("foo"), "0");
    assert_int_equal(c.client.redis->breaker.record->opened, 1);
}

static void the_map_of_a_cluster_that_fails_is_asked_for_a_while(void **state)
{
    (void)state;
    c.client.options.breaker.open_ms = c.client.options.breaker.max_ms = 60000;
    hold();
    assert_string_equal(get("foo"), "1");
    const int before = c.questions;
    pause_until_it_opens();
    redis_client_run(&c.client, 30000);
    assert_int_equal(c.questions - before, 20);
    assert_string_equal(get("bar"), "open"); /* nothing has changed */
}

static void a_map_that_changes_all_the_time_leads_to_few_probes(void **state)
{
    (void)state;
    c.client.options.breaker.open_ms = c.client.options.breaker.max_ms = 60000;
    hold();
    assert_string_equal(get("foo"), "1");
    pause_until_it_opens();
    c.border = 8000;
    redis_client_run(&c.client, 110);
    assert_string_equal(get("bar"), "0"); /* probed, but server 1 is paused still */
    pause_until_it_opens();
    c.border = 7000;
    redis_client_run(&c.client, 10000);
    assert_string_equal(get("bar"), "open");
}

static int32_t slot(const char *text)
{
    mg_str words[8];
    uint32_t count = 0;
    for (const char *at = text; *at; count++) {
        const size_t length = strcspn(at, " ");
        words[count] = mg_str_make(at, length);
        at += length + (at[length] == ' ');
    }
    return mg_redis_cluster_slot(words, count);
}

static void the_key_of_a_command_is_found(void **state)
{
    (void)state;
    assert_int_equal(slot("get foo"), 12182);
    assert_int_equal(slot("PING"), -1);
    assert_int_equal(slot("GET"), -1);
    assert_int_equal(slot("EVAL x 0 foo"), -1);
    assert_int_equal(slot("EVALSHA x 1 foo"), 12182);
    assert_int_equal(slot("bitop AND foo bar"), 12182);
    assert_int_equal(slot("ZINTER 2 foo bar"), 12182);
    assert_int_equal(slot("XREADGROUP GROUP g c STREAMS foo >"), 12182);
    assert_int_equal(slot("XREAD STREAMS"), -1);
}

int main(void)
{
#define WITH_CLUSTER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_CLUSTER(commands_go_where_their_slot_is),
        WITH_CLUSTER(moved_is_followed_and_remembered),
        WITH_CLUSTER(moved_is_followed_twice_but_not_in_a_circle),
        WITH_CLUSTER(the_map_is_asked_for_once_a_second_at_most),
        WITH_CLUSTER(ask_is_followed_with_asking),
        WITH_CLUSTER(servers_that_are_named_without_end_are_not_all_used),
        WITH_CLUSTER(ask_to_a_server_that_is_new_waits_for_it),
        WITH_CLUSTER(scripts_go_to_an_importing_server_with_their_source),
        WITH_CLUSTER(tryagain_is_sent_once_more_after_two_ms),
        WITH_CLUSTER(a_pause_ends_with_the_instance),
        WITH_CLUSTER(a_lost_server_is_looked_for_and_the_others_serve),
        WITH_CLUSTER(a_change_of_the_map_is_worth_an_early_probe),
        WITH_CLUSTER(the_map_of_a_cluster_that_fails_is_asked_for_a_while),
        WITH_CLUSTER(a_map_that_changes_all_the_time_leads_to_few_probes),
        WITH_CLUSTER(without_a_map_nothing_is_sent),
        WITH_CLUSTER(the_first_server_that_answers_is_enough),
        cmocka_unit_test(the_key_of_a_command_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
