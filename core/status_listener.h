/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What monitoring asks a gateway: /livez (a worker answers), /readyz (all workers serve one
 * generation and the gateway is not draining; ?verbose lists the checks) and /metrics, over HTTP on
 * a listener of its own. All workers accept on one socket, which the master holds: a request is
 * taken by whichever worker is not busy, so a stuck one takes none.
 *
 * GET and HEAD only, few connections at a time, short deadlines, one request a connection. The text
 * of /metrics is sent piece by piece between the turns of the loop.
 *
 * As long as it is open the worker tells its vitals (vitals.h): there is somebody to read them.
 *
 *     struct mg_status_listener *status = mg_status_listener_open(&parts);
 *     mg_status_listener_close(status);              // NULL is fine; then the loop is closed
 *     mg_status_listener_free(status);               // after that
 */
#pragma once

#include "base/log.h"
#include "base/shm.h"
#include "net/loop.h"

struct mg_generation;
struct mg_status_listener;

struct mg_status_listener_parts { /* borrowed; outlive the listener */
    struct mg_loop *loop;
    struct mg_log *log;
    struct mg_shm *shm;
    uint32_t worker;
    struct mg_generation *const *current; /* for vitals.h */
    int fd;                               /* listening; taken */
    bool is_unix;
};

/* NULL: the fd cannot be accepted on, which was logged. */
struct mg_status_listener *mg_status_listener_open(const struct mg_status_listener_parts *parts);
void mg_status_listener_close(struct mg_status_listener *status);
void mg_status_listener_free(struct mg_status_listener *status);
