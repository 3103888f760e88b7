/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls of a stream's socket, which never wait. For net/io.c. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* How many bytes were read, 0: the peer has ended, or a negative code (EAGAIN: there is nothing).
 * *is_cut: there may be more though it is less than room. */
ssize_t mg_socket_receive(int fd, char *bytes, size_t room, bool is_unix, bool *is_cut);
/* How many bytes the kernel took, 0 when it has no room, or a negative code. ENOBUFS: it has no
 * memory at present, and no event will tell when it has. */
ssize_t mg_socket_send(int fd, struct iovec *parts, size_t count);
/* Of a connection attempt: 0 or a negative code. */
int mg_socket_error(int fd);
