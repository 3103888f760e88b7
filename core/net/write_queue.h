/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel did not take of a stream's writes: one buffer, written on from its begin when
 * there is room. For net/io.c.
 */
#pragma once

#include "base/deadline.h"
#include "base/str.h"

struct mg_write_queue {
    char *bytes;
    size_t begin, end, size;  /* begin..end waits */
    struct mg_deadline again; /* the owner's: a try that no event will tell of */
    void *owner;
};

struct mg_write_queue *mg_write_queue_new(void);
void mg_write_queue_free(struct mg_write_queue *queue); /* NULL too; `again` will not fire */
/* Copies the parts, without the first skip bytes of them all. */
void mg_write_queue_put(struct mg_write_queue *queue, const mg_str *parts, size_t count,
                        size_t skip);

static inline size_t mg_write_queue_bytes(const struct mg_write_queue *queue)
{
    return queue->end - queue->begin;
}
