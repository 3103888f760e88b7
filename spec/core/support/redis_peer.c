/* SPDX-License-Identifier: Apache-2.0 */
/* A played server. AUTH, SELECT, SCRIPT LOAD and PING of the login are answered as a healthy server
 * does unless the test's answer says something. */
#include "support/redis_peer.h"

#include "net/resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void command_text(const struct mg_resp_reply *command, char *text, size_t room)
{
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 1; i < command->count && length < room - 1; i++) {
        const mg_str word = mg_resp_text(command, &command->nodes[i]);
        const int added =
            snprintf(text + length, room - length, "%s%.*s", i > 1 ? " " : "", MG_STR_ARG(word));
        length += added > 0 ? (size_t)added : 0;
    }
}

static void end_stream(struct redis_peer_stream *stream)
{
    if (stream->io) {
        mg_io_close(stream->io);
        mg_resp_reader_free(stream->reader);
        stream->io = NULL;
        stream->reader = NULL;
    }
}

static void on_data(void *context, mg_str bytes)
{
    struct redis_peer_stream *stream = context;
    struct redis_peer *peer = stream->peer;
    struct mg_resp_reply *command;
    char text[256];
    peer->speaking = stream;
    peer->reads++;
    assert_int_equal(mg_resp_feed(stream->reader, bytes), 0);
    while (stream->io && mg_resp_next(stream->reader, &command) == 0) {
        command_text(command, text, sizeof text);
        peer->commands++;
        if (!peer->is_silent) {
            peer->answer(peer, text);
        }
    }
}

static void on_end(void *context, int status)
{
    (void)status;
    end_stream(context);
}

static const struct mg_io_handler io_handler = {.on_data = on_data, .on_end = on_end};

static void on_accept(void *context, int fd, const struct mg_address *address)
{
    struct redis_peer *peer = context;
    (void)address;
    for (int i = 0; i < REDIS_PEER_STREAMS; i++) {
        struct redis_peer_stream *stream = &peer->streams[i];
        if (!stream->io) {
            assert_int_equal(mg_io_new_fd(&stream->io, peer->loop, fd, true), 0);
            stream->peer = peer;
            stream->reader = mg_resp_reader_new();
            mg_io_set_handler(stream->io, &io_handler, stream);
            mg_io_read_start(stream->io);
            peer->connections++;
            return;
        }
    }
    fail_msg("too many connections");
}

void redis_peer_open(struct redis_peer *peer, struct mg_loop *loop, redis_peer_fn *answer)
{
    static int number;
    struct mg_listen_address address;
    char message[256];
    *peer = (struct redis_peer){.loop = loop, .answer = answer};
    snprintf(peer->address, sizeof peer->address, "unix:@moongate-redis-%d-%d", (int)getpid(),
             number++);
    assert_int_equal(mg_listen_parse(mg_str_from(peer->address), &address), 0);
    const int fd = mg_listen_bind(&address, 128, message, sizeof message);
    assert_return_code(fd, 0);
    assert_int_equal(mg_listener_open(&peer->listener, loop, fd, true, on_accept, peer), 0);
}

void redis_peer_say(struct redis_peer *peer, const char *bytes)
{
    const mg_str part = mg_str_from(bytes);
    assert_non_null(peer->speaking);
    if (peer->speaking->io) {
        assert_int_equal(mg_io_write(peer->speaking->io, &part, 1), 0);
    }
}

void redis_peer_hang_up(struct redis_peer *peer)
{
    for (int i = 0; i < REDIS_PEER_STREAMS; i++) {
        end_stream(&peer->streams[i]);
    }
}

void redis_peer_close(struct redis_peer *peer)
{
    redis_peer_hang_up(peer);
    mg_listener_close(peer->listener);
}
