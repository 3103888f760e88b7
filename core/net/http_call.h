/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the gateway itself to another service (for a plugin, or a batch of log lines), and
 * its whole answer in memory. HTTP/1.1 over a connection pool, plain or by TLS. A call is used
 * once.
 *
 *     struct mg_http_call *call = mg_http_call_new(loop, pool, limits);
 *     mg_headers_add(&call->fields, name, value);              // bytes in call->arena
 *     int err = mg_http_call_start(call, &ask, on_done, context);
 *     ... on_done(context, 0): call->head.status, call->head.headers, mg_buf_view(&call->body)
 *     mg_http_call_free(call);
 */
#pragma once

#include "base/buf.h"
#include "net/loop.h"
#include "net/pool.h"
#include "net/tls.h"
#include "wire/chunk.h"
#include "wire/http1.h"

/* Of an answer. */
struct mg_http_limits {
    struct mg_http1_limits head;
    struct mg_chunk_limits chunk;
    uint32_t interims; /* 1xx before it */
    uint64_t body;     /* bytes; 0 = a bound of its own */
};

/* Where nothing is configured. */
extern const struct mg_http_limits mg_http_builtin_limits;

struct mg_http_ask {
    mg_str host; /* name, IP literal, or "unix:/path" */
    uint16_t port;
    mg_str method, path; /* path with the query, as it goes on the wire */
    mg_str host_field;   /* value of Host */
    mg_str body;
    uint64_t timeout_ms;         /* for everything, 0 = none */
    uint64_t connect_timeout_ms; /* of it, for a new connection; 0 = timeout_ms */
    struct mg_tls_context *tls;  /* NULL: plain */
    mg_str kind; /* of the pool's connections (mg_pool_origin_of); static. Needed with tls where the
                  * pool has other ones to that place */
    mg_str server_name;    /* whose certificate is expected, with tls */
    bool repeatable;       /* may come twice: takes an idle connection whatever the method is */
    uint64_t keepalive_ms; /* how long the connection may idle afterwards, 0 = close it */
};

/* After an error head.status tells whether a good head had come: it is 200 or more then.
 * status: 0, or MG_ETIMEOUT, MG_ECLOSED, MG_EDNS, MG_ETLS, MG_EBAD_RESPONSE,
 * MG_ERESPONSE_TOO_LARGE, a libuv code. */
typedef void mg_http_done_fn(void *context, int status);

enum mg_http_state { MG_HTTP_IDLE, MG_HTTP_DIALLING, MG_HTTP_HEAD, MG_HTTP_BODY, MG_HTTP_DONE };

struct mg_http_call {
    struct mg_arena arena;        /* all bytes of the request, and the head of the answer */
    struct mg_headers fields;     /* of the request; Host and framing are not taken from here */
    struct mg_response_head head; /* of the answer */
    struct mg_buf body;           /* of the answer, decoded from its framing */
    mg_str reason;                /* of MG_ETLS, a sentence */

    /* private */
    struct mg_loop *loop;
    struct mg_pool *pool;
    struct mg_http_limits limits;
    struct mg_http_ask ask;
    mg_http_done_fn *fn;
    void *context;
    struct mg_origin *origin;
    struct mg_io *io;
    struct mg_dial dial;
    struct mg_deadline deadline;
    struct mg_buf out, in; /* head of the request; unfinished head of the answer */
    struct mg_http1_scan scan;
    struct mg_chunk chunk;
    enum mg_http_state state;
    enum mg_method method;
    uint64_t remaining;
    uint32_t interims;
    bool reused, heard; /* heard: a byte of the answer arrived */
};

/* limits are copied; NULL = built-in ones. */
struct mg_http_call *mg_http_call_new(struct mg_loop *loop, struct mg_pool *pool,
                                      const struct mg_http_limits *limits);
/* Before the start: no more than so many bytes of the answer's body are taken, in place of the
 * limit's; a longer one is MG_ERESPONSE_TOO_LARGE once more has come. */
void mg_http_call_bound(struct mg_http_call *call, size_t bytes);
/* fn fires exactly once, after this has returned; on an error it does not. Copies what ask points
 * to. MG_EINVALID: bytes that cannot stand in a head, or a method the gateway does not know. */
MG_NODISCARD int mg_http_call_start(struct mg_http_call *call, const struct mg_http_ask *ask,
                                    mg_http_done_fn *fn, void *context);
/* fn will not fire; the connection is closed. Harmless at any time. */
void mg_http_call_cancel(struct mg_http_call *call);
/* Cancels first. free(NULL) is fine. */
void mg_http_call_free(struct mg_http_call *call);
