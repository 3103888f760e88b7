/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One scrape of one metric that lies in records of the shared memory: a table of these is all that
 * exposition_records.c and exposition_limits.c are.
 *
 *     static const struct mg_scraped metrics[] = {{"moongate_x", "gauge", "what it is", write_x}};
 *     mg_scrape_one(&metrics[0], shm, now_ms, out);
 */
#pragma once

#include "base/buf.h"
#include "base/shm.h"
#include "exposition_text.h"

struct mg_scrape {
    struct mg_shm *shm;
    int64_t now_ms; /* wall */
    uint64_t monotonic_ms;
    const char *name; /* of the metric */
    struct mg_buf *out;
};

struct mg_scraped {
    const char *name, *type, *help;
    void (*write)(const struct mg_scrape *scrape);
};

static inline void mg_scrape_put(const struct mg_scrape *scrape, const struct mg_text_label *labels,
                                 uint32_t count, uint64_t value)
{
    mg_text_sample(scrape->out, scrape->name, labels, count, (double)value);
}

/* now_ms: monotonic. */
static inline void mg_scrape_one(const struct mg_scraped *metric, struct mg_shm *shm,
                                 uint64_t now_ms, struct mg_buf *out)
{
    const struct mg_scrape scrape = {.shm = shm,
                                     .now_ms = mg_shm_now_ms(shm, now_ms),
                                     .monotonic_ms = now_ms,
                                     .name = metric->name,
                                     .out = out};
    mg_text_family(out, metric->name, metric->type, metric->help);
    metric->write(&scrape);
}
