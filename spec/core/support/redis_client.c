/* SPDX-License-Identifier: Apache-2.0 */
/* A client under test. */
#include "support/redis_client.h"

#include "support/sockets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define WORDS 16
#define VIRTUAL_PATIENCE_MS 600000

static void set_defaults(struct redis_client *client)
{
    client->options = (struct mg_redis_options){
        .name = MG_STR("main"),
        .nodes = &client->node,
        .node_count = 1,
        .timeout_ms = 5000,
        .connect_timeout_ms = 5000,
        .connections = 2,
        .max_pending = 1024,
        .breaker = {.failures = 5, .within_ms = 1000, .open_ms = 1000, .max_ms = 2000}};
    client->calls = calloc(REDIS_CALLS, sizeof *client->calls);
    assert_non_null(client->calls);
}

static void open_set(struct redis_client *client)
{
    const struct mg_redis_parts parts = {
        .loop = client->loop, .dns = client->dns, .shm = client->shm, .stats = &client->stats};
    client->set = mg_redis_set_open(&parts);
}

static void open_parts(struct redis_client *client)
{
    const struct mg_dns_options dns = {.timeout_ms = 100, .tries = 1, .servers = "127.0.0.1:9"};
    assert_int_equal(mg_dns_open(&client->dns, client->loop, &dns), 0);
    assert_int_equal(mg_shm_create(4UL * 1024 * 1024, 2, &client->own_shm), 0);
    client->shm = client->own_shm;
    open_set(client);
}

void redis_client_open(struct redis_client *client)
{
    *client = (struct redis_client){.loop = &client->own_loop};
    set_defaults(client);
    assert_int_equal(mg_loop_open(client->loop), 0);
    open_parts(client);
}

void redis_client_open_virtual(struct redis_client *client)
{
    *client = (struct redis_client){.loop = &client->own_loop};
    set_defaults(client);
    assert_int_equal(mg_loop_open_virtual(client->loop, 1700000000000), 0);
    mg_clock_advance(&client->loop->clock, 1000000);
    open_parts(client);
}

void redis_client_open_beside(struct redis_client *client, struct redis_client *first)
{
    *client = (struct redis_client){.loop = first->loop, .dns = first->dns, .shm = first->shm};
    set_defaults(client);
    open_set(client);
}

void redis_client_hold(struct redis_client *client, const char *address)
{
    const char *colon = strrchr(address, ':');
    client->node.host = mg_str_from(address);
    if (strncmp(address, "unix:", 5) != 0) {
        client->node.host = mg_str_make(address, (size_t)(colon - address));
        client->node.port = (uint16_t)strtoul(colon + 1, NULL, 10);
    }
    redis_client_hold_options(client);
}

void redis_client_hold_options(struct redis_client *client)
{
    client->redis = mg_redis_hold(client->set, &client->options);
}

void redis_client_close(struct redis_client *client)
{
    for (uint32_t i = 0; i < client->count; i++) {
        mg_redis_cancel(&client->calls[i].command);
    }
    if (client->redis) {
        mg_redis_release(client->redis);
    }
    mg_redis_set_close(client->set);
    if (client->loop == &client->own_loop) {
        mg_dns_close(client->dns);
        mg_loop_close(client->loop);
        mg_shm_close(client->own_shm);
    }
    free(client->calls);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void run_until(struct redis_client *client, bool (*holds)(void *context), void *context)
{
    if (!client->loop->clock.is_virtual) {
        sockets_run_until(client->loop, holds, context);
        return;
    }
    for (int ms = 0; !holds(context); ms++) {
        assert_true(ms < VIRTUAL_PATIENCE_MS);
        if (!mg_loop_turn(client->loop) && !holds(context)) {
            mg_clock_advance(&client->loop->clock, 1000);
        }
    }
}

/* --- calls ------------------------------------------------------------------------------------ */

static size_t show_node(const struct mg_resp_reply *reply, uint32_t index, char *out, size_t room)
{
    const struct mg_resp_node *node = &reply->nodes[index];
    const mg_str text =
        node->type == MG_RESP_NIL || node->type == MG_RESP_INTEGER || node->type == MG_RESP_ARRAY
            ? MG_STR("")
            : mg_resp_text(reply, node);
    int length = 0;
    switch (node->type) {
    case MG_RESP_NIL:
        length = snprintf(out, room, "(nil)");
        break;
    case MG_RESP_INTEGER:
        length = snprintf(out, room, "(integer) %lld", (long long)node->value);
        break;
    case MG_RESP_ARRAY:
        length = snprintf(out, room, "[");
        for (int64_t i = 0; i < node->value && (size_t)length < room; i++) {
            const uint32_t at =
                (uint32_t)(mg_resp_element(reply, index, (uint32_t)i) - reply->nodes);
            length += snprintf(out + length, room - (size_t)length, "%s", i > 0 ? ", " : "");
            length += (int)show_node(reply, at, out + length, room - (size_t)length);
        }
        length += snprintf(out + length, room - (size_t)length, "]");
        break;
    default:
        length = snprintf(out, room, "%.*s", MG_STR_ARG(text));
    }
    return (size_t)length < room ? (size_t)length : room - 1;
}

static void end_call(struct redis_call *call, enum mg_redis_result result)
{
    assert_false(call->is_over);
    call->is_over = true;
    call->result = result;
    call->took_ms = mg_loop_now_ms(call->client->loop) - call->sent_ms;
    call->client->over++;
    call->client->results[result]++;
}

static void on_reply(struct mg_redis_command *command, enum mg_redis_result result,
                     struct mg_resp_reply *reply)
{
    struct redis_call *call = MG_CONTAINER(command, struct redis_call, command);
    if (reply) {
        show_node(reply, 0, call->reply, sizeof call->reply);
    }
    end_call(call, result);
}

struct redis_call *redis_client_ask(struct redis_client *client, const struct mg_redis_ask *ask)
{
    assert_true(client->count < REDIS_CALLS);
    struct redis_call *call = &client->calls[client->count++];
    call->client = client;
    call->command.fn = on_reply;
    call->sent_ms = mg_loop_now_ms(client->loop);
    const enum mg_redis_result result = mg_redis_send(client->redis, &call->command, ask);
    if (result) {
        end_call(call, result);
    }
    return call;
}

static struct redis_call *send_words(struct redis_client *client, va_list arguments)
{
    mg_str words[WORDS];
    uint32_t count = 0;
    const char *word;
    while (count < WORDS && (word = va_arg(arguments, const char *))) {
        words[count++] = mg_str_from(word);
    }
    return redis_client_ask(client, &(struct mg_redis_ask){.words = words, .count = count});
}

struct redis_call *redis_client_send(struct redis_client *client, ...)
{
    va_list arguments;
    va_start(arguments, client);
    struct redis_call *call = send_words(client, arguments);
    va_end(arguments);
    return call;
}

static bool is_over(void *context)
{
    const struct redis_call *call = context;
    return call->is_over;
}

void redis_client_wait(struct redis_client *client, const struct redis_call *call)
{
    run_until(client, is_over, (void *)(uintptr_t)call);
}

static bool all_over(void *context)
{
    const struct redis_client *client = context;
    return client->over == client->count;
}

void redis_client_wait_all(struct redis_client *client)
{
    run_until(client, all_over, client);
}

static bool is_up(void *context)
{
    const struct redis_client *client = context;
    return client->stats.value[MG_STAT_REDIS_CONNECTIONS] >= client->options.connections;
}

void redis_client_wait_up(struct redis_client *client)
{
    run_until(client, is_up, client);
}

void redis_client_hold_up(struct redis_client *client, const char *address)
{
    redis_client_hold(client, address);
    redis_client_wait_up(client);
}

static bool is_open(void *context)
{
    const struct redis_client *client = context;
    return mg_redis_breaker_is_open(&client->redis->breaker);
}

void redis_client_wait_open(struct redis_client *client)
{
    run_until(client, is_open, client);
}

const char *redis_client_say(struct redis_client *client, ...)
{
    va_list arguments;
    va_start(arguments, client);
    struct redis_call *call = send_words(client, arguments);
    va_end(arguments);
    redis_client_wait(client, call);
    return call->result == MG_REDIS_OK ? call->reply : mg_redis_result_word(call->result);
}

struct until {
    struct redis_client *client;
    uint64_t at_ms;
};

static bool is_past(void *context)
{
    const struct until *until = context;
    mg_clock_update(&until->client->loop->clock);
    return mg_loop_now_ms(until->client->loop) >= until->at_ms;
}

void redis_client_run(struct redis_client *client, uint64_t ms)
{
    mg_clock_update(&client->loop->clock);
    struct until until = {.client = client, .at_ms = mg_loop_now_ms(client->loop) + ms};
    run_until(client, is_past, &until);
}

uint64_t redis_client_wait_ok(struct redis_client *client)
{
    const uint64_t begun_ms = mg_loop_now_ms(client->loop);
    while (strcmp(redis_client_say(client, "PING", NULL), "PONG") != 0) {
        assert_true(mg_loop_now_ms(client->loop) - begun_ms < 20000);
        redis_client_run(client, 20);
    }
    return mg_loop_now_ms(client->loop) - begun_ms;
}
