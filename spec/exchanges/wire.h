/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection to the gateway, with what makes a network unkind: bytes leave in pieces of all
 * sizes with pauses between them, and now and then nothing is read for a while.
 *
 * The owner is asked for bytes by pull when there is room, and again after wire_kick once it had
 * none. wire_close ends it; on_closed is the last callback, and may free the owner.
 */
#pragma once

#include "base/str.h"
#include "plan.h"

#include <uv.h>

enum { WIRE_PIECE = 64 * 1024 };

struct wire_user {
    size_t (*pull)(void *context, char *to, size_t most); /* 0: nothing for now */
    void (*on_bytes)(void *context, mg_str bytes);
    void (*on_end)(void *context, int status); /* 0: in order; else a code of libuv */
    void (*on_closed)(void *context);
};

struct wire {
    uv_tcp_t tcp;
    uv_timer_t write_pause, read_pause;
    uv_write_t write;
    uv_shutdown_t shutdown;
    const struct wire_user *user;
    void *context;
    struct dice dice;
    enum cut cut;
    uint32_t small_pieces; /* so many are still cut */
    uint32_t open_handles;
    bool is_writing, is_closing, wants_end, is_ended, is_narrow;
    char *piece, *input;
};

/* Makes the handles; then the owner connects (family AF_INET) or accepts (AF_UNSPEC) on wire->tcp
 * and calls wire_start. */
void wire_init(struct wire *wire, uv_loop_t *loop, unsigned family, const struct wire_user *user,
               void *context);
/* Before or after that: the system takes little ahead of us, and we are often slow to read. */
void wire_narrow(struct wire *wire);
/* Of a listener, before it listens: connections may be narrowed. */
void wire_use_small_segments(const uv_tcp_t *tcp);
/* Begins to read and to write. */
void wire_start(struct wire *wire, struct dice dice);
/* How the next bytes are cut: for the next small pieces, then no more. */
void wire_cut(struct wire *wire, enum cut cut);
/* There are bytes to pull again. */
void wire_kick(struct wire *wire);
/* Sends FIN after what was pulled; goes on reading. */
void wire_end(struct wire *wire);
void wire_close(struct wire *wire);
