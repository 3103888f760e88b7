/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer whose largest size is fixed when it is made. Appending over the cap fails
 * with MG_ENO_MEMORY and leaves the content as it was. Bytes are consumed at the front without
 * moving the rest until space is needed.
 *
 *     struct mg_buf buf;
 *     mg_buf_init(&buf, 64 * 1024);
 *     int err = mg_buf_append(&buf, bytes);
 *     mg_buf_consume(&buf, n);
 *     mg_buf_deinit(&buf);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

struct mg_buf {
    char *data;
    size_t start, len; /* content is data[start .. start + len) */
    size_t size;       /* of the allocation */
    size_t max_bytes;
};

/* No memory is taken before the first append. max_bytes: cap of the content. */
void mg_buf_init(struct mg_buf *buf, size_t max_bytes);
/* Frees the memory; the buffer is empty and usable with the same cap. */
void mg_buf_deinit(struct mg_buf *buf);
MG_NODISCARD int mg_buf_append(struct mg_buf *buf, mg_str bytes);
/* Appends text. false, and nothing added, where it and a NUL behind it do not fit. */
bool mg_buf_put(struct mg_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for more bytes at the end and returns the place, or NULL over the cap. The caller
 * fills what it needs and calls mg_buf_commit. */
char *mg_buf_reserve(struct mg_buf *buf, size_t more);
void mg_buf_commit(struct mg_buf *buf, size_t more);
void mg_buf_consume(struct mg_buf *buf, size_t bytes);

static inline mg_str mg_buf_view(const struct mg_buf *buf)
{
    return mg_str_make(buf->start > 0 ? buf->data + buf->start : buf->data, buf->len);
}

/* Empties the buffer and keeps its memory. */
static inline void mg_buf_clear(struct mg_buf *buf)
{
    buf->start = buf->len = 0;
}
