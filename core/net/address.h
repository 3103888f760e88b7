/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Socket addresses as text, for logs and plugins.
 *
 *     struct mg_address address;
 *     mg_address_set(&address, sockaddr);       // "127.0.0.1", 8000
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct mg_address {
    char ip[48];   /* text; "unix:" for unix sockets */
    uint16_t port; /* 0 for unix sockets */
};

/* The text form of an IPv4, IPv6 or unix socket address; of others an empty one. */
void mg_address_set(struct mg_address *address, const struct sockaddr *sockaddr);
/* Of a socket: its own, or its peer's. Empty text and port 0 when the kernel does not say (fd -1, a
 * dead connection). */
void mg_address_of(int fd, bool peer, struct mg_address *address);
