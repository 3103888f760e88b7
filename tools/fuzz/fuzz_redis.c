/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies of a Redis server that may be any: the first byte chooses the pieces, the rest is what
 * comes. In any pieces the replies and the end are the same; a reply's tree holds what it says and,
 * written as RESP anew, is read back unchanged. Errors are classified, redirections and maps of
 * slots read.
 *
 * Covers: core/net/resp.c core/net/redis_slots.c core/net/redis_result.c
 */
#include "net/redis_result.h"
#include "net/redis_slots.h"
#include "net/resp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WIRE_BYTES (64UL * 1024 * 1024)

static void put(struct mg_buf *out, mg_str bytes)
{
    mg_require(mg_buf_append(out, bytes) == 0);
}

static void put_line(struct mg_buf *out, char kind, int64_t number)
{
    char line[32];
    const int length = snprintf(line, sizeof line, "%c%" PRId64 "\r\n", kind, number);
    put(out, mg_str_make(line, (size_t)length));
}

/* The node as it stands on the wire; an array without its elements. */
static void put_node(struct mg_buf *out, const struct mg_resp_reply *reply,
                     const struct mg_resp_node *node)
{
    switch (node->type) {
    case MG_RESP_NIL:
        put_line(out, '$', -1);
        break;
    case MG_RESP_INTEGER:
        put_line(out, ':', node->value);
        break;
    case MG_RESP_ARRAY:
        put_line(out, '*', node->value);
        break;
    case MG_RESP_STRING:
        put_line(out, '$', node->length);
        put(out, mg_resp_text(reply, node));
        put(out, MG_STR("\r\n"));
        break;
    default:
        put(out, node->type == MG_RESP_ERROR ? MG_STR("-") : MG_STR("+"));
        put(out, mg_resp_text(reply, node));
        put(out, MG_STR("\r\n"));
    }
}

static void put_reply(struct mg_buf *out, const struct mg_resp_reply *reply)
{
    mg_require(reply->count > 0 && mg_resp_after(reply, 0) == reply->count);
    for (uint32_t i = 0; i < reply->count; i++) {
        put_node(out, reply, &reply->nodes[i]);
    }
}

/* The texts of the reply as a command: it reads back as an array of them. */
static void format_texts(const struct mg_resp_reply *reply)
{
    enum { MOST = 16 };
    const char *argv[MOST];
    size_t lengths[MOST];
    uint32_t count = 0;
    for (uint32_t i = 0; i < reply->count && count < MOST; i++) {
        if (reply->nodes[i].type == MG_RESP_STRING || reply->nodes[i].type == MG_RESP_STATUS) {
            const mg_str text = mg_resp_text(reply, &reply->nodes[i]);
            argv[count] = text.ptr;
            lengths[count++] = text.len;
        }
    }
    struct mg_buf command;
    mg_buf_init(&command, WIRE_BYTES);
    mg_require(mg_resp_format(&command, argv, lengths, count) == 0);
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *back, kept = {0};
    mg_require(mg_resp_feed(reader, mg_buf_view(&command)) == 0);
    mg_require(mg_resp_next(reader, &back) == 0);
    mg_resp_reply_move(&kept, back);
    mg_require(back->count == 0 && kept.nodes[0].type == MG_RESP_ARRAY);
    mg_require(kept.nodes[0].value == count && kept.count == count + 1);
    for (uint32_t i = 0; i < count; i++) {
        mg_require(mg_str_equal(mg_resp_text(&kept, mg_resp_element(&kept, 0, i)),
                                mg_str_make(argv[i], lengths[i])));
    }
    mg_resp_reply_deinit(&kept);
    mg_resp_reader_free(reader);
    mg_buf_deinit(&command);
}

static void look_at_error(struct mg_redis_slots *slots, mg_str text)
{
    struct mg_redis_address server;
    uint16_t slot;
    const enum mg_redis_result result = mg_redis_result_of(text);
    mg_require(result < MG_REDIS_RESULT_COUNT && mg_redis_result_word(result)[0] != '\0');
    mg_require(!mg_redis_result_is_illness(result, MG_STR("CLUSTERDOWN Hash slot not served")));
    (void)mg_redis_result_is_illness(result, text);
    if (mg_redis_redirection(text, &slot, &server) == 0) {
        mg_require(slot < MG_REDIS_SLOTS && server.port > 0 && server.host.len < text.len);
        if (server.host.len > 0) {
            mg_redis_slots_move(slots, slot, &server);
            const struct mg_redis_address *moved = mg_redis_slots_server(slots, slot);
            mg_require(!moved || moved->port == server.port);
        }
    }
}

/* What the layers above do with a reply. */
static void look_at(const struct mg_resp_reply *reply)
{
    struct mg_redis_slots *slots = mg_redis_slots_new();
    format_texts(reply);
    for (uint32_t i = 0; i < reply->count; i++) {
        if (reply->nodes[i].type == MG_RESP_ERROR) {
            look_at_error(slots, mg_resp_text(reply, &reply->nodes[i]));
        } else if (reply->nodes[i].type == MG_RESP_STRING) {
            mg_require(mg_redis_slot_of(mg_resp_text(reply, &reply->nodes[i])) < MG_REDIS_SLOTS);
        }
    }
    if (mg_redis_slots_read(slots, reply, MG_STR("asked")) == 0) {
        mg_require(mg_redis_slots_master(slots, 0) != NULL);
        for (uint32_t i = 0; i < MG_REDIS_SLOTS; i += 97) {
            const struct mg_redis_address *found = mg_redis_slots_server(slots, (uint16_t)i);
            mg_require(!found || (found->port > 0 && found->host.len > 0));
        }
    }
    mg_redis_slots_free(slots);
    const struct mg_resp_node *first = mg_resp_element(reply, 0, 0);
    mg_require(!first || first == &reply->nodes[1]);
}

/* Reads the bytes in pieces; all replies as RESP come out. The error that ended it, or
 * MG_EAGAIN. */
static int read_all(mg_str bytes, size_t piece, struct mg_buf *out, bool look)
{
    struct mg_resp_reader *reader = mg_resp_reader_new();
    struct mg_resp_reply *reply;
    int err = MG_EAGAIN;
    for (size_t at = 0; at < bytes.len && err == MG_EAGAIN; at += piece) {
        err = mg_resp_feed(reader, mg_str_slice(bytes, at, at + piece));
        while (!err) {
            err = mg_resp_next(reader, &reply);
            if (!err) {
                put_reply(out, reply);
            }
            if (!err && look) {
                look_at(reply);
            }
        }
    }
    mg_resp_reader_free(reader);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_buf whole, pieces, again;
    if (size < 1 || size > 64 * 1024) {
        return 0;
    }
    const mg_str bytes = mg_str_make((const char *)data + 1, size - 1);
    mg_buf_init(&whole, WIRE_BYTES);
    mg_buf_init(&pieces, WIRE_BYTES);
    mg_buf_init(&again, WIRE_BYTES);
    const int err = read_all(bytes, bytes.len + 1, &whole, true);
    const int same = read_all(bytes, (size_t)data[0] % 16 + 1, &pieces, false);
    mg_require(err == same && mg_str_equal(mg_buf_view(&whole), mg_buf_view(&pieces)));
    (void)read_all(mg_buf_view(&whole), 4096, &again, false);
    mg_require(mg_str_equal(mg_buf_view(&whole), mg_buf_view(&again)));
    mg_buf_deinit(&whole);
    mg_buf_deinit(&pieces);
    mg_buf_deinit(&again);
    return 0;
}
