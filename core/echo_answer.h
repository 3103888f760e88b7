/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One answer of the echo upstream under way: after its delay the head, then the body in blocks
 * (never more than MG_ECHO_QUEUE queued), or events one by one. Lives in its connection and is used
 * again.
 *
 *     answer.wish = wish;
 *     if (mg_echo_answer_start(&answer, &ask) == MG_ECHO_WRITTEN) ... next request
 *     // MG_ECHO_LATER: on_done(context) comes once; MG_ECHO_GONE: the stream was closed
 */
#pragma once

#include "base/buf.h"
#include "echo_wish.h"
#include "net/io.h"

#define MG_ECHO_BLOCK 65536
#define MG_ECHO_QUEUE (256 * 1024)

enum mg_echo_progress {
    MG_ECHO_WRITTEN, /* all is with the kernel or the stream's queue */
    MG_ECHO_LATER,
    MG_ECHO_GONE, /* closed or being closed, on purpose or because writing failed */
};

struct mg_echo_answer {
    struct mg_loop *loop;
    struct mg_io *io;
    const char *pattern; /* MG_ECHO_BLOCK octets, repeated as the body of sized answers */
    void (*on_done)(void *context);
    void *context;
    struct mg_echo_wish wish;
    /* private */
    struct mg_buf head;
    struct mg_deadline deadline;
    mg_str text; /* body; its ptr is NULL: the pattern */
    uint64_t sent, total, events_sent;
    bool no_body, framed, close, head_out, begun, busy;
};

struct mg_echo_ask { /* what is asked of one answer */
    mg_str text;     /* JSON; must live until the answer is done. Unused with wish.sized */
    bool is_head;    /* HEAD: no body */
    bool is_old;     /* HTTP/1.0: no chunks */
    bool keep_alive; /* the client's wish */
};

/* loop, io, pattern, on_done and context are set. */
void mg_echo_answer_init(struct mg_echo_answer *answer);
void mg_echo_answer_deinit(struct mg_echo_answer *answer);
/* wish is set. */
enum mg_echo_progress mg_echo_answer_start(struct mg_echo_answer *answer,
                                           const struct mg_echo_ask *ask);
/* The stream's queue is empty. */
void mg_echo_answer_drained(struct mg_echo_answer *answer);

/* "HTTP/1.1 ... " up to the empty line, for an answer of that length. */
bool mg_echo_answer_head(struct mg_buf *out, const struct mg_echo_wish *wish, const char *date,
                         const char *type, uint64_t length);
