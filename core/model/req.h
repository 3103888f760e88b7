/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request as plain data: what the client sent, where it is routed, what goes to the upstream,
 * what goes back, and why it ended. flow owns and fills it, script shows it to plugins and changes
 * it on their behalf. Everything it points to lives in its arena unless a line says otherwise.
 *
 * Requests are pooled per worker: slot is the place in the pool, number is raised when the place is
 * reused, so {slot, number} names one request for ever (a late reply to a dead one is dropped).
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "model/config.h"
#include "model/outcome.h"
#include "model/route.h"

struct mg_req;
struct mg_vm;

/* What the script layer may ask of the flow layer about a request. */
struct mg_req_ops {
    /* Reads the whole request body into req->body. 0: it is there; MG_EAGAIN: mg_hook_resume will
     * be called once; MG_EUNSUPPORTED: the route does not buffer; MG_EBODY_TOO_LARGE. */
    int (*read_body)(struct mg_req *req);
    /* A chain that had returned MG_VERDICT_WAITING has ended. */
    void (*hook_done)(struct mg_req *req, enum mg_phase phase, int verdict);
};

/* What a chain of handlers decided. */
enum mg_verdict {
    MG_VERDICT_CONTINUE, /* on with the request */
    MG_VERDICT_EXIT,     /* a plugin answered: req->answer holds it */
    MG_VERDICT_FAILED,   /* error or limit of a closed plugin, named by req->status and outcome */
    MG_VERDICT_WAITING,  /* suspended; ops->hook_done comes later */
};

enum mg_source { /* of the answer */
                 MG_SOURCE_NONE,
                 MG_SOURCE_SERVICE, /* an upstream */
                 MG_SOURCE_EXIT,    /* a plugin */
                 MG_SOURCE_ERROR,   /* the gateway, or a failing plugin */
};

/* A change of the answer's fields asked for before there was an answer; replayed in order. */
struct mg_field_op {
    struct mg_field_op *next;
    enum { MG_FIELD_SET, MG_FIELD_ADD, MG_FIELD_CLEAR } kind;
    enum mg_header_id id;
    mg_str name, value;
};

struct mg_try {    /* one attempt at an upstream, for the log */
    mg_str target; /* "host:port" */
    uint16_t status;
    enum mg_outcome outcome;
    uint32_t connect_us, ttfb_us; /* 0 connect: a pooled connection */
};
#define MG_TRIES 6

enum mg_body_state {
    MG_BODY_UNREAD,  /* streamed, nothing collected */
    MG_BODY_READING, /* a plugin waits for all of it */
    MG_BODY_WHOLE,   /* req->body is complete, as sent or replaced by a plugin */
};

struct mg_req {
    /* what lives on from request to request */
    struct mg_arena arena;
    struct mg_buf filter_out; /* see chunk */
    uint32_t slot, number;

    /* zero from here to captures.at at the start of each request */
    struct mg_config *config; /* its generation's */
    struct mg_vm *vm;         /* its generation's; NULL only in tests without Lua */
    const struct mg_req_ops *ops;

    /* the client's side */
    mg_str peer_ip; /* of the connection; "unix:" */
    uint16_t peer_port, server_port;
    bool peer_trusted;
    mg_str client_ip; /* forwarded address by trusted_ips, else peer_ip */
    uint16_t client_port;
    uint64_t connection_id;
    uint32_t connection_requests; /* this one included */
    struct mg_uri_rules uri_rules;

    /* the request as received: cleaned of hop-by-hop and untrusted fields; plugins' set_header and
     * clear_header change head.headers */
    struct mg_request_head head;
    struct mg_uri uri;
    struct mg_host host;
    mg_str request_id; /* accepted or made; lives in the arena */

    /* routing */
    struct mg_route *route;     /* match.route or NULL */
    struct mg_service *service; /* the route's, or NULL */

    /* towards the upstream: set after routing and by plugins */
    struct {
        mg_str method; /* empty = the client's */
        mg_str path;   /* canonical, whole; empty until routed or set by a plugin */
        mg_str query;
        bool has_query;
        bool query_set;     /* a plugin chose query and has_query; else they are the client's */
        mg_str host;        /* Host field; empty = service's or preserve_host */
        mg_str target_host; /* set_target: instead of balancing; empty = none */
        uint16_t target_port;
        mg_str upstream;   /* set_upstream: name; empty = the service's */
        mg_str hash_value; /* for consistent hashing by consumer; empty = none */
        uint64_t connect_timeout, read_timeout, write_timeout; /* ms */
        int32_t retries;
        uint64_t head_timeout; /* ms to the response head, cut with head_outcome; 0 = none */
        enum mg_outcome head_outcome;
        bool buffer_response; /* enable_buffering */
    } up;

    /* request body */
    enum mg_body_state body_state;
    mg_str body; /* with MG_BODY_WHOLE */
    bool body_replaced;

    /* answer */
    enum mg_source source;
    uint16_t status;                          /* 0 until there is an answer */
    struct mg_headers out;                    /* fields of the answer, without framing */
    mg_str answer;                            /* body of an answer made here */
    struct mg_field_op *ops_first, *ops_last; /* recorded before there was an answer */
    bool head_sent;     /* the answer's head is with the kernel: too late to change it */
    uint16_t up_status; /* as the upstream sent it, 0 = none */
    struct mg_headers up_headers;
    mg_str held_body; /* whole upstream body, in the response phase and when buffered */
    bool held;

    /* body_filter: the chunk of this round; a plugin's change goes to filter_out and is pointed to
     * by chunk. Kept out of the arena, since a body may be endless. */
    mg_str chunk;
    bool chunk_last;
    bool want_whole_body; /* a filter collects: hold the head until the end */
    bool chunk_over;      /* it collected too much: what it took away cannot be sent on */

    /* why it ended */
    enum mg_outcome outcome;
    mg_str ended_by; /* plugin name, or "core" */
    enum mg_phase ended_in;
    bool client_gone;

    /* measures */
    int64_t started_wall_ms;
    uint64_t started_us, head_us, plugins_us, upstream_begin_us, upstream_head_us, upstream_end_us,
        ended_us;           /* monotonic; 0 = did not happen. plugins_us is a sum */
    uint64_t hook_began_us; /* the script layer's: when the running chain began */
    uint64_t delay_us, connect_us, queue_us; /* sums */
    uint64_t bytes_in, bytes_out, body_bytes_in, body_bytes_out;
    uint32_t try_count;

    /* the first octets of the bodies, as they passed, where the log wants them; in the arena */
    struct {
        char *octets;
        uint32_t len;
    } seen[2]; /* by enum mg_seen_side of script/seen.h */

    /* notes that policies leave for the log: JSON objects in the arena, empty = none */
    mg_str note_limit, note_breaker;
    void *breaker_pass; /* script/api_breaker.c's: what the circuit breaker told the request */
    bool (*may_retry)(const struct mg_req *req); /* asked before a further try; NULL: yes */
    mg_str consumer; /* username or id of the authenticated consumer, for the log */

    /* the script layer's */
    struct mg_took *took; /* script/took.h; NULL where nobody wants it */
    bool lua_used;        /* some Lua ran for it: mg_hook_end has work to do */
    int32_t lua_ref;      /* free for the script layer */
    void *script;         /* free for the script layer */

    /* large, and not read beyond their counts */
    struct mg_match match;
    struct mg_try tries[MG_TRIES]; /* of try_count attempts: the first ones, then the last */
};

/* Prepares a pooled request for its next use: resets its arena, empties filter_out, keeps slot,
 * raises number; everything else becomes zero. */
void mg_req_reset(struct mg_req *req);
/* Records or does a change of the answer's fields: at once when there is an answer, else replayed.
 * Copies the bytes into the arena. */
void mg_req_field(struct mg_req *req, int kind, mg_str name, mg_str value);
/* The same for bytes that live as long as the request. id: of the name. */
void mg_req_field_kept(struct mg_req *req, int kind, enum mg_header_id id, mg_str name,
                       mg_str value);
/* Replays what was recorded on req->out. */
void mg_req_replay_fields(struct mg_req *req);
/* Makes req->out, status, source and answer those of an answer made by the gateway: problem+json
 * with type, title, status, request_id and message (NULL = the title). */
void mg_req_problem(struct mg_req *req, uint16_t status, const char *message);
