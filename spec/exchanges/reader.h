/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the messages of one side of a connection to the gateway, as strictly as its writer is meant
 * to be: one blank after the colon, no blank at the end of a value, chunk lines without extension,
 * no trailers. Written anew, from RFC 9112: it shares nothing with the gateway's own parsers.
 *
 *     static const struct reader_user user = {on_head, on_octets, on_end};
 *     reader_init(&reader, &user, context);
 *     const char *wrong = reader_feed(&reader, bytes);    // NULL: nothing
 *     ...
 *     wrong = reader_finish(&reader);                     // the peer has closed
 */
#pragma once

#include "base/buf.h"
#include "message.h"

enum { READER_FIELDS = 160 };

struct head {
    mg_str start;
    struct {
        mg_str name, value;
    } fields[READER_FIELDS];
    uint32_t field_count;
    /* what the fields say about the body */
    bool has_length, is_chunked;
    uint64_t length;
};

struct reader;

/* Each returns NULL, or what is wrong: then nothing more is read. */
struct reader_user {
    /* Calls reader_expect, unless no body follows. */
    const char *(*on_head)(void *context, const struct head *head);
    const char *(*on_octets)(void *context, mg_str octets);
    const char *(*on_end)(void *context); /* the message is complete */
};

struct reader {
    const struct reader_user *user;
    void *context;
    struct mg_buf line; /* an unfinished head or chunk line */
    struct head head;
    enum { READ_HEAD, READ_OCTETS, READ_CHUNK_LINE, READ_CHUNK_END, READ_LAST } state;
    enum framing framing;
    uint64_t left; /* octets of the body, or of the chunk */
    bool stopped;  /* by reader_stop */
};

void reader_init(struct reader *reader, const struct reader_user *user, void *context);
void reader_deinit(struct reader *reader);
/* For on_head: how the body that follows is framed. NONE is what holds without the call. */
void reader_expect(struct reader *reader, enum framing framing, uint64_t length);
/* What comes after the present message is not read: the connection is about to end. */
void reader_stop(struct reader *reader);
const char *reader_feed(struct reader *reader, mg_str bytes);
/* The peer has closed its side: fine between messages, and the end of a body that lasts to it. */
const char *reader_finish(struct reader *reader);
/* Whether part of a message has been read. */
bool reader_is_inside(const struct reader *reader);

/* The value of the field with the name, case-blind; ptr NULL when there is none. */
mg_str head_value(const struct head *head, const char *name);
/* Whether an element of a Connection field is the option. */
bool head_has_option(const struct head *head, const char *option);
