/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP2, the protocol of Redis (redis.io, "Redis serialization protocol"): replies become flat
 * trees, commands become bytes. Replies come from a peer we do not trust: at most 7 arrays in one
 * another, 1 M elements and 16 MiB a reply. The only file that knows hiredis, of which it uses the
 * reader and the command formatter.
 *
 *     struct mg_resp_reader *reader = mg_resp_reader_new();
 *     int err = mg_resp_feed(reader, bytes);
 *     struct mg_resp_reply *reply;
 *     while (!err && (err = mg_resp_next(reader, &reply)) == 0) {
 *         const struct mg_resp_node *root = &reply->nodes[0];
 *         if (root->type == MG_RESP_ERROR) log(mg_resp_text(reply, root));
 *     }
 *     // MG_EAGAIN: more bytes are needed; anything else: the stream is lost, close it
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#define MG_RESP_REPLY_BYTES (16UL * 1024 * 1024)
#define MG_RESP_ELEMENTS (1024UL * 1024)

struct mg_resp_reader;

enum mg_resp_type {
    MG_RESP_NIL, /* null string or null array */
    MG_RESP_INTEGER,
    MG_RESP_STRING, /* bulk */
    MG_RESP_STATUS,
    MG_RESP_ERROR,
    MG_RESP_ARRAY,
};

/* An array is followed by its elements, each with all that is in it. */
struct mg_resp_node {
    enum mg_resp_type type;
    uint32_t length; /* of a text */
    int64_t value;   /* INTEGER: itself; ARRAY: number of elements; a text: where it begins */
};

/* One reply: nodes[0] is its root. Cleared memory is an empty one. */
struct mg_resp_reply {
    struct mg_resp_node *nodes;
    uint32_t count, size;
    struct mg_buf bytes; /* of all texts */
};

struct mg_resp_reader *mg_resp_reader_new(void);
void mg_resp_reader_free(struct mg_resp_reader *reader);
/* MG_ERESPONSE_TOO_LARGE: over a cap. After an error the reader is of no more use. */
MG_NODISCARD int mg_resp_feed(struct mg_resp_reader *reader, mg_str bytes);
/* The next complete reply; it is the reader's and lives until the next call here. MG_EAGAIN,
 * MG_EBAD_RESPONSE, MG_ERESPONSE_TOO_LARGE. */
MG_NODISCARD int mg_resp_next(struct mg_resp_reader *reader, struct mg_resp_reply **reply);

/* Of a STRING, STATUS or ERROR; lives as long as the reply. */
mg_str mg_resp_text(const struct mg_resp_reply *reply, const struct mg_resp_node *node);
/* Index of the node that follows this one and all that is in it. */
uint32_t mg_resp_after(const struct mg_resp_reply *reply, uint32_t index);
/* The element of the array at that index of nodes (0 = first), or NULL: no array, or not so long.
 * O(elements before it). */
const struct mg_resp_node *mg_resp_element(const struct mg_resp_reply *reply, uint32_t array,
                                           uint32_t element);
/* Moves the content: `to` owns it, `from` is empty, with the memory that `to` had. */
void mg_resp_reply_move(struct mg_resp_reply *to, struct mg_resp_reply *from);
void mg_resp_reply_deinit(struct mg_resp_reply *reply);

/* Appends a command. MG_ENO_MEMORY: over the buffer's cap. */
MG_NODISCARD int mg_resp_format(struct mg_buf *out, const char **argv, const size_t *lengths,
                                uint32_t count);
