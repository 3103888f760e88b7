/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command and who waits for its reply: the part that connections (redis_connection.h) and
 * instances (redis.h) both know. Lies in memory of its owner, who keeps it until its reply.
 */
#pragma once

#include "base/deadline.h"
#include "base/list.h"
#include "net/redis_result.h"
#include "net/resp.h"

struct mg_redis;
struct mg_redis_command;
struct mg_redis_connection;
struct mg_redis_script;

/* reply: MG_REDIS_OK: a reply that is no error; else the error reply, or NULL when none came. It is
 * the connection's: move it (mg_resp_reply_move) or look at it before returning. */
typedef void mg_redis_done_fn(struct mg_redis_command *command, enum mg_redis_result result,
                              struct mg_resp_reply *reply);

/* What a connection calls: a reply came, or the connection ended without one. */
typedef void mg_redis_deliver_fn(struct mg_redis_command *command,
                                 struct mg_redis_connection *connection,
                                 enum mg_redis_result result, struct mg_resp_reply *reply);

struct mg_redis_words {
    const mg_str *items;
    uint32_t count;
};

struct mg_redis_command {
    mg_redis_done_fn *fn; /* of the owner: fires once, never before mg_redis_send has returned */

    /* private */
    mg_redis_deliver_fn *deliver;
    struct mg_redis *redis; /* NULL: at rest */
    struct mg_link link;    /* among those that no connection has yet */
    struct mg_deadline deadline;
    struct mg_redis_connection *connection; /* that the reply will come from; NULL: none yet */
    uint64_t place;                         /* there */
    struct mg_redis_script *script;         /* of an EVALSHA */
    const char **argv;                      /* one block with the lengths and all bytes */
    size_t *lengths;
    uint32_t count;
    uint64_t begun_us;        /* when it was handed over */
    int32_t slot;             /* of a cluster, -1 = any */
    uint16_t port;            /* of host */
    char *host;               /* ASK: where it goes this once; NULL: where its slot is */
    struct mg_deadline again; /* TRYAGAIN: when it is sent again */
    uint8_t moves;            /* MOVED, followed */
    bool has_asked;           /* ASK was followed */
    bool has_been_eval;       /* the source was sent */
    bool has_waited;          /* for TRYAGAIN */
    bool asking;              /* the node is importing the slot */
};

/* Copies the words of the command, group after group. Frees what was there. MG_EINVALID: none, or
 * more than a million. */
MG_NODISCARD int mg_redis_command_set(struct mg_redis_command *command,
                                      const struct mg_redis_words *groups, uint32_t group_count);
/* EVALSHA becomes EVAL with the source. */
void mg_redis_command_use_source(struct mg_redis_command *command);
/* Frees the words. */
void mg_redis_command_clear(struct mg_redis_command *command);
