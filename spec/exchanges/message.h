/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message as its sender means it: the start line, the fields in order, how the body is framed.
 * A field that does not pass concerns one hop, or claims what only a trusted peer may: the other
 * side must not see it.
 */
#pragma once

#include "text.h"

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_CLOSE };

struct field {
    mg_str name, value;
    mg_str before, after; /* blanks around the value */
    bool passes;
};

enum { MESSAGE_FIELDS = 64 };

struct message {
    mg_str start; /* without its CRLF */
    struct field fields[MESSAGE_FIELDS];
    uint32_t field_count;
    enum framing framing;
    uint64_t body_bytes;
    uint64_t content;       /* seed of the octets */
    struct dice chunk_dice; /* for sizes, extensions, trailers */
    uint32_t chunk_bits;    /* of the largest chunk */
    uint32_t trailers;
    bool extensions;
};

/* Adds a field as it is, without other blanks than one. */
void message_add(struct message *message, mg_str name, mg_str value, bool passes);
/* Adds up to most fields with names and values of all kinds, which pass. */
void message_add_random(struct message *message, struct mg_arena *arena, struct dice *dice,
                        uint32_t most);
/* Decides on the octets and, where it is chunked, on the chunks; adds the field of the framing. */
void message_set_body(struct message *message, struct mg_arena *arena, struct dice *dice,
                      enum framing framing);
/* The head as it goes out, in the arena. */
mg_str message_head(const struct message *message, struct mg_arena *arena);
