/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of sinks over the network: a sink on a loop with a virtual clock, and its peer, a plain
 * non-blocking socket. Failures end the test. */
#pragma once

#include "net/sink.h"

struct sink_rig {
    struct mg_loop loop;
    struct mg_dns *dns;
    struct mg_sinks *sinks;
    struct mg_sink *sink;
    struct mg_sink *held[16]; /* references of the test */
    unsigned held_count;
    int listening, peer; /* of TCP; peer -1: nobody has come */
    uint16_t port;
    char said[1 << 20]; /* what the peer has read */
    size_t len;
    size_t wanted;
    char path[64];
};

/* For cmocka: a loop with a virtual clock at 1970-01-01T00:16:40Z, and no sink yet. */
int sink_rig_setup(void **state);
int sink_rig_teardown(void **state);
/* Gives up after 100 ms. */
void sink_rig_close_sinks(struct sink_rig *f);
/* The peer closes its connection. */
void sink_rig_hang_up(struct sink_rig *f);
/* A sink of that kind that talks to 127.0.0.1 and rig->port; batches of 3, flush after 1 s. */
struct mg_sink_settings sink_rig_settings_of(const struct sink_rig *f, enum mg_sink_kind kind);
/* Becomes rig->sink; the reference is given back at the end, or before. */
void sink_rig_open_sink(struct sink_rig *f, const struct mg_sink_settings *settings);
/* Checks that they add up. */
struct mg_sink_counts sink_rig_counts_of(const struct sink_rig *f);
void sink_rig_put(struct sink_rig *f, const char *line);
void sink_rig_turn(struct sink_rig *f);
/* Lets so many milliseconds pass. */
void sink_rig_pass(struct sink_rig *f, uint64_t ms);
/* Until so many lines are written. */
void sink_rig_wait_written(struct sink_rig *f, size_t lines);
/* For sockets_run_until: an attempt failed; nothing is queued; the peer has rig->wanted bytes. */
bool sink_rig_has_failed(void *context);
bool sink_rig_is_quiet(void *context);
/* The peer listens on rig->port. */
void sink_rig_listen_tcp(struct sink_rig *f);
bool sink_rig_hears(void *context);
/* Waits until the peer has read as much, and compares. */
void sink_rig_wait_said(struct sink_rig *f, const char *text);
/* Gives a reference back; NULL: all of them. */
void sink_rig_let_go(struct sink_rig *f, struct mg_sink *sink);
