/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a Redis server (or sentinel): connects, logs in, loads the scripts, then takes
 * commands, any number at a time. All commands of a loop turn leave in one write; replies come in
 * the order of the commands.
 *
 *     DIALLING --> [SECURING] --> LOGIN --PONG--> UP
 *        '-------------'------------'--- failed ---'--> on_down, gone
 *
 * A command whose owner gave up keeps its place: its reply is read there and thrown away, so it can
 * never answer another. When the reply at the front is over late_ms late, the connection ends.
 *
 *     connection = mg_redis_connection_open(&options, &handler, context);
 *     // on_up: mg_redis_connection_send(connection, &command); command.deliver fires once
 *     mg_redis_connection_close(connection, MG_REDIS_REFUSED);
 */
#pragma once

#include "net/dial.h"
#include "net/redis_command.h"
#include "net/redis_script.h"
#include "net/tls.h"

/* Lives as long as the connection; owned by who opens it. */
struct mg_redis_connection_options {
    struct mg_loop *loop;
    struct mg_dns *dns;
    mg_str host; /* name, IP literal, or "unix:/path" */
    uint16_t port;
    struct mg_tls_context *tls; /* NULL: none */
    mg_str server_name;         /* that the certificate must have; empty: host */
    mg_str username, password;  /* empty: none */
    uint32_t database;
    bool must_be_master;         /* it is READONLY when ROLE says otherwise */
    uint64_t connect_timeout_ms; /* for everything until UP */
    uint64_t late_ms;
    const struct mg_redis_scripts *scripts; /* NULL: none */
};

struct mg_redis_connection_handler {
    void (*on_up)(void *context, struct mg_redis_connection *connection);
    /* It could not be made (was_up false), or ended; it is gone when this returns. text: what the
     * server or the system said. The commands on it are told right after, with that result. */
    void (*on_down)(void *context, struct mg_redis_connection *connection, bool was_up,
                    enum mg_redis_result result, mg_str text);
    /* A reply that no command waits for: what a server publishes. NULL: it breaks the protocol. */
    void (*on_push)(void *context, struct mg_redis_connection *connection,
                    const struct mg_resp_reply *reply);
};

/* handler fires after this has returned. */
struct mg_redis_connection *mg_redis_connection_open(
    const struct mg_redis_connection_options *options,
    const struct mg_redis_connection_handler *handler, void *context);
/* Commands on it are told that result (their replies never come); handler is not. */
void mg_redis_connection_close(struct mg_redis_connection *connection, enum mg_redis_result result);
/* Of its options. */
mg_str mg_redis_connection_host(const struct mg_redis_connection *connection);
bool mg_redis_connection_is_up(const struct mg_redis_connection *connection);
/* Places taken: replies that are still to come, those nobody waits for included. */
uint32_t mg_redis_connection_load(const struct mg_redis_connection *connection);
/* Sends command (with ASKING before it when command->asking). Only when UP. command->deliver fires
 * once, later. OVERLOAD: too many bytes wait to be written. */
MG_NODISCARD enum mg_redis_result mg_redis_connection_send(struct mg_redis_connection *connection,
                                                           struct mg_redis_command *command);
/* command->deliver will not fire; the reply is thrown away when it comes. */
void mg_redis_connection_abandon(struct mg_redis_connection *connection,
                                 struct mg_redis_command *command);
