/* SPDX-License-Identifier: Apache-2.0 */
/* Growing buffer with a cap: doubles from 256 bytes, slides content to the front before growing. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void mg_buf_init(struct mg_buf *buf, size_t max_bytes)
{
    *buf = (struct mg_buf){.max_bytes = max_bytes};
}

void mg_buf_deinit(struct mg_buf *buf)
{
    free(buf->data);
    mg_buf_init(buf, buf->max_bytes);
}

static void grow(struct mg_buf *buf, size_t needed)
{
    size_t size = buf->size ? buf->size : 256;
    while (size < needed) {
        size *= 2; /* needed <= max_bytes, which our configuration bounds */
    }
    char *data = malloc(size);
    mg_require(data != NULL);
    if (buf->len > 0) {
        memcpy(data, buf->data + buf->start, buf->len);
    }
    free(buf->data);
    buf->data = data;
    buf->size = size;
    buf->start = 0;
}

char *mg_buf_reserve(struct mg_buf *buf, size_t more)
{
    if (more > buf->max_bytes || buf->len > buf->max_bytes - more) {
        return NULL;
    }
    if (buf->size - buf->start - buf->len < more || !buf->data) {
        if (buf->size - buf->len >= more && buf->data) {
            memmove(buf->data, buf->data + buf->start, buf->len);
            buf->start = 0;
        } else {
            grow(buf, buf->len + more);
        }
    }
    return buf->data + buf->start + buf->len;
}

void mg_buf_commit(struct mg_buf *buf, size_t more)
{
    mg_require(more <= buf->size - buf->start - buf->len);
    buf->len += more;
}

int mg_buf_append(struct mg_buf *buf, mg_str bytes)
{
    if (bytes.len == 0) {
        return 0;
    }
    char *place = mg_buf_reserve(buf, bytes.len);
    if (!place) {
        return MG_ENO_MEMORY;
    }
    memcpy(place, bytes.ptr, bytes.len);
    buf->len += bytes.len;
    return 0;
}

bool mg_buf_put(struct mg_buf *buf, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *place = length < 0 ? NULL : mg_buf_reserve(buf, (size_t)length + 1);
    if (place) {
        vsnprintf(place, (size_t)length + 1, format, again);
        mg_buf_commit(buf, (size_t)length);
    }
    va_end(again);
    return place != NULL;
}

void mg_buf_consume(struct mg_buf *buf, size_t bytes)
{
    mg_require(bytes <= buf->len);
    buf->start += bytes;
    buf->len -= bytes;
    if (buf->len == 0) {
        buf->start = 0;
    }
}
