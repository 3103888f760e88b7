/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame by frame:
 *
 *   byte 0: FIN, RSV1-3, opcode (4 bits)    byte 1: MASK, length (7 bits; 126: 16, 127: 64 bits
 *   follow) then the longer length, if any, the mask of 4 bytes (clients must mask), the payload
 */
#include "echo_websocket.h"

enum {
    OPCODE_CLOSE = 8,
    OPCODE_PING = 9,
    OPCODE_PONG = 10,
};

/* Bytes of the head, once its first two are known. */
static size_t head_size(const struct mg_echo_websocket *ws)
{
    const unsigned length = ws->head[1] & 0x7f;
    return 2 + (length == 126 ? 2U : (length == 127 ? 8U : 0U)) + 4;
}

static uint64_t payload_length(const struct mg_echo_websocket *ws)
{
    const unsigned length = ws->head[1] & 0x7f;
    if (length < 126) {
        return length;
    }
    uint64_t value = 0;
    const size_t bytes = length == 126 ? 2 : 8;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | ws->head[2 + i];
    }
    return value;
}

/* The head is complete: answers with one of our own, unmasked. A pong goes back as a pong, which
 * RFC 6455 (5.5.3) allows without a ping. */
static void begin_payload(struct mg_echo_websocket *ws, struct mg_buf *out)
{
    const unsigned opcode = ws->head[0] & 0x0f;
    const bool masked = ws->head[1] & 0x80;
    const bool reserved = ws->head[0] & 0x70;
    ws->remaining = payload_length(ws);
    if (!masked || reserved || (opcode > 2 && opcode < 8) || opcode > OPCODE_PONG ||
        (opcode >= OPCODE_CLOSE && ws->remaining > 125)) {
        ws->broken = true;
        return;
    }
    ws->is_close = opcode == OPCODE_CLOSE;
    ws->in_payload = true;
    ws->mask_at = 0;
    char answer[10];
    const unsigned first = opcode == OPCODE_PING ? 0x80U | OPCODE_PONG : ws->head[0];
    answer[0] = (char)(uint8_t)first;
    answer[1] = (char)(ws->head[1] & 0x7f);
    const size_t bytes = ws->head_bytes - 4U;
    memcpy(answer + 2, ws->head + 2, bytes - 2);
    ws->broken = mg_buf_append(out, mg_str_make(answer, bytes)) != 0;
}

/* Takes the next bytes of the head; returns how many. */
static size_t feed_head(struct mg_echo_websocket *ws, mg_str bytes, struct mg_buf *out)
{
    size_t used = 0;
    while (used < bytes.len) {
        ws->head[ws->head_bytes++] = (uint8_t)bytes.ptr[used++];
        if (ws->head_bytes >= 2 && ws->head_bytes == head_size(ws)) {
            begin_payload(ws, out);
            break;
        }
    }
    return used;
}

static size_t feed_payload(struct mg_echo_websocket *ws, mg_str bytes, struct mg_buf *out)
{
    const size_t used = bytes.len < ws->remaining ? bytes.len : (size_t)ws->remaining;
    const uint8_t *mask = ws->head + ws->head_bytes - 4;
    char *place = mg_buf_reserve(out, used);
    if (!place) {
        ws->broken = true;
        return used;
    }
    for (size_t i = 0; i < used; i++) {
        place[i] = (char)(bytes.ptr[i] ^ (char)mask[(ws->mask_at + i) % 4]);
    }
    mg_buf_commit(out, used);
    ws->mask_at = (uint8_t)((ws->mask_at + used) % 4);
    ws->remaining -= used;
    return used;
}

void mg_echo_websocket_feed(struct mg_echo_websocket *ws, mg_str bytes, struct mg_buf *out)
{
    while (!ws->broken && !ws->done && (bytes.len > 0 || ws->in_payload)) {
        if (ws->in_payload && ws->remaining == 0) {
            ws->in_payload = false;
            ws->head_bytes = 0;
            ws->done = ws->is_close;
            continue;
        }
        if (bytes.len == 0) {
            return;
        }
        const size_t used =
            ws->in_payload ? feed_payload(ws, bytes, out) : feed_head(ws, bytes, out);
        bytes = mg_str_slice(bytes, used, bytes.len);
    }
}
