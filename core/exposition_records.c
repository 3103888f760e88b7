/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One function for each metric, since all series of one stand together in the text. Two records may
 * have one name (a name was cut, or an edit of an address made another record): they are added up,
 * for a scrape that has one series twice is refused as a whole.
 */
#include "exposition_records.h"

#include "base/shm.h"
#include "base/shm_sinks.h"
#include "base/shm_upstreams.h"
#include "base/shm_words.h"
#include "exposition_limits.h"
#include "exposition_scrape.h"
#include "exposition_text.h"
#include "model/breaker.h"
#include "model/breaker_view.h"
#include "model/health.h"
#include "model/retry.h"

#include <stdio.h>
#include <string.h>

/* --- breakers --------------------------------------------------------------------------------- */

/* Calls fn for each breaker. A name as long as its place was cut, and ends in the number of its
 * record. */
static void each_breaker(const struct mg_scrape *scrape,
                         void (*fn)(const struct mg_scrape *, const struct mg_breaker_view *))
{
    struct mg_shm_room room;
    struct mg_breaker_view view;
    mg_shm_room(scrape->shm, &room);
    for (uint32_t i = 0; i < room.breakers; i++) {
        if (!mg_breaker_view(scrape->shm, i, scrape->now_ms, &view)) {
            continue;
        }
        const size_t most = sizeof view.name - 1;
        if (strlen(view.name) == most) {
            snprintf(view.name + most - 6, 7, "#%u", i % 100000);
        }
        fn(scrape, &view);
    }
}

static void put_state(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    for (unsigned state = 0; state < MG_BREAKER_STATES; state++) {
        const struct mg_text_label labels[] = {
            {"breaker", mg_str_from(view->name)},
            {"state", mg_str_from(mg_breaker_state_name((enum mg_breaker_state)state))}};
        mg_scrape_put(scrape, labels, 2, view->state == (enum mg_breaker_state)state);
    }
}

static void breaker_state(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_state);
}

static void put_results(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    for (unsigned kind = 0; kind < MG_COUNTED_KINDS; kind++) {
        const struct mg_text_label labels[] = {
            {"breaker", mg_str_from(view->name)},
            {"result", mg_str_from(mg_breaker_counted_name((enum mg_breaker_counted)kind))}};
        mg_scrape_put(scrape, labels, 2, view->results[kind]);
    }
}

static void breaker_results(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_results);
}

static void put_transitions(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    for (unsigned i = 0; i < MG_BREAKER_EDGES; i++) {
        if (view->transitions[i] > 0) {
            const struct mg_text_label labels[] = {
                {"breaker", mg_str_from(view->name)},
                {"to", mg_str_from(mg_breaker_state_name(mg_breaker_edges[i].to))},
                {"reason", mg_str_from(mg_breaker_reason_name(mg_breaker_edges[i].reason))}};
            mg_scrape_put(scrape, labels, 3, view->transitions[i]);
        }
    }
}

static void breaker_transitions(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_transitions);
}

static void put_rejected(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    for (unsigned state = 0; state < MG_BREAKER_STATES; state++) {
        if (view->rejected[state] > 0 || state == MG_BREAKER_OPEN) {
            const struct mg_text_label labels[] = {
                {"breaker", mg_str_from(view->name)},
                {"state", mg_str_from(mg_breaker_state_name((enum mg_breaker_state)state))}};
            mg_scrape_put(scrape, labels, 2, view->rejected[state]);
        }
    }
}

static void breaker_rejected(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_rejected);
}

static void put_shadow_rejected(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    const struct mg_text_label label = {"breaker", mg_str_from(view->name)};
    mg_scrape_put(scrape, &label, 1, view->shadow_rejected);
}

static void breaker_shadow_rejected(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_shadow_rejected);
}

static void put_probes(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    const struct mg_text_label label = {"breaker", mg_str_from(view->name)};
    mg_scrape_put(scrape, &label, 1, view->probes);
}

static void breaker_probes(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_probes);
}

static void put_open_seconds(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    const struct mg_text_label label = {"breaker", mg_str_from(view->name)};
    mg_text_sample(scrape->out, scrape->name, &label, 1, (double)view->open_ms / 1000);
}

static void breaker_open_seconds(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_open_seconds);
}

static void put_stale(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    const struct mg_text_label label = {"breaker", mg_str_from(view->name)};
    mg_scrape_put(scrape, &label, 1, view->stale);
}

static void breaker_stale(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_stale);
}

static void put_overflowed(const struct mg_scrape *scrape, const struct mg_breaker_view *view)
{
    const struct mg_text_label label = {"breaker", mg_str_from(view->name)};
    mg_scrape_put(scrape, &label, 1, view->overflowed);
}

static void breaker_overflowed(const struct mg_scrape *scrape)
{
    each_breaker(scrape, put_overflowed);
}

/* --- upstreams -------------------------------------------------------------------------------- */

/* Calls fn for each upstream's record. A name as long as its place was cut: left out where another
 * has it. */
static void each_upstream(const struct mg_scrape *scrape,
                          void (*fn)(const struct mg_scrape *, const struct mg_upstream_record *))
{
    const uint32_t places = mg_upstream_records(scrape->shm);
    for (uint32_t i = 0; i < places; i++) {
        const struct mg_upstream_record *record = mg_upstream_record(scrape->shm, i);
        bool is_first = record != NULL;
        const bool is_cut = record && strlen(record->head.name) == MG_UPSTREAM_NAME - 1;
        for (uint32_t n = 0; is_cut && is_first && n < i; n++) {
            const struct mg_upstream_record *other = mg_upstream_record(scrape->shm, n);
            is_first = !other || strcmp(other->head.name, record->head.name) != 0;
        }
        if (is_first) {
            fn(scrape, record);
        }
    }
}

static void put_retries(const struct mg_scrape *scrape, const struct mg_upstream_record *record)
{
    for (unsigned k = 0; k < MG_RETRY_RESULTS; k++) {
        const struct mg_text_label labels[] = {
            {"upstream", mg_str_from(record->head.name)},
            {"result", mg_str_from(mg_retry_result_name((enum mg_retry_result)k))}};
        mg_scrape_put(scrape, labels, 2, mg_word_load(&record->retries[k]));
    }
}

static void upstream_retries(const struct mg_scrape *scrape)
{
    each_upstream(scrape, put_retries);
}

static void put_full(const struct mg_scrape *scrape, const struct mg_upstream_record *record)
{
    for (unsigned k = 0; k < MG_FULL_LIMITS; k++) {
        const struct mg_text_label labels[] = {
            {"upstream", mg_str_from(record->head.name)},
            {"limit", mg_str_from(mg_full_limit_name((enum mg_full_limit)k))}};
        mg_scrape_put(scrape, labels, 2, mg_word_load(&record->full[k]));
    }
}

static void upstream_full(const struct mg_scrape *scrape)
{
    each_upstream(scrape, put_full);
}

static void put_ejections(const struct mg_scrape *scrape, const struct mg_upstream_record *record)
{
    for (unsigned k = 0; k < MG_EJECT_REASONS; k++) {
        const uint64_t count = mg_word_load(&record->ejections[k]);
        if (count > 0) {
            const struct mg_text_label labels[] = {
                {"upstream", mg_str_from(record->head.name)},
                {"reason", mg_str_from(mg_eject_reason_name((enum mg_eject_reason)k))}};
            mg_scrape_put(scrape, labels, 2, count);
        }
    }
}

static void upstream_ejections(const struct mg_scrape *scrape)
{
    each_upstream(scrape, put_ejections);
}

/* Of the targets that the current generation has. */
static void target_healthy(const struct mg_scrape *scrape)
{
    const uint32_t places = mg_upstream_records(scrape->shm);
    const uint64_t generation = mg_shm_published_generation(scrape->shm);
    for (uint32_t i = 0; i < places; i++) {
        const struct mg_target_record *target = mg_target_record(scrape->shm, i);
        const struct mg_upstream_record *upstream =
            target ? mg_upstream_record(scrape->shm, target->upstream) : NULL;
        const bool is_cut =
            target && (strlen(target->head.name) == MG_UPSTREAM_NAME - 1 ||
                       (upstream && strlen(upstream->head.name) == MG_UPSTREAM_NAME - 1));
        if (upstream && !is_cut && target->head.generation >= generation) {
            uint64_t left_ms;
            const enum mg_health_state state =
                mg_health_state(target, scrape->monotonic_ms, &left_ms);
            const struct mg_text_label labels[] = {{"upstream", mg_str_from(upstream->head.name)},
                                                   {"target", mg_str_from(target->head.name)}};
            mg_scrape_put(scrape, labels, 2, state == MG_HEALTH_HEALTHY || state == MG_HEALTH_RAMP);
        }
    }
}

/* Records of upstreams are on the monotonic clock. */
static void put_budget(const struct mg_scrape *scrape, const struct mg_upstream_record *record)
{
    const struct mg_text_label label = {"upstream", mg_str_from(record->head.name)};
    const int64_t monotonic_ms = scrape->now_ms - mg_shm_now_ms(scrape->shm, 0);
    mg_text_sample(scrape->out, scrape->name, &label, 1,
                   (double)mg_retry_left(record, (uint64_t)monotonic_ms) / 1000);
}

static void upstream_budget(const struct mg_scrape *scrape)
{
    each_upstream(scrape, put_budget);
}

/* --- log sinks -------------------------------------------------------------------------------- */

static void sink_values(const struct mg_scrape *scrape,
                        uint64_t (*value)(const struct mg_sink_totals *))
{
    struct mg_sink_totals totals;
    for (uint32_t i = 0; i < MG_SINK_RECORDS; i++) {
        if (mg_sink_totals(scrape->shm, i, &totals)) {
            const struct mg_text_label label = {"sink", mg_str_from(totals.name)};
            mg_scrape_put(scrape, &label, 1, value(&totals));
        }
    }
}

static uint64_t written(const struct mg_sink_totals *totals)
{
    return totals->written;
}

static uint64_t queue_bytes(const struct mg_sink_totals *totals)
{
    return totals->queue_bytes;
}

static uint64_t queued(const struct mg_sink_totals *totals)
{
    return totals->queued;
}

static uint64_t is_up(const struct mg_sink_totals *totals)
{
    return totals->is_up;
}

static void log_lines(const struct mg_scrape *scrape)
{
    sink_values(scrape, written);
}

static void log_queue_bytes(const struct mg_scrape *scrape)
{
    sink_values(scrape, queue_bytes);
}

static void log_queue_entries(const struct mg_scrape *scrape)
{
    sink_values(scrape, queued);
}

static void log_sink_up(const struct mg_scrape *scrape)
{
    sink_values(scrape, is_up);
}

static void log_dropped(const struct mg_scrape *scrape)
{
    struct mg_sink_totals totals;
    for (uint32_t i = 0; i < MG_SINK_RECORDS; i++) {
        for (unsigned k = 0; k < MG_SINK_REASONS && mg_sink_totals(scrape->shm, i, &totals); k++) {
            const struct mg_text_label labels[] = {
                {"sink", mg_str_from(totals.name)},
                {"reason", mg_str_from(mg_sink_reason_word((enum mg_sink_reason)k))}};
            mg_scrape_put(scrape, labels, 2, totals.dropped[k]);
        }
    }
}

static void put_flushes(const struct mg_scrape *scrape, const struct mg_sink_totals *totals)
{
    char name[MG_METRIC_NAME], bound[32];
    uint64_t count = 0;
    struct mg_text_label labels[] = {{"sink", mg_str_from(totals->name)}, {"le", MG_STR("+Inf")}};
    snprintf(name, sizeof name, "%s_bucket", scrape->name);
    for (unsigned k = 0; k < MG_SINK_BUCKETS; k++) {
        count += totals->flush_buckets[k];
        if (k < MG_SINK_BUCKETS - 1) {
            snprintf(bound, sizeof bound, "%.15g", mg_sink_bounds_us[k] / 1e6);
        }
        labels[1].value = k < MG_SINK_BUCKETS - 1 ? mg_str_from(bound) : MG_STR("+Inf");
        mg_text_sample(scrape->out, name, labels, 2, (double)count);
    }
    snprintf(name, sizeof name, "%s_sum", scrape->name);
    mg_text_sample(scrape->out, name, labels, 1, (double)totals->flush_us / 1e6);
    snprintf(name, sizeof name, "%s_count", scrape->name);
    mg_text_sample(scrape->out, name, labels, 1, (double)count);
}

static void log_flushes(const struct mg_scrape *scrape)
{
    struct mg_sink_totals totals;
    for (uint32_t i = 0; i < MG_SINK_RECORDS; i++) {
        if (mg_sink_totals(scrape->shm, i, &totals)) {
            put_flushes(scrape, &totals);
        }
    }
}

/* --- all of them ------------------------------------------------------------------------------ */

static const struct mg_scraped metrics[] = {
    {"moongate_breaker_state", "gauge", "1 for the state that the breaker is in", breaker_state},
    {"moongate_breaker_transitions_total", "counter", "changes of its state", breaker_transitions},
    {"moongate_breaker_results_total", "counter", "results of requests", breaker_results},
    {"moongate_breaker_rejected_total", "counter", "requests rejected", breaker_rejected},
    {"moongate_breaker_shadow_rejected_total", "counter",
     "requests that shadow would have rejected", breaker_shadow_rejected},
    {"moongate_breaker_probes_inflight", "gauge", "probes under way", breaker_probes},
    {"moongate_breaker_open_seconds_total", "counter", "time it was open", breaker_open_seconds},
    {"moongate_breaker_stale_results_total", "counter",
     "results of requests that were admitted in a former state", breaker_stale},
    {"moongate_breaker_overflow_total", "counter",
     "requests whose key found no place: they share one breaker", breaker_overflowed},
    {"moongate_upstream_retries_total", "counter",
     "further tries, and budget: those that were due and had no token", upstream_retries},
    {"moongate_upstream_retry_budget", "gauge", "retries that may be made at this moment",
     upstream_budget},
    {"moongate_upstream_full_total", "counter", "requests refused because a limit was reached",
     upstream_full},
    {"moongate_upstream_ejections_total", "counter", "times a target was taken out",
     upstream_ejections},
    {"moongate_upstream_target_healthy", "gauge", "1: it is used, with its full share or a part",
     target_healthy},
    {"moongate_log_lines_total", "counter", "lines written", log_lines},
    {"moongate_log_lines_dropped_total", "counter", "lines lost", log_dropped},
    {"moongate_log_queue_bytes", "gauge", "bytes of lines not written yet", log_queue_bytes},
    {"moongate_log_queue_entries", "gauge", "lines not written yet", log_queue_entries},
    {"moongate_log_sink_up", "gauge", "1: open, and no worker finds it failing", log_sink_up},
    {"moongate_log_flush_duration_seconds", "histogram", "time of writes that ended well",
     log_flushes},
};

bool mg_exposition_record(struct mg_shm *shm, uint64_t now_ms, unsigned which, struct mg_buf *out)
{
    const unsigned count = sizeof metrics / sizeof metrics[0];
    if (which >= count) {
        return mg_exposition_limit(shm, now_ms, which - count, out);
    }
    mg_scrape_one(&metrics[which], shm, now_ms, out);
    return true;
}
