/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rig for tests of the flow layer: the gateway runs in a forked process with one route "/" to a
 * service on a listening socket of the test, which then plays client and upstream by hand, byte by
 * byte.
 *
 *     struct rig rig;
 *     rig_start(&rig, NULL);                          // or a function that changes the
 *     configuration int client = rig_client(&rig);
 *     rig_send(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
 *     int upstream = rig_accept(&rig);
 *     rig_expect_head(upstream, head);                // reads to the empty line
 *     ...
 *     rig_stop(&rig);
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flow/server.h"

#include <sys/types.h>

struct rig {
    pid_t pid;
    volatile struct mg_stats *stats; /* of the gateway; shared memory */
    int upstream_fd;                 /* listening */
    uint16_t port, upstream_port;
    int open[64];
    int open_count;
};

#define RIG_TIMEOUT_S 8

typedef void rig_configure(struct mg_config *config);

void rig_start(struct rig *rig, rig_configure *configure);
/* Kills the gateway and closes all sockets that the rig opened; fails the test when it had died. */
void rig_stop(struct rig *rig);

int rig_client(struct rig *rig);
/* The next connection that the gateway makes. */
int rig_accept(struct rig *rig);
/* Whether the gateway connects within ms. */
int rig_connects_within(struct rig *rig, int ms);
void rig_close(struct rig *rig, int fd);
void rig_send(int fd, const char *text);
void rig_send_bytes(int fd, const void *bytes, size_t count);
/* One write per byte. */
void rig_send_slowly(int fd, const char *text);
/* Reads until text (at most size - 1 bytes) ends with the marker; fails after RIG_TIMEOUT_S. */
size_t rig_read_until(int fd, char *into, size_t size, const char *marker);
/* Reads exactly count bytes. */
void rig_read(int fd, void *into, size_t count);
/* Reads to the end of the stream; returns how many bytes, or -1 on a reset. */
ssize_t rig_read_to_end(int fd, char *into, size_t size);
/* Waits until a counter or gauge of the gateway has that value; fails after RIG_TIMEOUT_S. */
void rig_expect_stat(const struct rig *rig, enum mg_stat which, uint64_t value);
/* Resets a connection of the test instead of ending it. */
void rig_reset(struct rig *rig, int fd);
/* Whether nothing can be read for ms. */
int rig_is_silent(int fd, int ms);
#define rig_expect_head(fd, into) rig_read_until((fd), (into), sizeof(into), "\r\n\r\n")
