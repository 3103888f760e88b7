/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small upstream for demos, tests and benchmarks, on one loop: HTTP/1.1 with keep-alive,
 * pipelining and request bodies; answers with what it received (echo_describe.h) or as the wish of
 * the command line and of the query says (echo_wish.h). A WebSocket request gets a
 * tunnel: its frames are echoed (echo_websocket.h), with ?raw=1 all bytes as they come.
 *
 *     struct mg_echo *echo = mg_echo_open(&loop, &options);
 *     err = mg_echo_listen(echo, fd, false);
 *     mg_loop_run(&loop);
 *     mg_echo_close(echo);
 *     mg_loop_close(&loop);
 */
#pragma once

#include "echo_wish.h"
#include "net/listen.h"

struct mg_echo;

struct mg_echo_options {
    struct mg_echo_wish wish;
    bool log; /* a line on stderr for each request */
};

struct mg_echo *mg_echo_open(struct mg_loop *loop, const struct mg_echo_options *options);
/* Accepts on the fd, which it takes. libuv's codes, MG_EFULL beyond 8 listeners. */
MG_NODISCARD int mg_echo_listen(struct mg_echo *echo, int fd, bool is_unix);
/* Cuts all connections; frees itself when they are closed, in mg_loop_close at the latest. */
void mg_echo_close(struct mg_echo *echo);
