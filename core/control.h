/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master's control socket: a unix socket of mode 0600 and a table of verbs. One exchange a
 * connection, both in text, both bounded:
 *
 *     client   moongate/1 VERB [ARGUMENTS]\n
 *     master   moongate/1 CODE LENGTH\n  and LENGTH bytes; CODE is an exit code (cli.h)
 *
 * Nothing here blocks: the owner polls the descriptors it is given. A client that does not send its
 * line or does not read its answer within MG_CONTROL_PATIENCE_MS is cut; one whose verb takes
 * longer (reload) waits as long as it likes and is dropped when it goes away.
 *
 *     static const struct mg_control_verb verbs[] = {{"status", on_status}, {NULL, NULL}};
 *     err = mg_control_open(&control, path, verbs, master, message, sizeof message);
 *     count = mg_control_poll(control, fds);            // at most MG_CONTROL_FDS
 *     poll(fds, count, timeout);
 *     mg_control_serve(control, fds, count, now_ms);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <poll.h>
#include <stdint.h>

#define MG_CONTROL_CLIENTS 16
#define MG_CONTROL_FDS (MG_CONTROL_CLIENTS + 1)
#define MG_CONTROL_LINE_BYTES 1024
#define MG_CONTROL_PATIENCE_MS 5000
#define MG_CONTROL_GREETING "moongate/1 "

struct mg_control;
struct mg_control_client;

struct mg_control_verb {
    const char *name; /* NULL ends the table */
    /* Answers with mg_control_reply now, or marks the client with mg_control_await. */
    void (*fn)(void *context, struct mg_control_client *client, mg_str arguments);
};

/* Binds path; a stale socket there is replaced. Negative errno with a sentence; -EADDRINUSE: a
 * gateway answers there, its pid is named. */
MG_NODISCARD int mg_control_open(struct mg_control **out, const char *path,
                                 const struct mg_control_verb *verbs, void *context, char *message,
                                 size_t message_bytes);
/* Cuts clients, removes the socket. free(NULL) is fine. */
void mg_control_close(struct mg_control *control);
/* In a forked child: closes the descriptors, leaves the socket in place. */
void mg_control_forget(struct mg_control *control);

/* What to poll; returns how many. */
size_t mg_control_poll(const struct mg_control *control, struct pollfd fds[MG_CONTROL_FDS]);
/* fds as mg_control_poll gave them, with what poll returned. */
void mg_control_serve(struct mg_control *control, const struct pollfd *fds, size_t count,
                      uint64_t now_ms);

/* Who asks, as the kernel knows it; false when it cannot be told. */
bool mg_control_asker(const struct mg_control_client *client, int32_t *pid, uint32_t *uid);
/* The answer; the client is gone after that. code: enum mg_exit. */
void mg_control_reply(struct mg_control_client *client, int code, mg_str text);
/* The answer comes with mg_control_reply_awaiting(ticket or later). */
void mg_control_await(struct mg_control_client *client, uint64_t ticket);
/* Answers every client that awaits a ticket up to this one. */
void mg_control_reply_awaiting(struct mg_control *control, uint64_t ticket, int code, mg_str text);
