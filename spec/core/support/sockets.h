/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of net/: the peers' side of real sockets, and running a loop until something holds.
 * Peers are plain non-blocking fds, owned by the test. Failures end the test.
 */
#pragma once

#include "net/loop.h"

/* Two connected stream sockets, both non-blocking. */
void sockets_tcp_pair(int fds[2]);
void sockets_unix_pair(int fds[2]);
/* A listening TCP socket on 127.0.0.1; its port comes out. */
int sockets_listen(uint16_t *port);
/* A non-blocking connection to 127.0.0.1:port, established. */
int sockets_connect(uint16_t port);
/* Waits until fd is readable. */
void sockets_wait_readable(int fd);
/* Runs the loop (real or virtual clock; the virtual one stands still) until holds(context). */
void sockets_run_until(struct mg_loop *loop, bool (*holds)(void *context), void *context);
/* The same for a flag. */
void sockets_run_until_set(struct mg_loop *loop, const bool *flag);
