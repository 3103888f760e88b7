/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of a WebSocket (RFC 6455, 5.2) as an echo server needs them: each frame of the client
 * is unmasked and goes back with the same opcode, piece by piece as it comes. A ping is answered by
 * a pong, a close by a close, after which done is set. Broken is set by a frame that no client may
 * send.
 *
 *     struct mg_echo_websocket ws = {0};
 *     mg_echo_websocket_feed(&ws, bytes, &out);      // appends to out what is to be sent
 */
#pragma once

#include "base/buf.h"

struct mg_echo_websocket {
    uint8_t head[14]; /* of the present frame, as far as it has come */
    uint8_t head_bytes;
    uint8_t mask_at;    /* position in the mask of the next octet */
    uint64_t remaining; /* octets of the payload to come */
    bool in_payload, is_close;
    bool done, broken;
};

/* Takes all bytes. Failure to append counts as broken. */
void mg_echo_websocket_feed(struct mg_echo_websocket *ws, mg_str bytes, struct mg_buf *out);
