/* SPDX-License-Identifier: Apache-2.0 */
/* A master behind sentinels, all of them played by the test on a virtual clock: who is asked, how
 * soon a new master is used, what becomes of commands meanwhile. */
#include "net/redis.h"

#include "support/redis_client.h"
#include "support/redis_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

struct fleet {
    struct redis_client client;
    struct redis_peer sentinels[2], servers[2];
    struct redis_peer *master; /* that the sentinels name; NULL: they know none */
    struct mg_redis_address nodes[2];
    int questions;
    struct redis_peer_stream *listening[2]; /* who has subscribed last */
    bool may_not_listen;
    const char *answer; /* of the servers to commands; NULL: their number */
    const char *role[2];
};

static struct fleet fleet;

static void take_subscription(struct redis_peer *peer)
{
    if (fleet.may_not_listen) {
        redis_peer_say(peer, "-NOPERM this user has no permissions to run 'subscribe'\r\n");
        return;
    }
    fleet.listening[peer - fleet.sentinels] = peer->speaking;
    redis_peer_say(peer, "*3\r\n$9\r\nsubscribe\r\n$15\r\n+promoted-slave\r\n:1\r\n"
                         "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:2\r\n");
}

static void publish(int sentinel, const char *channel, const char *message)
{
    char text[256];
    snprintf(text, sizeof text, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
             strlen(channel), channel, strlen(message), message);
    assert_non_null(fleet.listening[sentinel]);
    fleet.sentinels[sentinel].speaking = fleet.listening[sentinel];
    redis_peer_say(&fleet.sentinels[sentinel], text);
    redis_client_run(&fleet.client, 2);
}

static void answer_sentinel(struct redis_peer *peer, const char *command)
{
    char text[256];
    if (strncmp(command, "SUBSCRIBE", 9) == 0) {
        take_subscription(peer);
        return;
    }
    if (strncmp(command, "SENTINEL", 8) != 0) {
        redis_peer_say(peer, strncmp(command, "AUTH", 4) == 0 ? "+OK\r\n" : "+PONG\r\n");
        return;
    }
    assert_string_equal(command, "SENTINEL GET-MASTER-ADDR-BY-NAME orders");
    fleet.questions++;
    if (!fleet.master) {
        redis_peer_say(peer, "*-1\r\n");
        return;
    }
    /* a sentinel names a host and a port; for us any host will do that can be dialled */
    snprintf(text, sizeof text, "*2\r\n$%zu\r\n%s\r\n$1\r\n1\r\n", strlen(fleet.master->address),
             fleet.master->address);
    redis_peer_say(peer, text);
}

static void answer_server(struct redis_peer *peer, const char *command)
{
    const int number = (int)(peer - fleet.servers);
    char text[64];
    if (strcmp(command, "PING") == 0) {
        redis_peer_say(peer, "+PONG\r\n");
    } else if (strcmp(command, "ROLE") == 0) {
        snprintf(text, sizeof text, "*1\r\n$%zu\r\n%s\r\n", strlen(fleet.role[number]),
                 fleet.role[number]);
        redis_peer_say(peer, text);
    } else if (strcmp(command, "SILENCE") != 0) {
        snprintf(text, sizeof text, "+%d\r\n", number);
        redis_peer_say(peer, fleet.answer ? fleet.answer : text);
    }
}

static int set_up(void **state)
{
    (void)state;
    fleet = (struct fleet){.role = {"master", "master"}};
    struct redis_client *client = &fleet.client;
    redis_client_open_virtual(client);
    for (int i = 0; i < 2; i++) {
        redis_peer_open(&fleet.sentinels[i], client->loop, answer_sentinel);
        redis_peer_open(&fleet.servers[i], client->loop, answer_server);
        fleet.nodes[i].host = mg_str_from(fleet.sentinels[i].address);
    }
    fleet.master = &fleet.servers[0];
    client->options.topology = MG_REDIS_SENTINEL;
    client->options.nodes = fleet.nodes;
    client->options.node_count = 2;
    client->options.master = MG_STR("orders");
    client->options.timeout_ms = 1000;
    client->options.connect_timeout_ms = 100;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        redis_peer_close(&fleet.sentinels[i]);
        redis_peer_close(&fleet.servers[i]);
    }
    redis_client_close(&fleet.client);
    return 0;
}

static const char *say(const char *command)
{
    return redis_client_say(&fleet.client, command, NULL);
}

static void hold(void)
{
    redis_client_hold_options(&fleet.client);
}

static void the_master_is_asked_for_and_used(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    assert_int_equal(fleet.servers[0].connections, 2);
    redis_client_run(&fleet.client, 5000);
    assert_in_range(fleet.questions, 9, 12);             /* twice a second */
    assert_int_equal(fleet.sentinels[0].connections, 2); /* one of them listens */
    assert_int_equal(fleet.sentinels[1].connections, 1);
}

static void a_new_master_is_used_without_a_failure(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    struct redis_call *silent = redis_client_send(&fleet.client, "SILENCE", NULL);
    redis_client_run(&fleet.client, 1);
    fleet.master = &fleet.servers[1];
    redis_client_run(&fleet.client, 550);
    assert_string_equal(say("GET"), "1");
    redis_peer_say(&fleet.servers[0], "+old\r\n"); /* its reply still counts */
    redis_client_wait(&fleet.client, silent);
    assert_string_equal(silent->reply, "old");
    assert_int_equal(fleet.client.stats.value[MG_STAT_REDIS_FAILURES], 0);
    redis_client_run(&fleet.client, 1500);
    assert_int_equal(fleet.client.stats.value[MG_STAT_REDIS_CONNECTIONS], 2); /* the old are gone */
}

/* With whatever the client does until the virtual clock has gone on by 2 ms. */
static void a_new_master_is_used_when_a_sentinel_tells(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    fleet.master = &fleet.servers[1];
    publish(1, "+promoted-slave", "slave h:1 h 1 @ orders h 2");
    assert_string_equal(say("GET"), "1");
    fleet.master = &fleet.servers[0];
    publish(0, "+switch-master", "orders h 1 h 2");
    assert_string_equal(say("GET"), "0");
    assert_int_equal(fleet.client.stats.value[MG_STAT_REDIS_FAILURES], 0);
}

static void news_of_other_masters_change_nothing(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    const int before = fleet.questions;
    publish(0, "+switch-master", "orders2 h 1 h 2");
    publish(0, "+switch-master", "order h 1 h 2");
    publish(0, "+switch-master", "orders");
    publish(0, "+switch-master", "");
    publish(0, "+promoted-slave", "slave orders h 1 @ others h 2");
    publish(0, "+promoted-slave", "slave orders h 1 @");
    assert_int_equal(fleet.questions, before);
    publish(0, "+switch-master", "orders h 1 h 2");
    assert_int_equal(fleet.questions, before + 1);
}

static void a_sentinel_is_listened_to_again(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    redis_client_run(&fleet.client, 12000);
    assert_int_equal(fleet.sentinels[1].connections, 1); /* it answers PING */
    redis_peer_hang_up(&fleet.sentinels[1]);
    fleet.listening[1] = NULL;
    redis_client_run(&fleet.client, 600);
    fleet.master = &fleet.servers[1];
    publish(1, "+switch-master", "orders h 1 h 2");
    assert_string_equal(say("GET"), "1");

    fleet.sentinels[0].is_silent = true; /* does not even end */
    redis_client_run(&fleet.client, 12000);
    fleet.sentinels[0].is_silent = false;
    fleet.listening[0] = NULL;
    redis_client_run(&fleet.client, 9000);
    fleet.master = &fleet.servers[0];
    publish(0, "+switch-master", "orders h 1 h 2");
    assert_string_equal(say("GET"), "0");
}

static void who_may_not_listen_asks(void **state)
{
    (void)state;
    fleet.may_not_listen = true;
    hold();
    assert_string_equal(say("GET"), "0");
    fleet.master = &fleet.servers[1];
    redis_client_run(&fleet.client, 550);
    assert_string_equal(say("GET"), "1");
    redis_client_run(&fleet.client, 20000);
    assert_in_range(fleet.sentinels[1].connections, 2, 7); /* tries are few */
}

static void readonly_asks_the_sentinels_at_once(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    redis_client_run(&fleet.client, 20);
    const int before = fleet.questions;
    fleet.answer = "-READONLY You can't write against a read only replica.\r\n";
    assert_string_equal(say("SET"), "readonly");
    redis_client_run(&fleet.client, 2);
    assert_int_equal(fleet.questions, before + 1);
    fleet.master = &fleet.servers[1];
    fleet.answer = NULL;
    redis_client_run(&fleet.client, 105);
    assert_string_equal(say("SET"), "1");
}

static void a_lost_master_is_replaced_at_once(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    fleet.servers[0].is_silent = true; /* connects, does not log in */
    redis_peer_hang_up(&fleet.servers[0]);
    redis_client_run(&fleet.client, 1300);
    assert_string_equal(say("GET"), "open");
    fleet.master = &fleet.servers[1];
    redis_client_run(&fleet.client, 150);
    assert_string_equal(say("GET"), "1"); /* long before the open time is over */
}

static void the_next_sentinel_is_asked_when_one_is_silent(void **state)
{
    (void)state;
    fleet.sentinels[0].is_silent = true;
    hold();
    assert_string_equal(say("GET"), "0");
    assert_int_equal(fleet.sentinels[1].connections, 2);
    redis_peer_hang_up(&fleet.sentinels[1]);
    fleet.sentinels[0].is_silent = false;
    fleet.sentinels[1].is_silent = true;
    redis_client_run(&fleet.client, 1000);
    assert_int_equal(fleet.client.stats.value[MG_STAT_REDIS_FAILURES], 0);
    fleet.master = &fleet.servers[1];
    redis_client_run(&fleet.client, 700);
    assert_string_equal(say("GET"), "1");
}

static void no_sentinel_answers_but_the_master_does(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    for (int i = 0; i < 2; i++) {
        fleet.sentinels[i].is_silent = true;
        redis_peer_hang_up(&fleet.sentinels[i]);
    }
    redis_client_run(&fleet.client, 5000);
    assert_string_equal(say("GET"), "0");
    assert_int_equal(fleet.client.redis->breaker.record->opened, 0);
}

static void the_last_master_is_used_while_no_sentinel_answers(void **state)
{
    (void)state;
    hold();
    assert_string_equal(say("GET"), "0");
    fleet.servers[0].is_silent = true;
    for (int i = 0; i < 10; i++) {
        redis_client_send(&fleet.client, "GET", NULL);
    }
    redis_client_wait_all(&fleet.client);
    assert_string_equal(say("GET"), "open");
    for (int i = 0; i < 2; i++) {
        fleet.sentinels[i].is_silent = true;
        redis_peer_hang_up(&fleet.sentinels[i]);
    }
    fleet.servers[0].is_silent = false;
    assert_true(redis_client_wait_ok(&fleet.client) < 2500);
}

static void a_replica_is_no_master(void **state)
{
    (void)state;
    fleet.role[0] = "slave";
    hold();
    assert_string_equal(say("GET"), "readonly");
    fleet.role[0] = "master";
    redis_client_wait_ok(&fleet.client);
}

static void an_unknown_name_is_told(void **state)
{
    (void)state;
    fleet.master = NULL;
    hold();
    assert_string_equal(say("GET"), "other");
    redis_client_run(&fleet.client, 3000);
    assert_string_equal(say("GET"), "open");
    fleet.master = &fleet.servers[1];
    redis_client_run(&fleet.client, 250);
    assert_string_equal(say("GET"), "1");
}

static void answers_that_are_none(struct redis_peer *peer, const char *command)
{
    static const char *const texts[] = {"*2\r\n$1\r\na\r\n$5\r\n99999\r\n",
                                        "*0\r\n",
                                        "+x\r\n",
                                        "*2\r\n$0\r\n\r\n$1\r\n1\r\n",
                                        "-ERR no\r\n",
                                        "*2\r\n:1\r\n:2\r\n",
                                        "*1\r\n$1\r\na\r\n",
                                        ":1\r\n"};
    static size_t next;
    if (strncmp(command, "SENTINEL", 8) != 0) {
        redis_peer_say(peer, "+PONG\r\n");
        return;
    }
    redis_peer_say(peer, texts[next++ % (sizeof texts / sizeof texts[0])]);
}

static void answers_that_are_no_address_are_no_answers(void **state)
{
    (void)state;
    fleet.sentinels[0].answer = fleet.sentinels[1].answer = answers_that_are_none;
    hold();
    assert_string_equal(say("GET"), "other");
    redis_client_run(&fleet.client, 5000);
    fleet.sentinels[1].answer = answer_sentinel;
    assert_true(redis_client_wait_ok(&fleet.client) < 3000);
}

int main(void)
{
#define WITH_FLEET(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FLEET(the_master_is_asked_for_and_used),
        WITH_FLEET(a_new_master_is_used_without_a_failure),
        WITH_FLEET(a_new_master_is_used_when_a_sentinel_tells),
        WITH_FLEET(news_of_other_masters_change_nothing),
        WITH_FLEET(a_sentinel_is_listened_to_again),
        WITH_FLEET(who_may_not_listen_asks),
        WITH_FLEET(readonly_asks_the_sentinels_at_once),
        WITH_FLEET(a_lost_master_is_replaced_at_once),
        WITH_FLEET(the_next_sentinel_is_asked_when_one_is_silent),
        WITH_FLEET(no_sentinel_answers_but_the_master_does),
        WITH_FLEET(the_last_master_is_used_while_no_sentinel_answers),
        WITH_FLEET(a_replica_is_no_master),
        WITH_FLEET(an_unknown_name_is_told),
        WITH_FLEET(answers_that_are_no_address_are_no_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
