/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening sockets of the whole gateway, held by the master for life: for each TCP address one
 * fd per worker (SO_REUSEPORT: the kernel spreads connections, and a dead worker's queue waits for
 * its replacement), for each unix path one fd that all share.
 *
 *     err = mg_listeners_bind(&listeners, plan, workers, message, sizeof message);
 *     mg_listeners_keep(&listeners, index);       // in a new worker: closes what is not its own
 *     fd = mg_listeners_fd(&listeners, index, i);
 *     mg_listeners_close(&listeners);             // drain: else connects succeed and hang
 */
#pragma once

#include "net/listen.h"
#include "script/bundle.h"

struct mg_listeners {
    struct mg_listen_address addresses[MG_PLAN_LISTENERS];
    uint32_t count, workers;
    int *fds; /* [worker * count + address], -1 = closed; NULL when nothing is bound */
};

/* All or nothing. MG_EINVALID: an address cannot be read; negative errno; with a sentence. */
MG_NODISCARD int mg_listeners_bind(struct mg_listeners *listeners, const struct mg_plan *plan,
                                   uint32_t workers, char *message, size_t message_bytes);
/* -1: closed. Of worker `worker`, which may hand it to mg_server_listen. */
int mg_listeners_fd(const struct mg_listeners *listeners, uint32_t worker, uint32_t address);
void mg_listeners_keep(struct mg_listeners *listeners, uint32_t worker);
/* Closes all; paths of unix listeners stay. Again does nothing. */
void mg_listeners_close(struct mg_listeners *listeners);
/* Removes the paths. */
void mg_listeners_unlink(const struct mg_listeners *listeners);
/* "127.0.0.1:8000": with the real port where 0 was asked for. */
void mg_listeners_describe_one(const struct mg_listeners *listeners, uint32_t address, char *text,
                               size_t text_bytes);
/* All of them: "127.0.0.1:8000, unix:/run/x". */
void mg_listeners_describe(const struct mg_listeners *listeners, char *text, size_t text_bytes);
