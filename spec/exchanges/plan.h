/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange as a whole, made from the seed and its number by whoever takes part: what the client
 * sends, what the upstream must see of it and answer, what the client must see of that. Everything
 * in it is valid HTTP/1.x, so every exchange must succeed.
 *
 *     struct plan plan;
 *     plan_make(&plan, seed, number);
 *     ... message_head(&plan.request, &plan.arena) ...
 *     plan_free(&plan);
 */
#pragma once

#include "message.h"

#define PLAN_FIELD "X-Exchange" /* in requests and answers: says which exchange it is */

enum { PLAN_INTERIMS = 3 };

/* How bytes are cut into writes. */
enum cut { CUT_NOT, CUT_RANDOM, CUT_TINY };

struct plan {
    struct mg_arena arena;
    uint64_t seed;
    uint32_t number;
    enum cut client_cut, upstream_cut;

    struct message request;
    mg_str method, host;
    mg_str target;     /* as the upstream sees it */
    bool is_head;      /* HEAD */
    bool is_old;       /* of HTTP/1.0 */
    bool client_stays; /* the client lets the connection live on */
    bool expects;      /* Expect: 100-continue */
    bool waits;        /* and sends no body before it was told to */

    struct message interims[PLAN_INTERIMS];
    uint32_t interim_count;
    struct message response;
    uint16_t status;
    bool has_body;       /* neither HEAD nor 204 nor 304 */
    bool tells_length;   /* of a body that is not sent: HEAD and 304 */
    bool upstream_stays; /* the upstream lets the connection live on */
    bool is_early;       /* it answers before it has the body */
    bool is_slow;        /* and the client has not sent it by then */
};

void plan_make(struct plan *plan, uint64_t seed, uint32_t number);
void plan_free(struct plan *plan);
/* The value of PLAN_FIELD; false when it is none. */
bool plan_read_field(mg_str value, uint64_t *seed, uint32_t *number);
