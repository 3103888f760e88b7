/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt at an upstream: takes an idle connection or dials, sends, parses the answer, and
 * decides whether the connection may be used again. Lives inside its exchange; knows nothing of
 * clients. Nothing the upstream sends is trusted: a breach is MG_EBAD_RESPONSE and the connection
 * is closed.
 */
#pragma once

#include "flow/context.h"

enum mg_upstream_state {
    MG_UPSTREAM_OFF,
    MG_UPSTREAM_DIALLING,
    MG_UPSTREAM_READY, /* connected; the request is being sent, the head is awaited */
    MG_UPSTREAM_BODY,
    MG_UPSTREAM_TUNNEL,
    MG_UPSTREAM_DONE, /* the whole answer was taken; the connection waits for mg_upstream_end */
};

struct mg_upstream;

struct mg_upstream_user {
    /* Connected: send the request. */
    void (*on_ready)(struct mg_upstream *upstream);
    /* 1xx but 101. */
    void (*on_interim)(struct mg_upstream *upstream, struct mg_response_head *head);
    void (*on_head)(struct mg_upstream *upstream, struct mg_response_head *head);
    /* Octets of the body, borrowed; last = the body is complete. */
    void (*on_body)(struct mg_upstream *upstream, mg_str octets, bool last);
    /* So many octets of the body went past (mg_upstream_splice); it is not complete. */
    void (*on_spliced)(struct mg_upstream *upstream, size_t octets);
    void (*on_raw)(struct mg_upstream *upstream, mg_str bytes); /* tunnel */
    /* Bytes are about to be read: asks for the memory of the user. */
    void (*prefetch)(const struct mg_upstream *upstream);
    /* The tunnel's upstream will send no more; it may still read. */
    void (*on_raw_end)(struct mg_upstream *upstream);
    void (*on_drain)(struct mg_upstream *upstream);
    /* One attempt, at most one failure; nothing comes after it. phase of the failure:
     * upstream->state. */
    void (*on_fail)(struct mg_upstream *upstream, int status);
    /* The feed of one read is over: write what was gathered. */
    void (*on_batch_end)(struct mg_upstream *upstream);
};

struct mg_upstream {
    struct mg_server *server;
    const struct mg_upstream_user *user;
    struct mg_arena *arena; /* of the request: heads live there */
    struct mg_origin *origin;
    struct mg_io *io;
    struct mg_dial dial;
    struct mg_deadline deadline;
    struct mg_buf in; /* an unfinished head, or bytes that wait while paused */
    struct mg_http1_scan scan;
    struct mg_chunk chunk;
    enum mg_upstream_state state;
    const struct mg_limits *limits;
    enum mg_method method;
    uint64_t read_timeout, write_timeout; /* ms */
    uint64_t remaining;
    uint64_t in_before, out_before; /* bytes that the connection had carried, for statistics */
    uint64_t sent_at_deadline;      /* bytes the system had taken, to see progress */
    enum mg_framing framing;
    uint32_t interims;
    bool reused, paused, feeding, keep_alive, ended, want_tunnel;
    bool connected;      /* there was a connection */
    bool response_begun; /* a byte of the answer arrived */
    bool request_sent;   /* a byte of the request was written */
};

struct mg_upstream_ask {
    struct mg_origin *origin;
    struct mg_arena *arena;
    const struct mg_limits *limits;
    enum mg_method method;
    uint64_t connect_timeout, read_timeout, write_timeout; /* ms, 0 = none */
    bool fresh;                                            /* do not take an idle connection */
    bool once; /* the request cannot be repeated: look at an idle connection before using it */
    bool want_tunnel; /* a 101 is welcome */
};

/* Sets server and user once; the rest is cleared. */
void mg_upstream_init(struct mg_upstream *upstream, struct mg_server *server,
                      const struct mg_upstream_user *user);
/* Begins an attempt. With an idle connection on_ready fires before this returns (true); else it
 * fires later (false). */
bool mg_upstream_start(struct mg_upstream *upstream, const struct mg_upstream_ask *ask);
/* Ends the attempt as a failure of that kind: on_fail fires. */
void mg_upstream_fail(struct mg_upstream *upstream, int status);
/* 0, or the stream is dead (on_fail does not fire for it). */
MG_NODISCARD int mg_upstream_write(struct mg_upstream *upstream, const mg_str *parts, size_t count);
/* Bytes were written to its connection by mg_io_splice. */
void mg_upstream_given(struct mg_upstream *upstream);
size_t mg_upstream_queued(const struct mg_upstream *upstream);
/* Back-pressure on the answer: what has been read already waits too. */
void mg_upstream_pause(struct mg_upstream *upstream);
void mg_upstream_resume(struct mg_upstream *upstream);
/* The body's octets go to that stream without being seen, as far as they can (net/io.h); the last
 * of them come by on_body, so that its end is seen as that of any other. Does nothing where few are
 * left, or where they are not just counted. */
void mg_upstream_splice(struct mg_upstream *upstream, struct mg_io *to);
/* Bytes of the next read. */
void mg_upstream_read_at_most(struct mg_upstream *upstream, size_t bytes);
/* While the request body is sent, the read timeout stands still; from now on it runs. */
void mg_upstream_await(struct mg_upstream *upstream);
/* From now on bytes are raw. What had arrived after the head is delivered by on_raw. */
void mg_upstream_tunnel(struct mg_upstream *upstream);
/* Tunnel: half-closes after what is queued. */
void mg_upstream_shutdown(struct mg_upstream *upstream);
/* Ends the attempt: the connection goes back to the pool when reusable (DONE, kept alive, request
 * complete), else it is closed. */
void mg_upstream_end(struct mg_upstream *upstream, bool request_complete, uint32_t keepalive,
                     uint64_t keepalive_idle);
