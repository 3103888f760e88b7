/* SPDX-License-Identifier: Apache-2.0 */
/* The only file that knows zlib. */
#include "wire/gzip.h"

#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* 32 KiB, with a gzip head instead of zlib's (deflateInit2) */
#define MEMORY_LEVEL 8        /* zlib's default */

/* All of it in one call: room is deflateBound of what goes in. */
static int pack(z_stream *stream, struct mg_buf *out, mg_str bytes)
{
    const uLong bound = deflateBound(stream, bytes.len);
    char *room = mg_buf_reserve(out, bound);
    if (!room) {
        return MG_ENO_MEMORY;
    }
    stream->next_in = (Bytef *)(uintptr_t)bytes.ptr; /* zlib only reads it */
    stream->avail_in = (uInt)bytes.len;
    stream->next_out = (Bytef *)room;
    stream->avail_out = (uInt)bound;
    mg_require(deflate(stream, Z_FINISH) == Z_STREAM_END);
    mg_buf_commit(out, stream->total_out);
    return 0;
}

int mg_gzip(struct mg_buf *out, mg_str bytes)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return MG_ENO_MEMORY;
    }
    const int err = bytes.len > UINT32_MAX / 2 ? MG_ENO_MEMORY : pack(&stream, out, bytes);
    (void)deflateEnd(&stream);
    return err;
}
