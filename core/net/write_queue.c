/* SPDX-License-Identifier: Apache-2.0 */
#include "net/write_queue.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

struct mg_write_queue *mg_write_queue_new(void)
{
    struct mg_write_queue *queue = calloc(1, sizeof *queue);
    mg_require(queue != NULL);
    mg_deadline_init(&queue->again);
    return queue;
}

void mg_write_queue_free(struct mg_write_queue *queue)
{
    if (queue) {
        mg_deadline_cancel(&queue->again);
        free(queue->bytes);
        free(queue);
    }
}

/* Makes room for so many bytes at the end. */
static void reserve(struct mg_write_queue *queue, size_t bytes)
{
    const size_t used = mg_write_queue_bytes(queue);
    if (queue->size - queue->end >= bytes) {
        return;
    }
    if (queue->begin > 0) {
        memmove(queue->bytes, queue->bytes + queue->begin, used);
        queue->begin = 0;
        queue->end = used;
    }
    if (queue->size - used < bytes) {
        const size_t doubled = queue->size * 2, needed = used + bytes;
        queue->size = doubled > needed ? doubled : needed;
        queue->bytes = realloc(queue->bytes, queue->size);
        mg_require(queue->bytes != NULL);
    }
}

static void put_part(struct mg_write_queue *queue, mg_str part)
{
    if (part.len > 0) {
        memcpy(queue->bytes + queue->end, part.ptr, part.len);
        queue->end += part.len;
    }
}

void mg_write_queue_put(struct mg_write_queue *queue, const mg_str *parts, size_t count,
                        size_t skip)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += parts[i].len;
    }
    reserve(queue, total - skip);
    for (size_t i = 0; i < count; i++) {
        const size_t skipped = skip < parts[i].len ? skip : parts[i].len;
        skip -= skipped;
        put_part(queue, mg_str_slice(parts[i], skipped, parts[i].len));
    }
}
