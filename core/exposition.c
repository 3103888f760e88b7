/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of the text: statistics (exposition_core.c), what stands in records
 * (exposition_records.c), then the metrics of the registry one after the other, then which of them
 * have overflowed.
 */
#include "exposition.h"

#include "base/shm_metrics.h"
#include "exposition_core.h"
#include "exposition_records.h"
#include "exposition_text.h"

#include <stdio.h>
#include <stdlib.h>

#define PIECE_SERIES 256 /* series written in one piece, of histograms an eighth */
#define HISTOGRAM_COST 8

struct mg_exposition {
    struct mg_shm *shm;
    uint64_t now_ms;
    bool core_done;
    unsigned records;         /* metrics of records that are out */
    uint32_t metrics, metric; /* how many, and the one being written */
    uint32_t *order;          /* indexes of series, by metric */
    uint32_t *start;          /* of each metric in order, and the end */
    uint32_t at;              /* in order: the next one */
    bool in_metric;           /* its HELP is out */
    bool done;
};

/* Sorts the series by metric, by counting. */
static void sort_series(struct mg_exposition *e, uint32_t count)
{
    uint32_t metric, word;
    mg_str values[MG_METRIC_LABELS];
    for (uint32_t i = 0; i < count; i++) {
        mg_series_read(e->shm, i, &metric, &word, values);
        e->start[metric + 1 < e->metrics ? metric + 1 : e->metrics]++;
    }
    for (uint32_t i = 0; i < e->metrics; i++) {
        e->start[i + 1] += e->start[i];
    }
    uint32_t *next = calloc(e->metrics + 1, sizeof *next);
    mg_require(next != NULL);
    for (uint32_t i = 0; i < count; i++) {
        mg_series_read(e->shm, i, &metric, &word, values);
        if (metric < e->metrics) {
            e->order[e->start[metric] + next[metric]++] = i;
        }
    }
    free(next);
}

struct mg_exposition *mg_exposition_new(struct mg_shm *shm, uint64_t now_ms)
{
    struct mg_exposition *e = calloc(1, sizeof *e);
    mg_require(e != NULL);
    *e = (struct mg_exposition){.shm = shm, .now_ms = now_ms};
    const uint32_t count = mg_series_count(shm); /* first: their metrics are there by then */
    e->metrics = mg_metric_count(shm);
    e->order = calloc(count + 1, sizeof *e->order);
    e->start = calloc(e->metrics + 2, sizeof *e->start);
    mg_require(e->order != NULL && e->start != NULL);
    sort_series(e, count);
    return e;
}

void mg_exposition_free(struct mg_exposition *e)
{
    if (e) {
        free(e->order);
        free(e->start);
        free(e);
    }
}

static void write_histogram(struct mg_exposition *e, uint32_t word, struct mg_text_label *labels,
                            uint32_t count, struct mg_buf *out)
{
    const struct mg_metric_record *metric = mg_metric_record(e->shm, e->metric);
    const double scale = metric->unit == MG_UNIT_MICROSECONDS ? 1e6 : 1;
    char name[MG_METRIC_NAME + 16], bound[32];
    double total = 0;
    snprintf(name, sizeof name, "%s_bucket", metric->name);
    for (uint32_t i = 0; i <= metric->bound_count; i++) {
        total += mg_metric_sum(e->shm, e->metric, word + i, true);
        snprintf(bound, sizeof bound, "%.15g",
                 i < metric->bound_count ? metric->bounds[i] / scale : 0);
        const bool last = i == metric->bound_count;
        labels[count] = (struct mg_text_label){"le", last ? MG_STR("+Inf") : mg_str_from(bound)};
        mg_text_sample(out, name, labels, count + 1, total);
    }
    snprintf(name, sizeof name, "%s_sum", metric->name);
    mg_text_sample(out, name, labels, count,
                   mg_metric_sum(e->shm, e->metric, word + metric->bound_count + 1, false));
    snprintf(name, sizeof name, "%s_count", metric->name);
    mg_text_sample(out, name, labels, count, total);
}

static void write_series(struct mg_exposition *e, uint32_t word, const mg_str *values,
                         struct mg_buf *out)
{
    const struct mg_metric_record *metric = mg_metric_record(e->shm, e->metric);
    struct mg_text_label labels[MG_METRIC_LABELS + 1];
    for (uint32_t i = 0; i < metric->label_count; i++) {
        labels[i] = (struct mg_text_label){metric->labels[i], values[i]};
    }
    if (metric->type == MG_METRIC_HISTOGRAM) {
        write_histogram(e, word, labels, metric->label_count, out);
    } else {
        mg_text_sample(out, metric->name, labels, metric->label_count,
                       mg_metric_sum(e->shm, e->metric, word, false));
    }
}

static void begin_metric(struct mg_exposition *e, struct mg_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct mg_metric_record *metric = mg_metric_record(e->shm, e->metric);
    mg_text_family(out, metric->name, types[metric->type], metric->help);
    e->in_metric = true;
    e->at = e->start[e->metric];
    if (metric->overflowed > 0) {
        mg_str values[MG_METRIC_LABELS];
        for (uint32_t i = 0; i < metric->label_count; i++) {
            values[i] = MG_STR("__overflow__");
        }
        write_series(e, metric->overflow, values, out);
    }
}

static void write_overflows(struct mg_exposition *e, struct mg_buf *out)
{
    const char *name = "moongate_metric_series_overflow_total";
    mg_text_family(out, name, "counter", "lookups that ended in the series __overflow__");
    for (uint32_t i = 0; i < e->metrics; i++) {
        const struct mg_metric_record *metric = mg_metric_record(e->shm, i);
        if (!metric->hidden && metric->overflowed > 0) {
            const struct mg_text_label label = {"metric", mg_str_from(metric->name)};
            mg_text_sample(out, name, &label, 1, (double)metric->overflowed);
        }
    }
}

static void write_piece(struct mg_exposition *e, struct mg_buf *out)
{
    for (uint32_t cost = 0; cost < PIECE_SERIES && e->metric < e->metrics;) {
        const struct mg_metric_record *metric = mg_metric_record(e->shm, e->metric);
        if (!e->in_metric && !metric->hidden) {
            begin_metric(e, out);
        }
        if (metric->hidden || e->at == e->start[e->metric + 1]) {
            e->metric++;
            e->in_metric = false;
            continue;
        }
        uint32_t of, word;
        mg_str values[MG_METRIC_LABELS];
        mg_series_read(e->shm, e->order[e->at++], &of, &word, values);
        write_series(e, word, values, out);
        cost += metric->type == MG_METRIC_HISTOGRAM ? HISTOGRAM_COST : 1;
    }
}

bool mg_exposition_next(struct mg_exposition *e, struct mg_buf *out)
{
    if (!e->core_done) {
        mg_exposition_core(e->shm, out);
        e->core_done = true;
    } else if (mg_exposition_record(e->shm, e->now_ms, e->records, out)) {
        e->records++;
    } else if (e->metric < e->metrics) {
        write_piece(e, out);
    } else if (!e->done) {
        write_overflows(e, out);
        e->done = true;
    } else {
        return false;
    }
    return true;
}
