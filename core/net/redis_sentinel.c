/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question goes round the sentinels, beginning with the one that answered last:
 *
 *     ask --connected?--no--> connect --up--> sent --reply--> told --later--> ask
 *                  '-----yes-----------------^  '--- failed: the next sentinel, or told ---'
 */
#include "net/redis_sentinel.h"

#include "net/redis_news.h"

#include <stdlib.h>

#define CALM_MS 500
#define HURRY_MS 100
#define HURRY_ROUNDS 20
#define HOST_BYTES 256 /* of what a sentinel says */

struct mg_redis_sentinels {
    const struct mg_redis_options *options;
    struct mg_redis_connection_options connect;
    mg_redis_master_fn *fn;
    void *context;
    uint32_t current; /* which of the nodes */
    uint32_t tried;   /* so many in this round */
    bool asking;
    uint32_t hurry; /* so many more rounds */
    char last_host[HOST_BYTES];
    struct mg_redis_address last; /* port 0: none yet */
    struct mg_redis_connection *connection;
    struct mg_redis_command command;
    struct mg_deadline next; /* the next question */
    struct mg_redis_news *news;
};

static uint64_t now_ms(const struct mg_redis_sentinels *sentinels)
{
    return mg_loop_now_ms(sentinels->connect.loop);
}

static void on_next(struct mg_deadline *deadline)
{
    mg_redis_sentinels_ask(MG_CONTAINER(deadline, struct mg_redis_sentinels, next));
}

static void arm_next(struct mg_redis_sentinels *sentinels)
{
    mg_deadline_arm(mg_deadlines_class(&sentinels->connect.loop->deadlines,
                                       sentinels->hurry ? HURRY_MS : CALM_MS),
                    &sentinels->next, on_next, now_ms(sentinels));
}

/* Last statement of its callers. */
static void tell(struct mg_redis_sentinels *sentinels, enum mg_redis_result result, bool is_new,
                 const struct mg_redis_address *master, mg_str text)
{
    sentinels->asking = false;
    sentinels->hurry -= sentinels->hurry > 0;
    arm_next(sentinels);
    sentinels->fn(sentinels->context, result, is_new, master, text);
}

static void drop_connection(struct mg_redis_sentinels *sentinels)
{
    struct mg_redis_connection *connection = sentinels->connection;
    sentinels->connection = NULL;
    mg_deadline_cancel(&sentinels->command.deadline);
    if (sentinels->command.connection) {
        mg_redis_connection_abandon(sentinels->command.connection, &sentinels->command);
    }
    if (connection) {
        mg_redis_connection_close(connection, MG_REDIS_REFUSED);
    }
}

static void connect_current(struct mg_redis_sentinels *sentinels);

/* This sentinel cannot say. */
static void try_next(struct mg_redis_sentinels *sentinels, enum mg_redis_result result, mg_str text)
{
    drop_connection(sentinels);
    sentinels->current = (sentinels->current + 1) % sentinels->options->node_count;
    if (++sentinels->tried < sentinels->options->node_count) {
        connect_current(sentinels);
        return;
    }
    tell(sentinels, result, false, NULL, text);
}

/* --- the question ----------------------------------------------------------------------------- */

static bool is_new(struct mg_redis_sentinels *sentinels, mg_str host, uint16_t port)
{
    if (port == sentinels->last.port && mg_str_equal(host, sentinels->last.host)) {
        return false;
    }
    memcpy(sentinels->last_host, host.ptr, host.len);
    sentinels->last = (struct mg_redis_address){.host = mg_str_make(sentinels->last_host, host.len),
                                                .port = port};
    return true;
}

static void take_answer(struct mg_redis_sentinels *sentinels, const struct mg_resp_reply *reply)
{
    const struct mg_resp_node *host = mg_resp_element(reply, 0, 0);
    const struct mg_resp_node *port = mg_resp_element(reply, 0, 1);
    uint64_t number = 0;
    if (!host || !port || host->type != MG_RESP_STRING || port->type != MG_RESP_STRING ||
        host->length == 0 || host->length >= HOST_BYTES ||
        !mg_str_to_u64(mg_resp_text(reply, port), &number) || number == 0 || number > UINT16_MAX) {
        try_next(sentinels, MG_REDIS_OTHER, MG_STR("the sentinels know no such master"));
        return;
    }
    const struct mg_redis_address master = {.host = mg_resp_text(reply, host),
                                            .port = (uint16_t)number};
    const bool differs = is_new(sentinels, master.host, master.port);
    tell(sentinels, MG_REDIS_OK, differs, &master, MG_STR(""));
}

static void on_answer(struct mg_redis_command *command, struct mg_redis_connection *connection,
                      enum mg_redis_result result, struct mg_resp_reply *reply)
{
    struct mg_redis_sentinels *sentinels =
        MG_CONTAINER(command, struct mg_redis_sentinels, command);
    (void)connection;
    mg_deadline_cancel(&command->deadline);
    if (result == MG_REDIS_OK) {
        take_answer(sentinels, reply);
    } else {
        try_next(sentinels, result,
                 reply ? mg_resp_text(reply, &reply->nodes[0]) : MG_STR("no sentinel answers"));
    }
}

static void on_silence(struct mg_deadline *deadline)
{
    struct mg_redis_command *command = MG_CONTAINER(deadline, struct mg_redis_command, deadline);
    struct mg_redis_sentinels *sentinels =
        MG_CONTAINER(command, struct mg_redis_sentinels, command);
    try_next(sentinels, MG_REDIS_TIMEOUT, MG_STR("no sentinel answers"));
}

static void send_question(struct mg_redis_sentinels *sentinels)
{
    struct mg_redis_command *command = &sentinels->command;
    mg_deadline_arm(mg_deadlines_class(&sentinels->connect.loop->deadlines,
                                       sentinels->options->connect_timeout_ms),
                    &command->deadline, on_silence, now_ms(sentinels));
    if (mg_redis_connection_send(sentinels->connection, command)) {
        try_next(sentinels, MG_REDIS_OVERLOAD, MG_STR("")); /* megabytes wait to be written */
    }
}

/* --- connections ------------------------------------------------------------------------------ */

static void on_up(void *context, struct mg_redis_connection *connection)
{
    (void)connection;
    send_question(context);
}

/* Between two questions it may end; then the next one connects again. */
static void on_down(void *context, struct mg_redis_connection *connection, bool was_up,
                    enum mg_redis_result result, mg_str text)
{
    struct mg_redis_sentinels *sentinels = context;
    (void)connection;
    sentinels->connection = NULL;
    if (!was_up) {
        try_next(sentinels, result, text);
    }
}

static const struct mg_redis_connection_handler handler = {.on_up = on_up, .on_down = on_down};

static void connect_current(struct mg_redis_sentinels *sentinels)
{
    const struct mg_redis_address *address = &sentinels->options->nodes[sentinels->current];
    sentinels->connect.host = address->host;
    sentinels->connect.port = address->port;
    sentinels->connection = mg_redis_connection_open(&sentinels->connect, &handler, sentinels);
}

/* --- life ------------------------------------------------------------------------------------- */

void mg_redis_sentinels_ask(struct mg_redis_sentinels *sentinels)
{
    if (sentinels->asking) {
        return;
    }
    sentinels->asking = true;
    sentinels->tried = 0;
    mg_deadline_cancel(&sentinels->next);
    if (sentinels->connection) {
        send_question(sentinels);
    } else {
        connect_current(sentinels);
    }
}

void mg_redis_sentinels_hurry(struct mg_redis_sentinels *sentinels)
{
    if (sentinels->hurry == 0) {
        mg_redis_sentinels_ask(sentinels);
    }
    sentinels->hurry = HURRY_ROUNDS;
}

/* The one that has it to tell is asked: it leads the failover, and the others hear of it later. A
 * question that is under way may have been answered before. */
static void on_news(void *context, uint32_t node)
{
    struct mg_redis_sentinels *sentinels = context;
    if (sentinels->asking || sentinels->current != node) {
        drop_connection(sentinels);
    }
    sentinels->asking = false;
    sentinels->current = node;
    sentinels->hurry = HURRY_ROUNDS;
    mg_redis_sentinels_ask(sentinels);
}

const struct mg_redis_address *mg_redis_sentinels_last(const struct mg_redis_sentinels *sentinels)
{
    return sentinels->last.port ? &sentinels->last : NULL;
}

bool mg_redis_sentinels_is_asking(const struct mg_redis_sentinels *sentinels)
{
    return sentinels->asking;
}

struct mg_redis_sentinels *mg_redis_sentinels_new(struct mg_loop *loop, struct mg_dns *dns,
                                                  const struct mg_redis_options *options,
                                                  struct mg_tls_context *tls,
                                                  mg_redis_master_fn *fn, void *context)
{
    struct mg_redis_sentinels *sentinels = calloc(1, sizeof *sentinels);
    mg_require(sentinels != NULL);
    sentinels->options = options;
    sentinels->fn = fn;
    sentinels->context = context;
    sentinels->connect =
        (struct mg_redis_connection_options){.loop = loop,
                                             .dns = dns,
                                             .tls = tls,
                                             .server_name = options->server_name,
                                             .username = options->sentinel_username,
                                             .password = options->sentinel_password,
                                             .connect_timeout_ms = options->connect_timeout_ms,
                                             .late_ms = options->connect_timeout_ms};
    const mg_str words[] = {MG_STR("SENTINEL"), MG_STR("GET-MASTER-ADDR-BY-NAME"), options->master};
    const struct mg_redis_words group = {.items = words, .count = 3};
    mg_require(mg_redis_command_set(&sentinels->command, &group, 1) == 0);
    sentinels->command.deliver = on_answer;
    mg_deadline_init(&sentinels->command.deadline);
    mg_deadline_init(&sentinels->next);
    sentinels->news = mg_redis_news_new(&sentinels->connect, options, on_news, sentinels);
    return sentinels;
}

void mg_redis_sentinels_free(struct mg_redis_sentinels *sentinels)
{
    if (sentinels) {
        mg_redis_news_free(sentinels->news);
        mg_deadline_cancel(&sentinels->next);
        drop_connection(sentinels);
        mg_redis_command_clear(&sentinels->command);
        free(sentinels);
    }
}
