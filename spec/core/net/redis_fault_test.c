/* SPDX-License-Identifier: Apache-2.0 */
/* A Redis that fails: stopped, killed, silent, late, half, wrong, ill. The real server where it can
 * be made to fail like that, else one that the test plays. */
#include "net/redis.h"

#include "support/redis_client.h"
#include "support/redis_peer.h"
#include "support/redis_server.h"
#include "support/sockets.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* What a healthy server answers to the login. */
static bool answers_login(struct redis_peer *peer, const char *command)
{
    const bool is_login = strcmp(command, "PING") == 0;
    if (is_login) {
        redis_peer_say(peer, "+PONG\r\n");
    }
    return is_login;
}

static void open_with_peer(struct redis_client *client, struct redis_peer *peer,
                           redis_peer_fn *answer)
{
    redis_client_open_virtual(client);
    redis_peer_open(peer, client->loop, answer);
    client->options.timeout_ms = 20;
    client->options.connect_timeout_ms = 200;
    client->options.breaker.failures = 1000;
}

static void close_with_peer(struct redis_client *client, struct redis_peer *peer)
{
    redis_peer_close(peer);
    redis_client_close(client);
}

/* --- a server that stops and comes back ------------------------------------------------------- */

/* Each probe moves the time of the next one twice: when it begins and when it has failed. */
static void wait_for_a_probe(struct redis_client *client)
{
    const struct mg_redis_breaker *breaker = &client->redis->breaker;
    const uint64_t begun_ms = mg_loop_now_ms(client->loop);
    uint64_t seen = mg_redis_breaker_probe_at(breaker);
    for (int moves = 0; moves < 2;) {
        redis_client_run(client, 5);
        const uint64_t at = mg_redis_breaker_probe_at(breaker);
        moves += at != seen;
        seen = at;
        assert_true(mg_loop_now_ms(client->loop) - begun_ms < 20000);
    }
}

static void a_stopped_server_opens_the_breaker(void **state)
{
    struct redis_server server;
    struct redis_client client, beside;
    (void)state;
    redis_server_start(&server, NULL);
    redis_client_open(&client);
    client.options.timeout_ms = 20;
    redis_client_open_beside(&beside, &client);
    beside.options.timeout_ms = 1000;
    redis_client_hold_up(&client, server.address);
    redis_client_hold_up(&beside, server.address);
    redis_server_signal(&server, SIGSTOP);
    struct redis_call *patient = redis_client_send(&beside, "PING", NULL);
    for (int i = 0; i < 20; i++) {
        redis_client_send(&client, "INCR", "n", NULL);
    }
    redis_client_wait_all(&client);
    assert_int_equal(client.results[MG_REDIS_TIMEOUT], 5);
    assert_int_equal(client.results[MG_REDIS_OPEN], 15); /* released at once */
    redis_client_wait(&beside, patient);                 /* the other worker's too */
    assert_int_equal(patient->result, MG_REDIS_OPEN);    /* and not by its own timeout */
    assert_string_equal(redis_client_say(&client, "PING", NULL), "open");
    assert_int_equal(client.redis->breaker.record->opened, 1);
    wait_for_a_probe(&client); /* it fails */
    redis_server_signal(&server, SIGCONT);
    redis_client_wait_ok(&client);
    redis_client_wait_ok(&beside);
    assert_string_equal(redis_client_say(&client, "ECHO", "mine", NULL), "mine");
    redis_client_close(&beside);
    redis_client_close(&client);
    redis_server_stop(&server);
}

static void a_killed_server_is_refused_and_comes_back(void **state)
{
    struct redis_server server;
    struct redis_client client;
    (void)state;
    redis_server_start(&server, NULL);
    redis_client_open(&client);
    client.options.timeout_ms = 500;
    redis_client_hold_up(&client, server.address);
    redis_server_signal(&server, SIGSTOP);
    redis_client_send(&client, "PING", NULL);
    redis_server_kill(&server);
    redis_client_wait_all(&client);
    assert_int_equal(client.results[MG_REDIS_REFUSED], 1);
    const char *answer = redis_client_say(&client, "PING", NULL);
    assert_true(strcmp(answer, "refused") == 0 || strcmp(answer, "open") == 0);
    redis_client_wait_open(&client);
    assert_string_equal(redis_client_say(&client, "PING", NULL), "open");
    redis_server_restart(&server);
    redis_client_wait_ok(&client);
    assert_string_equal(redis_client_say(&client, "ECHO", "here", NULL), "here");
    redis_client_close(&client);
    redis_server_stop(&server);
}

static void nobody_is_there(void **state)
{
    struct redis_client client;
    (void)state;
    redis_client_open(&client);
    redis_client_hold(&client, "unix:/nonexistent/socket");
    assert_string_equal(redis_client_say(&client, "PING", NULL), "refused");
    redis_client_wait_open(&client);
    assert_string_equal(redis_client_say(&client, "PING", NULL), "open");
    redis_client_close(&client);
    redis_client_open(&client);
    redis_client_hold(&client, "127.0.0.1:1");
    assert_string_equal(redis_client_say(&client, "PING", NULL), "refused");
    redis_client_close(&client);
}

/* --- a server that the test plays ------------------------------------------------------------- */

/* Answers nothing but the login; the test says the rest. */
static void answer_login_only(struct redis_peer *peer, const char *command)
{
    (void)answers_login(peer, command);
}

/* A client with one connection, on which a reply is owed. */
static void open_with_a_debt(struct redis_client *client, struct redis_peer *peer)
{
    open_with_peer(client, peer, answer_login_only);
    client->options.connections = 1;
    redis_client_hold_up(client, peer->address);
    assert_string_equal(redis_client_say(client, "GET", "one", NULL), "timeout");
}

static void a_late_reply_answers_nobody_else(void **state)
{
    static const char *const texts[] = {"$3\r\none\r\n", "$3\r\ntwo\r\n"};
    struct redis_client client;
    struct redis_peer peer;
    (void)state;
    open_with_a_debt(&client, &peer);
    const mg_str words[] = {MG_STR("GET"), MG_STR("two")};
    struct redis_call *second = redis_client_ask(
        &client, &(struct mg_redis_ask){.words = words, .count = 2, .timeout_ms = 5000});
    redis_client_run(&client, 5);
    for (size_t i = 0; i < 2; i++) {
        assert_false(second->is_over);
        redis_peer_say(&peer, texts[i]);
        redis_client_run(&client, 20);
    }
    assert_true(second->is_over);
    assert_string_equal(second->reply, "two");
    assert_int_equal(peer.connections, 1);
    close_with_peer(&client, &peer);
}

static void a_connection_that_is_a_second_late_ends(void **state)
{
    struct redis_client client;
    struct redis_peer peer;
    (void)state;
    open_with_a_debt(&client, &peer);
    redis_client_run(&client, 900);
    assert_int_equal(peer.connections, 1);
    redis_client_run(&client, 600);
    assert_int_equal(peer.connections, 2);
    close_with_peer(&client, &peer);
}

static const char *wanted_answer; /* to anything but the login */

static void answer_as_wanted(struct redis_peer *peer, const char *command)
{
    if (!answers_login(peer, command)) {
        redis_peer_say(peer, wanted_answer);
    }
}

static void garbage_ends_the_connection(void **state)
{
    static const char *const garbage[] = {"HTTP/1.1 200 OK\r\n\r\n",
                                          "+a\r\n+unasked\r\n",
                                          "*8388608\r\n",
                                          "$-7\r\n",
                                          ":x\r\n",
                                          "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        struct redis_client client;
        struct redis_peer peer;
        open_with_peer(&client, &peer, answer_as_wanted);
        client.options.connections = 1;
        wanted_answer = garbage[i];
        redis_client_hold_up(&client, peer.address);
        const char *said = redis_client_say(&client, "GET", "a", NULL);
        assert_string_equal(said, i == 1 ? "a" : "protocol");
        wanted_answer = "+fine\r\n";
        redis_client_run(&client, 200); /* connected anew */
        assert_int_equal(peer.connections, 2);
        assert_string_equal(redis_client_say(&client, "GET", "a", NULL), "fine");
        close_with_peer(&client, &peer);
    }
}

static void half_a_reply_is_a_timeout(void **state)
{
    struct redis_client client;
    struct redis_peer peer;
    (void)state;
    open_with_peer(&client, &peer, answer_as_wanted);
    wanted_answer = "$10\r\nabc";
    redis_client_hold_up(&client, peer.address);
    assert_string_equal(redis_client_say(&client, "GET", "a", NULL), "timeout");
    close_with_peer(&client, &peer);
}

static void illness_opens_and_other_errors_do_not(void **state)
{
    static const struct {
        const char *answer, *word;
        bool opens;
    } cases[] = {
        {"-LOADING Redis is loading the dataset in memory\r\n", "loading", true},
        {"-BUSY Redis is busy running a script\r\n", "busy", true},
        {"-CLUSTERDOWN The cluster is down\r\n", "clusterdown", true},
        {"-CLUSTERDOWN Hash slot not served\r\n", "clusterdown", false},
        {"-NOAUTH Authentication required.\r\n", "auth", false},
        {"-OOM command not allowed\r\n", "oom", false},
        {"-ERR whatever\r\n", "other", false},
        {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", "tryagain", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct redis_client client;
        struct redis_peer peer;
        open_with_peer(&client, &peer, answer_as_wanted);
        client.options.breaker.failures = 5;
        client.options.timeout_ms = 5000;
        wanted_answer = cases[i].answer;
        redis_client_hold_up(&client, peer.address);
        for (int k = 0; k < 5; k++) {
            assert_string_equal(redis_client_say(&client, "GET", "a", NULL), cases[i].word);
        }
        assert_string_equal(redis_client_say(&client, "GET", "a", NULL),
                            cases[i].opens ? "open" : cases[i].word);
        close_with_peer(&client, &peer);
    }
}

static void answer_loading(struct redis_peer *peer, const char *command)
{
    (void)command;
    redis_peer_say(peer, "-LOADING Redis is loading the dataset in memory\r\n");
}

static void a_login_that_fails_is_named(void **state)
{
    struct redis_client client;
    struct redis_peer peer;
    (void)state;
    open_with_peer(&client, &peer, answer_loading);
    client.options.timeout_ms = 5000;
    redis_client_hold(&client, peer.address);
    assert_string_equal(redis_client_say(&client, "GET", "a", NULL), "loading");
    peer.is_silent = true;
    redis_client_run(&client, 300);
    assert_string_equal(redis_client_say(&client, "GET", "a", NULL), "timeout");
    close_with_peer(&client, &peer);
}

static void reconnecting_takes_its_time(void **state)
{
    struct redis_client client;
    struct redis_peer peer;
    (void)state;
    open_with_peer(&client, &peer, answer_loading);
    client.options.connections = 1;
    redis_client_hold(&client, peer.address);
    redis_client_run(&client, 1000); /* after 50, 100, 200, 400 ms, each from half of it on */
    assert_in_range(peer.connections, 3, 7);
    close_with_peer(&client, &peer);
}

/* --- what a breaker lets through -------------------------------------------------------------- */

static void only_one_worker_probes(void **state)
{
    struct redis_client client, beside;
    struct redis_peer peer;
    (void)state;
    open_with_peer(&client, &peer, answer_as_wanted);
    wanted_answer = "-LOADING\r\n";
    client.options.breaker = (struct mg_redis_breaker_rule){
        .failures = 5, .within_ms = 1000, .open_ms = 200, .max_ms = 400};
    redis_client_open_beside(&beside, &client);
    beside.options.breaker = client.options.breaker;
    redis_client_hold_up(&client, peer.address);
    redis_client_hold_up(&beside, peer.address);
    for (int i = 0; i < 5; i++) {
        redis_client_say(&client, "GET", "a", NULL);
    }
    redis_client_say(&beside, "GET", "a", NULL);
    redis_client_run(&client, 50);
    assert_int_equal(client.stats.value[MG_STAT_REDIS_CONNECTIONS], 0);
    assert_int_equal(beside.stats.value[MG_STAT_REDIS_CONNECTIONS], 0);
    const int before = peer.connections;
    peer.is_silent = true;
    redis_client_run(&client, 300); /* one probe, which is not answered */
    assert_int_equal(peer.connections, before + 1);
    peer.is_silent = false;
    wanted_answer = "+fine\r\n";
    redis_client_wait_ok(&client);
    redis_client_wait_up(&client);
    assert_string_equal(redis_client_say(&beside, "GET", "a", NULL), "fine");
    close_with_peer(&beside, &peer);
    redis_client_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_server_opens_the_breaker),
        cmocka_unit_test(a_killed_server_is_refused_and_comes_back),
        cmocka_unit_test(nobody_is_there),
        cmocka_unit_test(a_late_reply_answers_nobody_else),
        cmocka_unit_test(a_connection_that_is_a_second_late_ends),
        cmocka_unit_test(garbage_ends_the_connection),
        cmocka_unit_test(half_a_reply_is_a_timeout),
        cmocka_unit_test(illness_opens_and_other_errors_do_not),
        cmocka_unit_test(a_login_that_fails_is_named),
        cmocka_unit_test(reconnecting_takes_its_time),
        cmocka_unit_test(only_one_worker_probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
