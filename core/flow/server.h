/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all connections of one worker share: loop, pools, counters, the current generation, the
 * lists of connections and of pooled exchanges. The worker opens one, gives it a generation and
 * listening fds.
 *
 *     mg_server_open(&server, &parts);
 *     mg_server_use(&server, generation);               // takes a reference; again after each
 *     reload mg_server_listen(&server, fd, is_unix, index);    // index of gateway.listeners
 *     mg_server_drain(&server, on_drained, context);    // stop accepting, finish what has begun
 *     mg_server_close(&server);                         // cut what is left
 */
#pragma once

#include "flow/context.h"

void mg_server_open(struct mg_server *server, const struct mg_server_parts *parts);
/* Requests whose head completes from now on use this generation; the server holds a reference. */
void mg_server_use(struct mg_server *server, struct mg_generation *generation);
/* Takes the fd. */
MG_NODISCARD int mg_server_listen(struct mg_server *server, int fd, bool is_unix, uint32_t index);
/* Stops accepting; kept-alive connections get "Connection: close" on their next answer or are
 * closed after 5 s of quiet. on_drained fires once, when the last connection and request have
 * ended. */
void mg_server_drain(struct mg_server *server, void (*on_drained)(void *context), void *context);
/* Cuts everything at once: handlers that wait are given up, log phases that do not wait are run. */
void mg_server_close(struct mg_server *server);
/* Cuts the requests of one generation that are under way (plugins.drain_timeout), with the handlers
 * that wait. */
void mg_server_cut_generation(struct mg_server *server, const struct mg_generation *generation);
/* At the end of each loop turn (the worker's before_poll): recycles what has ended. */
void mg_server_turn_end(struct mg_server *server);
