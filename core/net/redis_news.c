/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener of each sentinel:
 *
 *     connect --up--> SUBSCRIBE --> listens, PING now and then --silent or ended--> connect later
 *
 * Whatever comes, a message or a reply, shows that the sentinel lives; which of the replies it is
 * does not matter.
 */
#include "net/redis_news.h"

#include <stdlib.h>

#define BEAT_MS 5000 /* a sentinel that says nothing for so long, though asked, is gone */
/* Waits before another try, doubled from try to try. */
#define FIRST_WAIT_MS 500
#define LONGEST_WAIT_MS 8000

struct listener {
    struct mg_redis_news *news;
    struct mg_redis_connection_options connect;
    struct mg_redis_connection *connection; /* NULL: none */
    struct mg_redis_command subscribe, ping;
    struct mg_deadline next; /* the next beat, or the next try */
    uint32_t failures;       /* in a row */
    bool has_spoken;         /* since the last beat */
};

struct mg_redis_news {
    mg_redis_news_fn *fn;
    void *context;
    mg_str master;
    uint32_t count;
    struct listener listeners[];
};

static void arm(struct listener *listener, uint64_t ms, void (*fn)(struct mg_deadline *))
{
    struct mg_loop *loop = listener->connect.loop;
    mg_deadline_arm(mg_deadlines_class(&loop->deadlines, ms), &listener->next, fn,
                    mg_loop_now_ms(loop));
}

/* --- what is said ----------------------------------------------------------------------------- */

/* "+switch-master" begins with the name; "+promoted-slave" has it behind the replica's:
 * "slave HOST:PORT HOST PORT @ NAME HOST PORT". */
static bool is_about(mg_str message, mg_str master)
{
    const ptrdiff_t at = mg_str_find(message, '@', 0);
    const size_t from = at < 0 ? 0 : (size_t)at + 2;
    return mg_str_equal(mg_str_slice(message, from, from + master.len), master) &&
           mg_str_equal(mg_str_slice(message, from + master.len, from + master.len + 1),
                        MG_STR(" "));
}

static bool is_news(const struct mg_redis_news *news, const struct mg_resp_reply *reply)
{
    const struct mg_resp_node *kind = mg_resp_element(reply, 0, 0);
    const struct mg_resp_node *message = mg_resp_element(reply, 0, 2);
    return kind && message && kind->type == MG_RESP_STRING && message->type == MG_RESP_STRING &&
           mg_str_equal(mg_resp_text(reply, kind), MG_STR("message")) &&
           is_about(mg_resp_text(reply, message), news->master);
}

/* Last statement of its callers. */
static void take(struct listener *listener, const struct mg_resp_reply *reply)
{
    struct mg_redis_news *news = listener->news;
    listener->has_spoken = true;
    if (is_news(news, reply)) {
        news->fn(news->context, (uint32_t)(listener - news->listeners));
    }
}

static void on_push(void *context, struct mg_redis_connection *connection,
                    const struct mg_resp_reply *reply)
{
    (void)connection;
    take(context, reply);
}

/* --- a connection ----------------------------------------------------------------------------- */

static void connect_one(struct listener *listener);

static void on_again(struct mg_deadline *deadline)
{
    connect_one(MG_CONTAINER(deadline, struct listener, next));
}

static void connect_later(struct listener *listener)
{
    uint64_t ms = FIRST_WAIT_MS;
    for (uint32_t i = 0; i < listener->failures && ms < LONGEST_WAIT_MS; i++) {
        ms *= 2;
    }
    listener->failures++;
    mg_deadline_cancel(&listener->next);
    arm(listener, ms, on_again);
}

static void drop(struct listener *listener)
{
    struct mg_redis_connection *connection = listener->connection;
    listener->connection = NULL;
    mg_deadline_cancel(&listener->next);
    if (connection) {
        mg_redis_connection_close(connection, MG_REDIS_REFUSED);
    }
}

static void take_reply(struct listener *listener, enum mg_redis_result result,
                       const struct mg_resp_reply *reply)
{
    if (result == MG_REDIS_OK) {
        take(listener, reply);
    } else if (listener->connection) { /* it has not ended: no right to listen, perhaps for now */
        drop(listener);
        connect_later(listener);
    }
}

static void on_subscribed(struct mg_redis_command *command, struct mg_redis_connection *connection,
                          enum mg_redis_result result, struct mg_resp_reply *reply)
{
    struct listener *listener = MG_CONTAINER(command, struct listener, subscribe);
    (void)connection;
    if (result == MG_REDIS_OK) {
        listener->failures = 0;
    }
    take_reply(listener, result, reply);
}

static void on_pong(struct mg_redis_command *command, struct mg_redis_connection *connection,
                    enum mg_redis_result result, struct mg_resp_reply *reply)
{
    (void)connection;
    take_reply(MG_CONTAINER(command, struct listener, ping), result, reply);
}

static void on_beat(struct mg_deadline *deadline)
{
    struct listener *listener = MG_CONTAINER(deadline, struct listener, next);
    const bool has_to_ask = !listener->ping.connection; /* the last one was answered */
    if (!listener->has_spoken ||
        (has_to_ask && mg_redis_connection_send(listener->connection, &listener->ping))) {
        drop(listener);
        connect_later(listener);
        return;
    }
    listener->has_spoken = false;
    arm(listener, BEAT_MS, on_beat);
}

static void on_up(void *context, struct mg_redis_connection *connection)
{
    struct listener *listener = context;
    listener->has_spoken = false;
    arm(listener, BEAT_MS, on_beat);
    if (mg_redis_connection_send(connection, &listener->subscribe)) {
        drop(listener);
        connect_later(listener);
    }
}

static void on_down(void *context, struct mg_redis_connection *connection, bool was_up,
                    enum mg_redis_result result, mg_str text)
{
    struct listener *listener = context;
    (void)connection;
    (void)was_up;
    (void)result;
    (void)text; /* who asks the sentinels complains */
    listener->connection = NULL;
    connect_later(listener);
}

static const struct mg_redis_connection_handler handler = {
    .on_up = on_up, .on_down = on_down, .on_push = on_push};

static void connect_one(struct listener *listener)
{
    listener->connection = mg_redis_connection_open(&listener->connect, &handler, listener);
}

/* --- life ------------------------------------------------------------------------------------- */

static void set_words(struct mg_redis_command *command, const mg_str *words, uint32_t count,
                      mg_redis_deliver_fn *deliver)
{
    const struct mg_redis_words group = {.items = words, .count = count};
    mg_require(mg_redis_command_set(command, &group, 1) == 0);
    command->deliver = deliver;
    mg_deadline_init(&command->deadline);
}

static void open_listener(struct listener *listener)
{
    /* The leader of a failover says the first as soon as it names the new master, the others the
     * second when they have heard of it. */
    static const mg_str listen[] = {MG_STR("SUBSCRIBE"), MG_STR("+promoted-slave"),
                                    MG_STR("+switch-master")};
    static const mg_str beat[] = {MG_STR("PING")};
    set_words(&listener->subscribe, listen, 3, on_subscribed);
    set_words(&listener->ping, beat, 1, on_pong);
    mg_deadline_init(&listener->next);
    connect_one(listener);
}

struct mg_redis_news *mg_redis_news_new(const struct mg_redis_connection_options *connect,
                                        const struct mg_redis_options *options,
                                        mg_redis_news_fn *fn, void *context)
{
    struct mg_redis_news *news =
        calloc(1, sizeof *news + options->node_count * sizeof news->listeners[0]);
    mg_require(news != NULL);
    news->fn = fn;
    news->context = context;
    news->master = options->master;
    news->count = options->node_count;
    for (uint32_t i = 0; i < news->count; i++) {
        struct listener *listener = &news->listeners[i];
        listener->news = news;
        listener->connect = *connect;
        listener->connect.host = options->nodes[i].host;
        listener->connect.port = options->nodes[i].port;
        open_listener(listener);
    }
    return news;
}

void mg_redis_news_free(struct mg_redis_news *news)
{
    for (uint32_t i = 0; news && i < news->count; i++) {
        drop(&news->listeners[i]);
        mg_redis_command_clear(&news->listeners[i].subscribe);
        mg_redis_command_clear(&news->listeners[i].ping);
    }
    free(news);
}
