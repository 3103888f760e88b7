/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder of the chunked transfer coding (RFC 9112, 7.1), strict: hex digits only, CRLF only,
 * bounded lines, well-formed extensions without white space, bounded trailers. Extensions and
 * trailer fields are checked and dropped; a
 * trailer that names a field of framing, routing, authentication or control is refused
 * (docs/threat-model.md).
 *
 *     struct mg_chunk chunk;
 *     mg_chunk_init(&chunk, &limits);
 *     while (in.len > 0 && !chunk.done) {
 *         size_t used;
 *         mg_str data;
 *         int err = mg_chunk_next(&chunk, in, &used, &data);   // 0 or a refusal
 *         if (data.len > 0) ...                                // a slice of in
 *         in = mg_str_slice(in, used, in.len);
 *     }
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct mg_chunk_limits {
    uint32_t line;          /* bytes of one chunk-size line with its extension, without CRLF */
    uint32_t extensions;    /* bytes of all extensions of a message */
    uint32_t trailers;      /* fields */
    uint32_t trailer_bytes; /* of all fields, each with its CRLF */
};

/* Which limit a refusal is about; NONE: it is malformed. */
enum mg_chunk_limit {
    MG_CHUNK_LIMIT_NONE,
    MG_CHUNK_LIMIT_LINE,
    MG_CHUNK_LIMIT_EXTENSIONS,
    MG_CHUNK_LIMIT_TRAILERS, /* their count or their bytes */
};

struct mg_chunk {
    const struct mg_chunk_limits *limits;
    uint64_t remaining; /* bytes of the present chunk still to come */
    uint32_t line_bytes, extension_bytes, trailer_count, trailer_bytes;
    uint8_t state, digits, place, name_bytes;
    uint8_t limit; /* enum mg_chunk_limit */
    bool done;     /* the last chunk and the trailers are complete */
    char name[32]; /* of the present trailer field, as far as it fits */
};

void mg_chunk_init(struct mg_chunk *chunk, const struct mg_chunk_limits *limits);
/* Takes the next piece of bytes. *data: body octets (a slice of bytes, maybe empty); *used > 0
 * unless bytes is empty or the body is done: what follows it is not touched. MG_ECHUNK: bad framing
 * or a size over 2^63-1. MG_ETRAILER. Any split of the bytes gives the same octets and the same
 * error. */
MG_NODISCARD int mg_chunk_next(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data);
/* The same for all of the bytes, which lie in memory that may be written: the octets of all their
 * chunks are moved together, so that they come as one piece, however small the chunks are. On a
 * refusal *data is what came before it. */
MG_NODISCARD int mg_chunk_join(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data);
