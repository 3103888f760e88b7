/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Redis server played by the test, on the test's own loop: it understands commands and answers
 * what the test says, byte for byte, or nothing.
 *
 *     static void answer(struct redis_peer *peer, const char *command) { redis_peer_say(peer,
 *     "+OK\r\n"); }
 *     struct redis_peer peer;
 *     redis_peer_open(&peer, &loop, answer);       // peer.address
 *     redis_peer_close(&peer);
 */
#pragma once

#include "net/io.h"
#include "net/listen.h"

#define REDIS_PEER_STREAMS 32

struct redis_peer;

/* command: its words with a blank between them, cut to 256 bytes. */
typedef void redis_peer_fn(struct redis_peer *peer, const char *command);

struct redis_peer {
    struct mg_loop *loop;
    struct mg_listener *listener;
    redis_peer_fn *answer;
    char address[96];
    struct redis_peer_stream {
        struct redis_peer *peer;
        struct mg_io *io;
        struct mg_resp_reader *reader;
    } streams[REDIS_PEER_STREAMS];
    struct redis_peer_stream *speaking; /* whose command is being answered */
    int connections, commands, reads;   /* so far */
    bool is_silent;                     /* answers nothing, not even the login */
};

void redis_peer_open(struct redis_peer *peer, struct mg_loop *loop, redis_peer_fn *answer);
/* To the connection whose command is being answered, or that spoke last. */
void redis_peer_say(struct redis_peer *peer, const char *bytes);
/* Closes all connections; new ones come in. */
void redis_peer_hang_up(struct redis_peer *peer);
void redis_peer_close(struct redis_peer *peer);
