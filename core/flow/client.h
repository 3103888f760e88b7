/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection of a client: finds heads, decodes request bodies, keeps pipelined bytes for later,
 * and watches the client's timeouts. It knows nothing of upstreams; the exchange layer is told
 * through struct mg_client_user and answers by calling back down.
 *
 * States: IDLE --first byte--> HEAD --head complete--> BUSY (BODY while a body is due) --answer
 * out, mg_client_next--> IDLE; BUSY --mg_client_tunnel--> TUNNEL.
 */
#pragma once

#include "flow/context.h"

enum mg_client_state {
    MG_CLIENT_IDLE,
    MG_CLIENT_HEAD,
    MG_CLIENT_BODY,
    MG_CLIENT_BUSY,
    MG_CLIENT_TUNNEL,
    MG_CLIENT_CLOSED,
};

struct mg_client {
    struct mg_link link;
    struct mg_io *io;
    struct mg_server *server;
    struct mg_exchange *exchange; /* the request being answered, or NULL; the user's */
    uint32_t listener;            /* index of gateway.listeners */
    uint16_t port;                /* of the listener, 0 for a unix socket */
    uint32_t requests;
    uint64_t id;
    uint64_t bytes_out; /* handed to the connection, all requests together */
    struct mg_address peer;
    struct mg_deadline read_deadline, write_deadline;
    struct mg_buf in; /* an unfinished head, or bytes after the present request */
    struct mg_http1_scan scan;
    enum mg_client_state state;
    bool feeding, paused, broken_body;
    bool lingers;          /* closed by us, and counted in server->linger_count until it is gone */
    bool unasked;          /* the client waits for 100 Continue: the body's time does not run yet */
    uint64_t send_timeout; /* ms, of the present request */
    uint64_t sent_at_deadline; /* bytes the system had taken, to see progress of a slow reader */
    /* the body being read */
    enum mg_framing framing;
    uint64_t body_remaining;
    struct mg_chunk *chunk; /* in the request's arena */
    uint64_t body_started_ms, body_bytes;
    uint64_t body_paused_ms; /* not counted: while we did not read */
    uint64_t paused_since_ms;
    uint64_t first_byte_us;         /* of the present head */
    size_t refused_bytes;           /* of a head that on_head does not get, as far as it came */
    const struct mg_limits *limits; /* of the present request */
};

struct mg_client_user {
    /* status 0: a whole head, borrowed until the return. Else what is wrong with it (scan error,
     * MG_EHEAD_TIMEOUT; head is empty, client->refused_bytes tells its length): answer and
     * close. */
    void (*on_head)(struct mg_client *client, int status, mg_str head);
    /* Octets of the body, borrowed; last = the body is complete (octets may be empty then). */
    void (*on_body)(struct mg_client *client, mg_str octets, bool last);
    /* So many octets of it went past (mg_client_splice); it is not complete. */
    void (*on_body_spliced)(struct mg_client *client, size_t octets);
    /* The body is refused or stalled: MG_ECHUNK, MG_ETRAILER, MG_EBODY_TOO_LARGE,
     * MG_EBODY_TIMEOUT. */
    void (*on_body_error)(struct mg_client *client, int status);
    /* Raw bytes of a tunnel. */
    void (*on_raw)(struct mg_client *client, mg_str bytes);
    /* The tunnel's client will send no more; it may still read. */
    void (*on_raw_end)(struct mg_client *client);
    /* What was queued is out. */
    void (*on_drain)(struct mg_client *client);
    /* The connection is gone while an exchange was on it; client->exchange was set to NULL. status:
     * MG_ECLOSED (end), MG_ETIMEOUT (reads too slowly), a libuv code. */
    void (*on_gone)(struct mg_exchange *exchange, int status);
    /* A head is about to be read: asks for the memory of what will answer it. May be
     * NULL. */
    void (*prefetch)(const struct mg_server *server);
};

/* A new connection; takes the fd. */
void mg_client_accept(struct mg_server_listener *listener, int fd, const struct mg_address *peer);
/* A body follows the head that was just delivered; limits stay valid until it is read. NONE or a
 * length of 0: on_body is not called. chunk_arena: where the decoder lives. */
void mg_client_expect_body(struct mg_client *client, enum mg_framing framing, uint64_t length,
                           const struct mg_limits *limits, struct mg_arena *arena);
/* The client of the body just expected waits for 100 Continue: its time runs only from
 * mg_client_ask_body, or from the first octet that comes all the same. */
void mg_client_await_continue(struct mg_client *client);
void mg_client_ask_body(struct mg_client *client);
/* The route's limits, once it is known; they stay valid until the answer is out. */
void mg_client_set_limits(struct mg_client *client, const struct mg_limits *limits);
/* Back-pressure on the body. */
void mg_client_pause(struct mg_client *client);
void mg_client_resume(struct mg_client *client);
/* Writes; a dead connection is reported by on_gone later, never from here. */
void mg_client_write(struct mg_client *client, const mg_str *parts, size_t count);
/* So many bytes were written to its connection by mg_io_splice. */
void mg_client_spliced(struct mg_client *client, size_t bytes);
/* The answer is out: the next request may come (or is here already). */
void mg_client_next(struct mg_client *client);
/* From now on bytes are raw. */
void mg_client_tunnel(struct mg_client *client);
/* Closes after what is queued: lingering, so that the answer can be read. */
void mg_client_close(struct mg_client *client);
/* Cuts the connection with a reset: an answer that cannot be finished must not look finished. */
void mg_client_cut(struct mg_client *client);

/* Its octets go to that stream without being seen, as mg_upstream_splice has it. */
static inline void mg_client_splice(struct mg_client *client, struct mg_io *to)
{
    if (client->state == MG_CLIENT_BODY && client->framing == MG_FRAMING_LENGTH &&
        client->body_remaining >= MG_SPLICE_LEAST && client->in.len == 0) {
        (void)mg_io_splice(client->io, to, client->body_remaining - MG_SPLICE_TAIL);
    }
}

/* Tunnel: half-closes after what is queued. */
static inline void mg_client_shutdown(struct mg_client *client)
{
    if (client->state != MG_CLIENT_CLOSED) {
        mg_io_shutdown(client->io);
    }
}

static inline size_t mg_client_queued(const struct mg_client *client)
{
    return client->io ? mg_io_queued(client->io) : 0;
}
