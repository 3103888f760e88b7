/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its answer: the only thing that knows both the client and the upstream. Read the
 * files in the order of a request's life:
 *
 *   head.c      what the head says, and what of it may be trusted
 *   exchange.c  head -> checks -> rewrite -> route -> access -> service
 *   target.c    which upstream host
 *   attempt.c   the attempts: send the head and the body
 *   retry.c     whether and when an attempt is followed by another
 *   respond.c   the answer's head and body back to the client, through the filters
 *   tunnel.c    upgraded connections
 *   finish.c    the end: log phase, statistics, release;  fail.c: which error is which answer
 */
#pragma once

#include "flow/client.h"
#include "flow/upstream.h"
#include "model/balance.h"
#include "model/req.h"
#include "model/retry.h"
#include "script/hook.h"
#include "wire/write.h"

#define MG_GATHER_PARTS 8

enum mg_exchange_state {
    MG_EXCHANGE_REWRITE,
    MG_EXCHANGE_ACCESS,
    MG_EXCHANGE_UPSTREAM, /* attempts, until the answer's head */
    MG_EXCHANGE_HOLD,     /* the whole answer is collected for the response phase */
    MG_EXCHANGE_HEAD,     /* response and header_filter phases */
    MG_EXCHANGE_BODY,
    MG_EXCHANGE_FLUSH, /* all given to the client's connection, waiting for its queue */
    MG_EXCHANGE_TUNNEL,
    MG_EXCHANGE_LOG,
};

enum mg_wait { /* for a place at an upstream */
               MG_WAIT_NOT,
               MG_WAIT_QUEUED,
               MG_WAIT_WOKEN, /* it has one, and is sent in the next turn */
};

struct mg_exchange {
    struct mg_req req; /* first: the script layer's view */
    struct mg_link link;
    struct mg_server *server;
    struct mg_generation *generation;
    struct mg_client *client; /* NULL when the connection is gone */
    enum mg_exchange_state state;
    struct mg_deadline deadline;       /* limits.request_timeout; a tunnel's silence */
    struct mg_deadline probe_deadline; /* req.up.head_timeout */
    struct mg_deadline try_deadline;   /* retry.per_try_timeout; the wait before the next attempt */
    struct mg_buf kept;                /* request body, until it cannot be replayed any more */
    struct mg_buf hold;                /* whole answers, and filtered octets held with the head */
    struct mg_buf waited;              /* octets whose body_filter round waits */
    struct mg_upstream upstream;
    struct mg_link queue_link; /* in queue_group->queue */

    /* zero from here to gather at the start of each request */
    bool waiting; /* a chain of handlers is suspended */
    bool close;   /* close the client's connection after this answer */
    bool answered_locally;
    uint16_t doomed_status; /* a failure that waits for the suspended handler to finish; 0 = none */
    enum mg_outcome doomed_outcome;

    /* request body */
    size_t kept_sent;      /* of kept, to the present upstream */
    bool body_due;         /* the client has more of it to send */
    bool body_streaming;   /* not kept any more: passes straight through */
    bool body_discarded;   /* the rest is read and dropped */
    bool continue_sent;    /* 100 Continue is out or not needed */
    int body_error;        /* why it will never be whole; 0 = it may be */
    uint64_t bytes_before; /* client->bytes_out when the request began */

    /* upstream */
    struct mg_peer_group *group;
    struct mg_peer *peer;
    struct mg_peer_group *queue_group;
    enum mg_wait wait;
    uint64_t queued_us;
    uint32_t health_epoch;   /* of peer, when it was chosen */
    bool is_probe;           /* of peer */
    bool result_due;         /* of this attempt, for the health of peer */
    struct mg_origin *fixed; /* of a plugin's set_target */
    uint64_t hash, tried;
    bool is_hashed;
    int32_t retries_left;
    uint32_t retries;  /* made or waited for, without those that count as none */
    bool retrying;     /* the present attempt is one */
    int failed_status; /* why the one before it failed; 0: its answer was not wanted */
    uint64_t try_started_us;
    const struct mg_upstream_settings *settings; /* the generation's */
    bool head_out;                               /* the request head was written to this upstream */
    bool tail_out;                               /* and the end of the body */
    bool answered_early;                         /* before that */
    bool fresh; /* the next attempt must not take an idle connection */

    /* answer */
    enum mg_framing in_framing, out_framing;
    uint64_t in_length;
    mg_str upgrade;  /* value of the client's Upgrade field when the route may tunnel, else empty */
    uint32_t phases; /* of the route, or global ones */
    bool switching;  /* a right 101 was received: a tunnel follows */
    bool client_ended, upstream_ended; /* sides of a tunnel that send no more */
    bool no_body;                      /* HEAD, 204, 304 */
    bool in_done;                      /* the upstream's body is complete */
    bool filtering;                    /* body_filter round in progress (maybe waiting) */
    bool filtered_part;                /* body_filter has seen octets of the upstream's */
    bool filter_off;                   /* read-only chain: its output is ignored */
    mg_str round;                      /* octets of the present body_filter round, as they came */
    bool round_last;
    bool head_gathered; /* the head is among the parts: nothing of the answer is out yet */
    uint32_t gathered, chunk_head_count;
    mg_str gather[MG_GATHER_PARTS]; /* not read beyond gathered */
    char chunk_heads[2][20];        /* nor these beyond chunk_head_count */
};

/* The exchange layer's side of a client connection. */
extern const struct mg_client_user mg_exchange_client_user;
extern const struct mg_upstream_user mg_exchange_upstream_user;

static inline struct mg_exchange *mg_exchange_of(struct mg_req *req)
{
    return (struct mg_exchange *)(void *)req; /* req is the first member */
}

/* exchange.c */
struct mg_exchange *mg_exchange_take(struct mg_server *server); /* from the pool, or new */
/* Gives back what an ended exchange holds; it goes to the pool after that. */
void mg_exchange_recycle(struct mg_exchange *exchange);
void mg_exchange_free(struct mg_exchange *exchange);
/* Asks for its memory, and for that of its arena which it will use next (base/prefetch.h). */
void mg_exchange_prefetch(const struct mg_exchange *exchange);
/* The handler that waits for the whole body, if one does, is told that it will not come. */
void mg_exchange_body_lost(struct mg_exchange *exchange, int error);
/* A chain that was WAITING has ended, or a wait for the body: on with the story. */
void mg_exchange_hook_done(struct mg_req *req, enum mg_phase phase, int verdict);

/* head.c */
void mg_head_peer(struct mg_exchange *exchange); /* address and listener of the client */
/* Parses and checks; the refusals of wire/http1, uri and rules, and MG_ELOOP. Refused, req keeps no
 * byte of the head but a known method and the canonical path and query. */
MG_NODISCARD int mg_head_understand(struct mg_exchange *exchange, mg_str bytes);
/* Arguments and cookies against the route's limits: MG_ETARGET, MG_ESYNTAX. */
MG_NODISCARD int mg_head_check_counts(const struct mg_exchange *exchange,
                                      const struct mg_limits *limits);
/* A new request id, 32 hex digits, in the arena. */
mg_str mg_head_request_id(struct mg_exchange *exchange);

/* target.c: sets peer, upstream origin, settings. 0, MG_ENO_TARGET, MG_EFULL, or MG_EAGAIN: it
 * waits, and mg_attempt_start comes again. */
MG_NODISCARD int mg_target_pick(struct mg_exchange *exchange, struct mg_origin **origin);
/* What became of the attempt, for the health of its target; the first one counts, and
 * MG_TRIED_BODY. */
void mg_target_result(struct mg_exchange *exchange, enum mg_try_result what, uint16_t status);
void mg_target_release(struct mg_exchange *exchange);

/* attempt.c */
void mg_attempt_start(struct mg_exchange *exchange); /* the next one */
/* One has failed, and is followed by none: a line in the log, and the answer. */
void mg_attempt_give_up(struct mg_exchange *exchange, int error);
void mg_attempt_log_failure(const struct mg_exchange *exchange, mg_str target, int error,
                            bool again);
void mg_attempt_begin(struct mg_exchange *exchange);
void mg_attempt_body(struct mg_exchange *exchange, mg_str octets, bool last);
/* Octets of the client's body went to the upstream unseen. */
void mg_attempt_spliced(struct mg_exchange *exchange);
void mg_attempt_end(struct mg_exchange *exchange);
/* Sends 100 Continue once, when the client waits for it. */
void mg_attempt_continue(struct mg_exchange *exchange);

/* retry.c: where the present attempt is counted for all workers. */
struct mg_upstream_record *mg_retry_record(const struct mg_exchange *exchange);
bool mg_retry_is_stale(const struct mg_exchange *exchange, int error);
/* The attempt that has just failed is followed by another, now or later; false: by none.
 */
bool mg_retry_failed(struct mg_exchange *exchange, int error);
/* The same for an answer whose head has come: true when it is dropped for another attempt. */
bool mg_retry_answered(struct mg_exchange *exchange, const struct mg_response_head *head);
/* Arms retry.per_try_timeout. */
void mg_retry_time(struct mg_exchange *exchange);

/* respond.c */
void mg_respond_upstream_head(struct mg_exchange *exchange, struct mg_response_head *head);
void mg_respond_upstream_body(struct mg_exchange *exchange, mg_str octets, bool last);
/* So many octets of the upstream's body went to the client unseen. */
void mg_respond_spliced(struct mg_exchange *exchange, size_t octets);
/* The answer stands in req (status, out, answer): filters, then out. */
void mg_respond_local(struct mg_exchange *exchange);
void mg_respond_hook_done(struct mg_exchange *exchange, enum mg_phase phase, int verdict);
void mg_respond_flush(struct mg_exchange *exchange);
/* What was gathered is not written; its head counts as not sent when it is among it. */
void mg_respond_forget(struct mg_exchange *exchange);
void mg_respond_drained(struct mg_exchange *exchange);

/* tunnel.c */
void mg_tunnel_begin(struct mg_exchange *exchange, struct mg_response_head *head);
/* The filters let the 101 pass. */
void mg_tunnel_open(struct mg_exchange *exchange);
void mg_tunnel_from_client(struct mg_exchange *exchange, mg_str bytes);
void mg_tunnel_from_upstream(struct mg_exchange *exchange, mg_str bytes);
/* One side sends no more: the other is told, and goes on. */
void mg_tunnel_client_ended(struct mg_exchange *exchange);
void mg_tunnel_upstream_ended(struct mg_exchange *exchange);
void mg_tunnel_client_drained(struct mg_exchange *exchange);
void mg_tunnel_upstream_drained(struct mg_exchange *exchange);
void mg_tunnel_end(struct mg_exchange *exchange, enum mg_outcome outcome);

/* fail.c: the one place where an error becomes an answer. Before the head is out: problem+json with
 * the code's status; after it: the connection is cut. */
void mg_fail(struct mg_exchange *exchange, int error);
/* The outcome that mg_fail would choose. */
enum mg_outcome mg_fail_outcome(const struct mg_exchange *exchange, int error);
void mg_fail_with(struct mg_exchange *exchange, uint16_t status, enum mg_outcome outcome);

/* finish.c: the answer is out, or the client is gone. */
void mg_finish(struct mg_exchange *exchange);
/* Cuts the client and gives up the handlers that wait; the request has ended when this returns. Not
 * from within one of its callbacks. */
void mg_finish_now(struct mg_exchange *exchange);
/* The log phase is over. */
void mg_finish_logged(struct mg_exchange *exchange);
void mg_finish_client_gone(struct mg_exchange *exchange, int status);
