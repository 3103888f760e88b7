/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places of replies are a ring: the front is the oldest command, which the next reply belongs
 * to. A place says what the reply is for: a step of the login, ASKING, a command, or a command that
 * was given up.
 *
 * The struct outlives the connection until the stream's last callback, so callbacks may close it.
 */
#include "net/redis_connection.h"

#include "net/listen.h"
#include "net/tls_stream.h"

#include <stdio.h>
#include <stdlib.h>

#define FIRST_PLACES 16
#define OUT_BYTES (64UL * 1024 * 1024) /* waiting to be written, at most */
#define OUT_KEPT_BYTES (256UL * 1024)
#define LATE_CHECK_MS 250

enum state { DIALLING, SECURING, LOGIN, UP, CLOSED };

enum purpose { AUTH, SELECT, ROLE, KNOCK, LOAD, PING, ASKING, COMMAND };

struct place {
    enum purpose purpose;
    struct mg_redis_command *command; /* NULL: nobody waits */
    uint64_t given_up_ms;
};

struct mg_redis_connection {
    const struct mg_redis_connection_options *options;
    const struct mg_redis_connection_handler *handler;
    void *context;
    enum state state;
    struct mg_dial dial;
    struct mg_link dials;
    struct mg_io *io;
    struct mg_resp_reader *reader;
    struct mg_buf out;
    struct mg_loop_task flush;
    struct mg_deadline patience; /* until UP */
    bool has_ended;              /* our half, since nobody answers the handshake */
    struct mg_deadline late;
    struct place *places;
    uint32_t size, count; /* size: a power of 2 */
    uint64_t first;       /* number of the front place */
};

static struct place *place_at(const struct mg_redis_connection *connection, uint64_t number)
{
    return &connection->places[number & (connection->size - 1)];
}

static uint64_t now_ms(const struct mg_redis_connection *connection)
{
    return mg_loop_now_ms(connection->options->loop);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void free_connection(struct mg_redis_connection *connection)
{
    mg_resp_reader_free(connection->reader);
    mg_buf_deinit(&connection->out);
    free(connection->places);
    free(connection);
}

static void on_closed(void *context)
{
    free_connection(context);
}

/* Nothing more comes from it; the memory stays while there is a stream. */
static void end(struct mg_redis_connection *connection)
{
    connection->state = CLOSED;
    mg_deadline_cancel(&connection->patience);
    mg_deadline_cancel(&connection->late);
    mg_link_remove(&connection->flush.link);
    mg_dial_cancel(&connection->dial);
}

static void tell_commands(struct mg_redis_connection *connection, enum mg_redis_result result)
{
    while (connection->count > 0) {
        struct mg_redis_command *command = place_at(connection, connection->first)->command;
        connection->first++;
        connection->count--;
        if (command) {
            command->connection = NULL;
            command->deliver(command, connection, result, NULL);
        }
    }
}

static void let_go(struct mg_redis_connection *connection)
{
    if (connection->io) {
        mg_io_close(connection->io);
    } else {
        free_connection(connection);
    }
}

void mg_redis_connection_close(struct mg_redis_connection *connection, enum mg_redis_result result)
{
    if (connection->state != CLOSED) {
        end(connection);
        tell_commands(connection, result);
        let_go(connection);
    }
}

static void down(struct mg_redis_connection *connection, enum mg_redis_result result, mg_str text)
{
    const bool was_up = connection->state == UP;
    end(connection);
    connection->handler->on_down(connection->context, connection, was_up, result, text);
    tell_commands(connection, result);
    let_go(connection);
}

/* In TLS 1.3 a server says only after the handshake that it wants a certificate, if it says
 * anything. */
static bool was_turned_away(const struct mg_redis_connection *connection)
{
    return connection->options->tls && connection->state == LOGIN && connection->first == 0;
}

static void down_with(struct mg_redis_connection *connection, int err)
{
    if (err == MG_ETLS) {
        down(connection, MG_REDIS_TLS, mg_str_from(mg_tls_stream_error(connection->io)));
    } else if (was_turned_away(connection)) {
        down(connection, MG_REDIS_TLS,
             MG_STR("ended right after the handshake: does the server ask for a certificate?"));
    } else {
        down(connection, err == MG_ETIMEOUT ? MG_REDIS_TIMEOUT : MG_REDIS_REFUSED,
             mg_str_from(mg_err_text(err)));
    }
}

/* --- sending ---------------------------------------------------------------------------------- */

static void on_flush(struct mg_loop_task *flush)
{
    struct mg_redis_connection *connection = MG_CONTAINER(flush, struct mg_redis_connection, flush);
    const mg_str bytes = mg_buf_view(&connection->out);
    const int err = mg_io_write(connection->io, &bytes, 1);
    if (connection->state == LOGIN) {
        explicit_bzero(connection->out.data, connection->out.size); /* the password */
    }
    mg_buf_clear(&connection->out);
    if (connection->out.size > OUT_KEPT_BYTES) {
        mg_buf_deinit(&connection->out);
    }
    if (err) {
        down_with(connection, err);
    }
}

static void grow_places(struct mg_redis_connection *connection)
{
    const uint32_t size = connection->size ? connection->size * 2 : FIRST_PLACES;
    struct place *places = calloc(size, sizeof *places);
    mg_require(places != NULL);
    for (uint64_t i = 0; i < connection->count; i++) {
        places[(connection->first + i) & (size - 1)] = *place_at(connection, connection->first + i);
    }
    free(connection->places);
    connection->places = places;
    connection->size = size;
}

static struct place *add_place(struct mg_redis_connection *connection, enum purpose purpose)
{
    if (connection->count == connection->size) {
        grow_places(connection);
    }
    struct place *place = place_at(connection, connection->first + connection->count++);
    *place = (struct place){.purpose = purpose};
    return place;
}

static void put(struct mg_redis_connection *connection, enum purpose purpose, uint32_t count,
                const mg_str *words)
{
    const char *argv[3];
    size_t lengths[3];
    mg_require(count <= sizeof argv / sizeof argv[0]);
    for (uint32_t i = 0; i < count; i++) {
        argv[i] = words[i].ptr;
        lengths[i] = words[i].len;
    }
    /* bounded by our own configuration, far below the cap */
    mg_require(mg_resp_format(&connection->out, argv, lengths, count) == 0);
    add_place(connection, purpose);
}

enum mg_redis_result mg_redis_connection_send(struct mg_redis_connection *connection,
                                              struct mg_redis_command *command)
{
    mg_require(connection->state == UP);
    const char *asking[] = {"ASKING"};
    const size_t asking_length = strlen(asking[0]);
    const size_t before = connection->out.len;
    if (mg_io_queued(connection->io) > OUT_BYTES ||
        (command->asking && mg_resp_format(&connection->out, asking, &asking_length, 1)) ||
        mg_resp_format(&connection->out, command->argv, command->lengths, command->count)) {
        connection->out.len = before; /* takes ASKING back */
        return MG_REDIS_OVERLOAD;
    }
    if (command->asking) {
        add_place(connection, ASKING);
    }
    command->connection = connection;
    command->place = connection->first + connection->count;
    add_place(connection, COMMAND)->command = command;
    mg_loop_flush_later(connection->options->loop, &connection->flush);
    return MG_REDIS_OK;
}

/* --- late replies ----------------------------------------------------------------------------- */

static void watch_late(struct mg_redis_connection *connection, uint64_t ms);

static void on_late(struct mg_deadline *deadline)
{
    struct mg_redis_connection *connection =
        MG_CONTAINER(deadline, struct mg_redis_connection, late);
    if (connection->count == 0) {
        return;
    }
    const struct place *front = place_at(connection, connection->first);
    if (front->given_up_ms &&
        now_ms(connection) - front->given_up_ms >= connection->options->late_ms) {
        down(connection, MG_REDIS_TIMEOUT, MG_STR("a reply is too late"));
        return;
    }
    watch_late(connection, LATE_CHECK_MS);
}

static void watch_late(struct mg_redis_connection *connection, uint64_t ms)
{
    mg_deadline_arm(mg_deadlines_class(&connection->options->loop->deadlines, ms),
                    &connection->late, on_late, now_ms(connection));
}

void mg_redis_connection_abandon(struct mg_redis_connection *connection,
                                 struct mg_redis_command *command)
{
    struct place *place = place_at(connection, command->place);
    mg_require(place->command == command);
    place->command = NULL;
    command->connection = NULL;
    if (connection->state != UP) {
        return; /* it is ending; its options may be gone */
    }
    place->given_up_ms = now_ms(connection);
    if (!mg_deadline_armed(&connection->late)) {
        watch_late(connection, connection->options->late_ms);
    }
}

/* --- replies ---------------------------------------------------------------------------------- */

static mg_str text_of(const struct mg_resp_reply *reply)
{
    const enum mg_resp_type type = reply->nodes[0].type;
    return type == MG_RESP_ERROR || type == MG_RESP_STATUS || type == MG_RESP_STRING
               ? mg_resp_text(reply, &reply->nodes[0])
               : MG_STR("");
}

static bool is_master(const struct mg_resp_reply *reply)
{
    const struct mg_resp_node *role = mg_resp_element(reply, 0, 0);
    return role && role->type == MG_RESP_STRING &&
           mg_str_equal(mg_resp_text(reply, role), MG_STR("master"));
}

/* A user without a right to PING or ROLE is logged in all the same; a script that cannot be loaded
 * fails when it is called. */
static bool is_login_error(enum purpose purpose, const struct mg_resp_reply *reply, mg_str text)
{
    return reply->nodes[0].type == MG_RESP_ERROR && purpose != LOAD &&
           !(purpose >= ROLE && mg_str_starts(text, MG_STR("NOPERM")));
}

static void take_login(struct mg_redis_connection *connection, enum purpose purpose,
                       const struct mg_resp_reply *reply)
{
    const mg_str text = text_of(reply);
    if (is_login_error(purpose, reply, text)) {
        down(connection, purpose == AUTH ? MG_REDIS_AUTH : mg_redis_result_of(text), text);
    } else if (purpose == ROLE && reply->nodes[0].type == MG_RESP_ARRAY && !is_master(reply)) {
        down(connection, MG_REDIS_READONLY, MG_STR("it is no master"));
    } else if (purpose == PING) {
        mg_deadline_cancel(&connection->patience);
        connection->state = UP;
        connection->handler->on_up(connection->context, connection);
    }
}

static void take_reply(struct mg_redis_connection *connection, struct mg_resp_reply *reply)
{
    if (connection->count == 0 && connection->handler->on_push) {
        connection->handler->on_push(connection->context, connection, reply);
        return;
    }
    if (connection->count == 0) {
        down(connection, MG_REDIS_PROTOCOL, MG_STR("a reply that nobody asked for"));
        return;
    }
    const struct place front = *place_at(connection, connection->first);
    connection->first++;
    connection->count--;
    if (front.purpose < ASKING) {
        take_login(connection, front.purpose, reply);
    } else if (front.command) {
        front.command->connection = NULL;
        front.command->deliver(front.command, connection,
                               reply->nodes[0].type == MG_RESP_ERROR
                                   ? mg_redis_result_of(text_of(reply))
                                   : MG_REDIS_OK,
                               reply);
    }
}

static void on_data(void *context, mg_str bytes)
{
    struct mg_redis_connection *connection = context;
    struct mg_resp_reply *reply;
    int err = mg_resp_feed(connection->reader, bytes);
    while (!err) {
        err = mg_resp_next(connection->reader, &reply);
        if (!err) {
            take_reply(connection, reply);
        }
        if (connection->state == CLOSED) {
            return;
        }
    }
    if (err != MG_EAGAIN) {
        down(connection, MG_REDIS_PROTOCOL, mg_str_from(mg_err_text(err)));
    }
}

static void on_end(void *context, int status)
{
    down_with(context, status);
}

static void on_drain(void *context, int status)
{
    if (status) {
        down_with(context, status);
    }
}

/* --- connecting ------------------------------------------------------------------------------- */

static const struct mg_io_handler io_handler = {
    .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_closed = on_closed};

static void put_database(struct mg_redis_connection *connection)
{
    char number[16];
    const int length = snprintf(number, sizeof number, "%u", connection->options->database);
    put(connection, SELECT, 2,
        (const mg_str[]){MG_STR("SELECT"), mg_str_make(number, (size_t)length)});
}

/* Who is not logged in may send no long words: "unauthenticated bulk length", and the end. So that
 * a password is missing has to be said before the scripts come. */
static void put_scripts(struct mg_redis_connection *connection)
{
    const struct mg_link *all = &connection->options->scripts->all;
    put(connection, KNOCK, 1, (const mg_str[]){MG_STR("PING")});
    for (const struct mg_link *at = all->next; at != all; at = at->next) {
        const struct mg_redis_script *script = MG_CONTAINER(at, struct mg_redis_script, link);
        put(connection, LOAD, 3,
            (const mg_str[]){MG_STR("SCRIPT"), MG_STR("LOAD"), script->source});
    }
}

/* Everything in one write; the reply to PING is the last one. */
static void log_in(struct mg_redis_connection *connection)
{
    const struct mg_redis_connection_options *options = connection->options;
    connection->state = LOGIN;
    if (options->username.len > 0) {
        put(connection, AUTH, 3,
            (const mg_str[]){MG_STR("AUTH"), options->username, options->password});
    } else if (options->password.len > 0) {
        put(connection, AUTH, 2, (const mg_str[]){MG_STR("AUTH"), options->password});
    }
    if (options->database > 0) {
        put_database(connection);
    }
    if (options->must_be_master) {
        put(connection, ROLE, 1, (const mg_str[]){MG_STR("ROLE")});
    }
    if (options->scripts && !mg_list_empty(&options->scripts->all)) {
        put_scripts(connection);
    }
    put(connection, PING, 1, (const mg_str[]){MG_STR("PING")});
    mg_loop_flush_later(options->loop, &connection->flush);
}

#define NO_HANDSHAKE "no answer to the TLS handshake: does the server speak TLS?"

/* A peer that ends the connection in the handshake is likely one without TLS. */
static void on_secure(void *context, int status, const char *text)
{
    struct mg_redis_connection *connection = context;
    if (status) {
        text = connection->has_ended ? NO_HANDSHAKE : text;
        down(connection,
             status == MG_ETLS || status == MG_ECLOSED ? MG_REDIS_TLS : MG_REDIS_REFUSED,
             mg_str_from(text));
        return;
    }
    log_in(connection);
}

static void on_dial(struct mg_dial *dial, int status, struct mg_io *io)
{
    struct mg_redis_connection *connection = MG_CONTAINER(dial, struct mg_redis_connection, dial);
    if (status) {
        down_with(connection, status);
        return;
    }
    connection->io = io;
    mg_io_set_handler(io, &io_handler, connection);
    const struct mg_redis_connection_options *options = connection->options;
    if (options->tls) {
        connection->state = SECURING;
        const mg_str name = options->server_name.len > 0 ? options->server_name : options->host;
        mg_tls_stream_start(io, mg_tls_client(options->tls, name), on_secure, connection);
        return;
    }
    mg_io_read_start(io);
    log_in(connection);
}

/* A Redis without TLS takes a handshake for a line whose end it waits for. It is told from one that
 * hangs by an end of our half: who is alive and reads ends the connection too. */
static void on_patience(struct mg_deadline *deadline)
{
    struct mg_redis_connection *connection =
        MG_CONTAINER(deadline, struct mg_redis_connection, patience);
    const char *const waited_for[] = {[DIALLING] = "connect timeout",
                                      [SECURING] = NO_HANDSHAKE,
                                      [LOGIN] = "no answer to the login"};
    if (connection->state == SECURING && !connection->has_ended) {
        connection->has_ended = true;
        mg_io_shutdown(connection->io);
        mg_deadline_arm(mg_deadlines_class(&connection->options->loop->deadlines,
                                           connection->options->connect_timeout_ms),
                        deadline, on_patience, now_ms(connection));
        return;
    }
    down(connection, MG_REDIS_TIMEOUT, mg_str_from(waited_for[connection->state]));
}

static void on_bad_address(struct mg_deadline *deadline)
{
    struct mg_redis_connection *connection =
        MG_CONTAINER(deadline, struct mg_redis_connection, patience);
    down_with(connection, MG_EINVALID);
}

static int dial(struct mg_redis_connection *connection)
{
    const struct mg_redis_connection_options *options = connection->options;
    struct mg_dial_place place = {.loop = options->loop,
                                  .dns = options->dns,
                                  .host = options->host,
                                  .port = options->port,
                                  .random = (uint32_t)mg_clock_precise_us(&options->loop->clock)};
    if (mg_str_starts(options->host, MG_STR("unix:"))) {
        struct mg_listen_address address;
        const int err = mg_listen_parse(options->host, &address);
        if (err) {
            return err;
        }
        memcpy(&place.unix_address, &address.sockaddr, sizeof place.unix_address);
        place.unix_length = address.length;
    }
    return mg_dial_start(&connection->dial, &place, options->connect_timeout_ms,
                         &connection->dials);
}

struct mg_redis_connection *mg_redis_connection_open(
    const struct mg_redis_connection_options *options,
    const struct mg_redis_connection_handler *handler, void *context)
{
    struct mg_redis_connection *connection = calloc(1, sizeof *connection);
    mg_require(connection != NULL);
    connection->options = options;
    connection->handler = handler;
    connection->context = context;
    connection->dial.fn = on_dial;
    connection->flush.fn = on_flush;
    connection->reader = mg_resp_reader_new();
    mg_buf_init(&connection->out, OUT_BYTES);
    mg_link_init(&connection->dials);
    mg_link_init(&connection->flush.link);
    mg_deadline_init(&connection->patience);
    mg_deadline_init(&connection->late);
    struct mg_loop *loop = options->loop;
    if (dial(connection)) {
        mg_deadline_arm_at(&loop->deadlines, &connection->patience, on_bad_address,
                           mg_loop_now_ms(loop));
    } else {
        mg_deadline_arm(mg_deadlines_class(&loop->deadlines, options->connect_timeout_ms),
                        &connection->patience, on_patience, mg_loop_now_ms(loop));
    }
    return connection;
}

mg_str mg_redis_connection_host(const struct mg_redis_connection *connection)
{
    return connection->options->host;
}

bool mg_redis_connection_is_up(const struct mg_redis_connection *connection)
{
    return connection->state == UP;
}

uint32_t mg_redis_connection_load(const struct mg_redis_connection *connection)
{
    return connection->count;
}
