/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. Addresses are parsed and fds made without a loop (the master does it, before
 * the fork); a worker then accepts on the fd until EAGAIN.
 *
 *     struct mg_listen_address address;
 *     int err = mg_listen_parse(MG_STR("127.0.0.1:8000"), &address); // "[::]:8000", "unix:/path"
 *     int fd = mg_listen_bind(&address, 1024, message, sizeof message);
 *     mg_listener_open(&listener, loop, fd, on_accept, context);
 */
#pragma once

#include "net/io.h"

#include <sys/socket.h>

struct mg_listen_address {
    struct sockaddr_storage sockaddr;
    socklen_t length;
    bool is_unix;
    char text[128]; /* as parsed, for messages */
};

/* "a.b.c.d:port", "[v6]:port", "unix:/path" (also "unix:@name", abstract). MG_EINVALID. No
 * names. */
MG_NODISCARD int mg_listen_parse(mg_str text, struct mg_listen_address *out);
/* A bound, listening, non-blocking fd: SO_REUSEPORT and TCP_NODELAY for TCP, IPV6_V6ONLY for IPv6;
 * a stale unix path (nobody answers) is replaced. Negative errno on failure with a sentence in
 * message ("127.0.0.1:8000 is in use by another process"). */
int mg_listen_bind(const struct mg_listen_address *address, int backlog, char *message,
                   size_t message_bytes);
/* The same without SO_REUSEPORT: a socket that no other one stands beside, shared by all who
 * inherit it. */
int mg_listen_bind_alone(const struct mg_listen_address *address, int backlog, char *message,
                         size_t message_bytes);
/* 0 when nobody listens there. Because of SO_REUSEPORT a second gateway could bind beside the first
 * one; so the master asks before it binds. Errors and message as for mg_listen_bind; always 0 for
 * unix sockets, where mg_listen_bind sees it. */
MG_NODISCARD int mg_listen_probe(const struct mg_listen_address *address, char *message,
                                 size_t message_bytes);
/* Removes the path of a unix address; nothing for others. */
void mg_listen_unlink(const struct mg_listen_address *address);
/* The port an fd is bound to (port 0 was asked for), 0 for unix. */
uint16_t mg_listen_port(int fd);

struct mg_stats;
struct mg_listener; /* one accepting fd of a worker */

/* fd of an accepted, non-blocking connection; the callback owns it. */
typedef void mg_accept_fn(void *context, int fd, const struct mg_address *peer);

/* Takes fd, but not when it fails. Out of file descriptors: accepting pauses (a reserve fd is used
 * to refuse one), tried again after 100 ms. */
MG_NODISCARD int mg_listener_open(struct mg_listener **out, struct mg_loop *loop, int fd,
                                  bool is_unix, mg_accept_fn *on_accept, void *context);
/* accept calls that fail are counted there from now on (accept_errors); stats outlives the
 * listener. */
void mg_listener_count(struct mg_listener *listener, struct mg_stats *stats);
/* Stops accepting, at once; allowed in on_accept. Closes the fd and frees itself on the loop's next
 * turn. */
void mg_listener_close(struct mg_listener *listener);
