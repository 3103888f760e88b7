/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunked bodies: the first byte chooses the limits, the rest is the body. Any pieces, decoded
 * chunk by chunk or joined, give the same octets, the same end and the same error; octets written
 * as chunks anew are read back unchanged.
 *
 * Covers: core/wire/chunk.c
 */
#include "wire/chunk.h"
#include "wire/write.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mg_chunk_limits usual = {
    .line = 64, .extensions = 4096, .trailers = 20, .trailer_bytes = 8192};
static const struct mg_chunk_limits tight = {
    .line = 6, .extensions = 12, .trailers = 2, .trailer_bytes = 24};

struct decoded {
    struct mg_buf octets;
    size_t used;
    int err;
    bool done;
};

typedef int decoder(struct mg_chunk *chunk, mg_str bytes, size_t *used, mg_str *data);

static void decode(struct decoded *out, decoder *next, const struct mg_chunk_limits *limits,
                   mg_str bytes, size_t first, size_t step)
{
    struct mg_chunk chunk;
    size_t piece = first;
    *out = (struct decoded){.err = 0};
    mg_buf_init(&out->octets, 1024 * 1024);
    mg_chunk_init(&chunk, limits);
    while (out->used < bytes.len && !out->err && !chunk.done) {
        mg_str part = mg_str_slice(bytes, out->used, out->used + piece);
        while (part.len > 0 && !out->err && !chunk.done) {
            size_t used = 0;
            mg_str octets;
            out->err = next(&chunk, part, &used, &octets);
            mg_require(used > 0 && used <= part.len && octets.len <= used);
            mg_require(mg_buf_append(&out->octets, octets) == 0);
            out->used += used;
            part = mg_str_slice(part, used, part.len);
        }
        piece = step;
    }
    out->done = chunk.done;
}

static void require_same(const struct decoded *a, struct decoded *b)
{
    mg_require(a->err == b->err && a->done == b->done && a->used == b->used);
    mg_require(mg_str_equal(mg_buf_view(&a->octets), mg_buf_view(&b->octets)));
    mg_buf_deinit(&b->octets);
}

/* Octets of an accepted body as one chunk of ours. */
static void require_round_trip(const struct decoded *body)
{
    struct mg_buf out;
    struct decoded back;
    char head[20];
    const mg_str octets = mg_buf_view(&body->octets);
    mg_buf_init(&out, 1024 * 1024);
    int err = 0;
    if (octets.len > 0) {
        err |= mg_buf_append(&out, mg_str_make(head, mg_write_chunk_head(head, octets.len)));
        err |= mg_buf_append(&out, octets);
        err |= mg_buf_append(&out, MG_CHUNK_END);
    }
    err |= mg_buf_append(&out, MG_CHUNK_LAST);
    mg_require(err == 0);
    decode(&back, mg_chunk_next, &usual, mg_buf_view(&out), out.len, 1);
    mg_require(!back.err && back.done && back.used == out.len);
    mg_require(mg_str_equal(mg_buf_view(&back.octets), octets));
    mg_buf_deinit(&back.octets);
    mg_buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const struct mg_chunk_limits *limits = data[0] & 1 ? &tight : &usual;
    const mg_str bytes = mg_str_make((const char *)data + 1, size - 1);
    struct decoded whole, other;
    decode(&whole, mg_chunk_next, limits, bytes, bytes.len, 1);
    decode(&other, mg_chunk_next, limits, bytes, 1, 1);
    require_same(&whole, &other);
    decode(&other, mg_chunk_next, limits, bytes, 1 + size % 9, 4);
    require_same(&whole, &other);
    struct mg_buf copy; /* joining moves octets about */
    mg_buf_init(&copy, 1024 * 1024);
    mg_require(mg_buf_append(&copy, bytes) == 0);
    decode(&other, mg_chunk_join, limits, mg_buf_view(&copy), 1 + size % 61, 30);
    require_same(&whole, &other);
    mg_buf_deinit(&copy);
    if (whole.done) {
        require_round_trip(&whole);
    }
    mg_buf_deinit(&whole.octets);
    return 0;
}
