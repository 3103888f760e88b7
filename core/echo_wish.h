/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer of the echo upstream is to be: given on its command line for all requests, changed
 * by the query of one.
 *
 *     GET /any?status=503&size=1000&delay=50&chunked=1
 *
 *   status=N    of the answer, 200 .. 599        size=BYTES    so many octets instead of JSON
 *   delay=MS    before the answer                chunked=1     without a Content-Length
 *   sse=N       N events, delay between them     close=1       and close the connection
 *   fail_rate=P that share of answers is 500     reset=1       reset the connection, no answer
 *   cut=BYTES   close after so many octets of the body
 *   raw=1       after an upgrade: echo bytes, not WebSocket frames
 */
#pragma once

#include "base/str.h"

struct mg_echo_wish {
    uint16_t status;
    bool sized, chunked, close, reset, cut, raw;
    uint64_t size; /* with sized */
    uint64_t delay_ms;
    uint64_t events;    /* 0 = no event stream */
    uint64_t cut_after; /* with cut */
    double fail_rate;   /* 0 .. 1 */
};

#define MG_ECHO_MAX_DELAY_MS 600000

/* Takes what the query asks for; what it does not know or cannot read is left as it is. */
void mg_echo_wish_query(struct mg_echo_wish *wish, mg_str query);
