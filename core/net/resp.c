/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hiredis parses; its callbacks append to the flat tree of the reply that is being read, in the
 * order of the wire, which is the order of the tree. What hiredis builds itself is the text of one
 * element while it is incomplete.
 */
#include "net/resp.h"

#include <hiredis.h>
#include <limits.h>
#include <stdlib.h>

#define FIRST_NODES 16
/* What a reader keeps for the next reply. */
#define KEPT_NODES 4096
#define KEPT_BYTES (64UL * 1024)
#define FRAME_BYTES 64 /* around the text of an element: its length, its line ends */

struct mg_resp_reader {
    redisReader *hiredis;
    struct mg_resp_reply reply; /* under construction, or the last one given out */
    uint64_t promised;          /* elements of all arrays of this reply */
    bool given, too_large;
};

/* --- building --------------------------------------------------------------------------------- */

static struct mg_resp_reader *reader_of(const redisReadTask *task)
{
    return task->privdata;
}

/* What stands for an object of hiredis: it only asks whether there is one. */
static void *built(struct mg_resp_reader *reader)
{
    return reader;
}

static struct mg_resp_node *add_node(struct mg_resp_reply *reply, enum mg_resp_type type)
{
    if (reply->count == reply->size) {
        reply->size = reply->size ? reply->size * 2 : FIRST_NODES;
        reply->nodes = realloc(reply->nodes, reply->size * sizeof *reply->nodes);
        mg_require(reply->nodes != NULL);
    }
    struct mg_resp_node *node = &reply->nodes[reply->count++];
    *node = (struct mg_resp_node){.type = type};
    return node;
}

static void *too_large(struct mg_resp_reader *reader)
{
    reader->too_large = true;
    return NULL; /* hiredis gives up */
}

/* Others (RESP3: verbatim text, large numbers) are text too. */
static enum mg_resp_type type_of(int type)
{
    return type == REDIS_REPLY_STATUS  ? MG_RESP_STATUS
           : type == REDIS_REPLY_ERROR ? MG_RESP_ERROR
                                       : MG_RESP_STRING;
}

static void *on_string(const redisReadTask *task, char *text, size_t length)
{
    struct mg_resp_reader *reader = reader_of(task);
    struct mg_buf *bytes = &reader->reply.bytes;
    const size_t at = bytes->len;
    if (mg_buf_append(bytes, mg_str_make(text, length))) {
        return too_large(reader);
    }
    struct mg_resp_node *node = add_node(&reader->reply, type_of(task->type));
    node->value = (int64_t)at;
    node->length = (uint32_t)length;
    return built(reader);
}

/* hiredis 1.0 and later know RESP3, which we never ask for. What has an equal in RESP2 becomes
 * that; a push is no reply to anything. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#define IS_REPLY(task) ((task)->type != REDIS_REPLY_PUSH && (task)->type != REDIS_REPLY_ATTR)
#else
typedef int element_count;
#define IS_REPLY(task) true
#endif

static void *on_array(const redisReadTask *task, element_count elements)
{
    struct mg_resp_reader *reader = reader_of(task);
    if (!IS_REPLY(task)) {
        return NULL;
    }
    reader->promised += (uint64_t)elements;
    if (reader->promised > MG_RESP_ELEMENTS) {
        return too_large(reader);
    }
    add_node(&reader->reply, MG_RESP_ARRAY)->value = (int64_t)elements;
    return built(reader);
}

static void *on_integer(const redisReadTask *task, long long value)
{
    add_node(&reader_of(task)->reply, MG_RESP_INTEGER)->value = value;
    return built(reader_of(task));
}

static void *on_nil(const redisReadTask *task)
{
    add_node(&reader_of(task)->reply, MG_RESP_NIL);
    return built(reader_of(task));
}

#if HIREDIS_MAJOR >= 1
static void *on_double(const redisReadTask *task, double value, char *text, size_t length)
{
    (void)value;
    return on_string(task, text, length);
}

static void *on_bool(const redisReadTask *task, int value)
{
    return on_integer(task, value != 0);
}
#endif

static void on_free(void *object)
{
    (void)object;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct mg_resp_reader *mg_resp_reader_new(void)
{
    static redisReplyObjectFunctions functions = {
        .createString = on_string,
        .createArray = on_array,
        .createInteger = on_integer,
        .createNil = on_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = on_double,
        .createBool = on_bool,
#endif
        .freeObject = on_free
    };
    struct mg_resp_reader *reader = calloc(1, sizeof *reader);
    mg_require(reader != NULL);
    reader->hiredis = redisReaderCreateWithFunctions(&functions);
    mg_require(reader->hiredis != NULL);
    reader->hiredis->privdata = reader;
    mg_buf_init(&reader->reply.bytes, MG_RESP_REPLY_BYTES);
    return reader;
}

void mg_resp_reader_free(struct mg_resp_reader *reader)
{
    if (reader) {
        redisReaderFree(reader->hiredis);
        mg_resp_reply_deinit(&reader->reply);
        free(reader);
    }
}

/* The last reply has been looked at: the next one begins. */
static void begin_reply(struct mg_resp_reader *reader)
{
    if (reader->given) {
        reader->given = false;
        reader->reply.count = 0;
        reader->promised = 0;
        mg_buf_clear(&reader->reply.bytes);
        if (reader->reply.size > KEPT_NODES || reader->reply.bytes.size > KEPT_BYTES) {
            mg_resp_reply_deinit(&reader->reply);
        }
    }
}

int mg_resp_feed(struct mg_resp_reader *reader, mg_str bytes)
{
    const size_t kept = reader->hiredis->len - reader->hiredis->pos; /* of an incomplete element */
    begin_reply(reader);
    if (kept + reader->reply.bytes.len > MG_RESP_REPLY_BYTES + FRAME_BYTES) {
        return MG_ERESPONSE_TOO_LARGE;
    }
    return redisReaderFeed(reader->hiredis, bytes.ptr, bytes.len) == REDIS_OK ? 0
                                                                              : MG_EBAD_RESPONSE;
}

int mg_resp_next(struct mg_resp_reader *reader, struct mg_resp_reply **reply)
{
    void *object = NULL;
    begin_reply(reader);
    if (redisReaderGetReply(reader->hiredis, &object) != REDIS_OK) {
        return reader->too_large ? MG_ERESPONSE_TOO_LARGE : MG_EBAD_RESPONSE;
    }
    if (!object) {
        return MG_EAGAIN;
    }
    reader->given = true;
    *reply = &reader->reply;
    return 0;
}

/* --- replies ---------------------------------------------------------------------------------- */

mg_str mg_resp_text(const struct mg_resp_reply *reply, const struct mg_resp_node *node)
{
    return node->length == 0
               ? MG_STR("")
               : mg_str_make(mg_buf_view(&reply->bytes).ptr + node->value, node->length);
}

uint32_t mg_resp_after(const struct mg_resp_reply *reply, uint32_t index)
{
    uint64_t open = 1; /* nodes still to be passed */
    while (open > 0 && index < reply->count) {
        const struct mg_resp_node *node = &reply->nodes[index++];
        open += node->type == MG_RESP_ARRAY ? (uint64_t)node->value : 0;
        open--;
    }
    return index;
}

const struct mg_resp_node *mg_resp_element(const struct mg_resp_reply *reply, uint32_t array,
                                           uint32_t element)
{
    if (array >= reply->count || reply->nodes[array].type != MG_RESP_ARRAY ||
        element >= (uint64_t)reply->nodes[array].value) {
        return NULL;
    }
    uint32_t index = array + 1;
    for (uint32_t i = 0; i < element; i++) {
        index = mg_resp_after(reply, index);
    }
    return &reply->nodes[index];
}

void mg_resp_reply_move(struct mg_resp_reply *to, struct mg_resp_reply *from)
{
    const struct mg_resp_reply kept = *to;
    *to = *from;
    *from = kept;
    from->count = 0;
    from->bytes.max_bytes = MG_RESP_REPLY_BYTES;
    mg_buf_clear(&from->bytes);
}

void mg_resp_reply_deinit(struct mg_resp_reply *reply)
{
    free(reply->nodes);
    mg_buf_deinit(&reply->bytes);
    reply->nodes = NULL;
    reply->count = reply->size = 0;
}

/* --- commands --------------------------------------------------------------------------------- */

int mg_resp_format(struct mg_buf *out, const char **argv, const size_t *lengths, uint32_t count)
{
    char *command = NULL;
    const int length =
        count > INT_MAX ? -1 : redisFormatCommandArgv(&command, (int)count, argv, lengths);
    if (length < 0) {
        return MG_ENO_MEMORY;
    }
    const int err = mg_buf_append(out, mg_str_make(command, (size_t)length));
    redisFreeCommand(command);
    return err;
}
