/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message as a stream of bytes: head, octets, chunk lines, trailers, produced while they are
 * sent. The head lives in the arena that it was given; the message must outlive the source.
 */
#pragma once

#include "message.h"

struct source {
    const struct message *message;
    struct mg_arena *arena;
    mg_str text;   /* head, chunk line or trailers, still to go out */
    uint64_t sent; /* octets */
    uint64_t chunk_left;
    struct dice dice;
    uint32_t lines;  /* chunk lines made */
    bool holds_body; /* until this is cleared the body waits */
    bool ends;       /* nothing comes after text and chunk_left */
    char line[64];
};

void source_init(struct source *source, const struct message *message, struct mg_arena *arena);
/* Writes at most so many bytes of the stream; 0 at its end, or while the body is held. */
size_t source_read(struct source *source, char *to, size_t most);

static inline bool source_is_out(const struct source *source)
{
    return source->ends && source->text.len == 0 && source->chunk_left == 0;
}
