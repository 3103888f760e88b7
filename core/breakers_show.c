/* SPDX-License-Identifier: Apache-2.0 */
/* A breaker as text and as JSON. */
#include "breakers_show.h"

#include "model/breaker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* --- text ------------------------------------------------------------------------------------- */

/* "450 ms", "3.2 s", "12 m", "5 h", "2 d" */
static const char *duration_text(int64_t ms, char text[32])
{
    static const struct {
        int64_t below_ms, unit_ms;
        const char *unit;
    } units[] = {{1000, 1, "ms"},
                 {7200000, 60000, "m"},
                 {172800000, 3600000, "h"},
                 {INT64_MAX, 86400000, "d"}};
    if (ms >= 1000 && ms < 120000) {
        snprintf(text, 32, "%.1f s", (double)ms / 1000);
        return text;
    }
    size_t i = 0;
    while (ms >= units[i].below_ms && units[i].below_ms != INT64_MAX) {
        i++;
    }
    snprintf(text, 32, "%" PRId64 " %s", ms / units[i].unit_ms, units[i].unit);
    return text;
}

static void put_left(const struct mg_breaker_view *view, struct mg_buf *out)
{
    char text[32];
    const bool ends = view->state == MG_BREAKER_OPEN || view->state == MG_BREAKER_FORCED_OPEN ||
                      view->state == MG_BREAKER_FORCED_CLOSED;
    if (view->left_ms > 0) {
        mg_buf_put(out, ", %s left", duration_text(view->left_ms, text));
    } else if (ends) {
        mg_buf_put(out, "%s", view->left_ms < 0 ? ", until auto or reset" : ", its time is over");
    }
}

void mg_breakers_show_text(const struct mg_breaker_view *view, int64_t now_ms, struct mg_buf *out)
{
    char text[32];
    mg_buf_put(out, "%s: %s", view->name, mg_breaker_state_name(view->state));
    put_left(view, out);
    if (view->shadow) {
        mg_buf_put(out, ", only watches");
    }
    if (view->window.total > 0) {
        mg_buf_put(out, ", %" PRIu64 " of %" PRIu64 " results failed", view->window.failures,
                   view->window.total);
    }
    if (view->n > 0) {
        mg_buf_put(out, ", opening %u in a row", view->n);
    }
    if (view->keys > 0) {
        mg_buf_put(out, ", %u keys (%u of them not closed)", view->keys,
                   view->keys - view->keys_in[MG_BREAKER_CLOSED]);
    }
    if (view->overflowed > 0) {
        mg_buf_put(out, ", %" PRIu64 " requests with keys that found no place", view->overflowed);
    }
    if (view->probes > 0) {
        mg_buf_put(out, ", %u probes under way", view->probes);
    }
    mg_buf_put(out, "\n");
    if (view->recent_count > 0) {
        const struct mg_breaker_event *last = &view->recent[0];
        const int64_t ago_ms = now_ms > last->time_ms ? now_ms - last->time_ms : 0;
        mg_buf_put(out, "    %s ago: %s -> %s (%s)\n", duration_text(ago_ms, text),
                   mg_breaker_state_name(last->from), mg_breaker_state_name(last->to),
                   mg_breaker_reason_name(last->reason));
    }
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void json_time(struct mg_json_out *json, const char *key, int64_t time_ms)
{
    char text[48], stamp[32];
    const time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, sizeof text, "%s.%03dZ", stamp, (int)(time_ms % 1000));
    mg_json_out_text_field(json, key, mg_str_from(text));
}

static void json_counts(const struct mg_breaker_counts *counts, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("window"));
    mg_json_out_open(json, '{');
    mg_json_out_number_field(json, "total", counts->total);
    mg_json_out_number_field(json, "failures", counts->failures);
    mg_json_out_number_field(json, "network", counts->network);
    mg_json_out_number_field(json, "slow", counts->slow);
    mg_json_out_close(json, '}');
}

static void json_totals(const struct mg_breaker_view *view, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("results"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_COUNTED_KINDS; i++) {
        mg_json_out_number_field(json, mg_breaker_counted_name((enum mg_breaker_counted)i),
                                 view->results[i]);
    }
    mg_json_out_close(json, '}');
    mg_json_out_key(json, MG_STR("rejected"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_BREAKER_STATES; i++) {
        if (view->rejected[i] > 0) {
            mg_json_out_number_field(json, mg_breaker_state_name((enum mg_breaker_state)i),
                                     view->rejected[i]);
        }
    }
    mg_json_out_close(json, '}');
    mg_json_out_number_field(json, "shadow_rejected", view->shadow_rejected);
    mg_json_out_number_field(json, "stale_results", view->stale);
    mg_json_out_number_field(json, "open_ms", view->open_ms);
}

static void json_recent(const struct mg_breaker_view *view, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("transitions"));
    mg_json_out_open(json, '[');
    for (uint32_t i = 0; i < view->recent_count; i++) {
        const struct mg_breaker_event *event = &view->recent[i];
        mg_json_out_open(json, '{');
        json_time(json, "time", event->time_ms);
        mg_json_out_text_field(json, "from", mg_str_from(mg_breaker_state_name(event->from)));
        mg_json_out_text_field(json, "to", mg_str_from(mg_breaker_state_name(event->to)));
        mg_json_out_text_field(json, "reason", mg_str_from(mg_breaker_reason_name(event->reason)));
        mg_json_out_close(json, '}');
    }
    mg_json_out_close(json, ']');
}

void mg_breakers_show_json(const struct mg_breaker_view *view, struct mg_json_out *json)
{
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "name", mg_str_from(view->name));
    mg_json_out_text_field(json, "state", mg_str_from(mg_breaker_state_name(view->state)));
    mg_json_out_key(json, MG_STR("shadow"));
    mg_json_out_bool(json, view->shadow);
    mg_json_out_key(json, MG_STR("left_ms"));
    if (view->left_ms < 0) {
        mg_json_out_null(json);
    } else {
        mg_json_out_number(json, (uint64_t)view->left_ms);
    }
    mg_json_out_number_field(json, "openings_in_a_row", view->n);
    mg_json_out_number_field(json, "epoch", view->epoch);
    mg_json_out_number_field(json, "probes_inflight", view->probes);
    mg_json_out_number_field(json, "keys", view->keys);
    mg_json_out_number_field(json, "keys_not_closed",
                             view->keys - view->keys_in[MG_BREAKER_CLOSED]);
    mg_json_out_number_field(json, "overflowed", view->overflowed);
    json_counts(&view->window, json);
    json_totals(view, json);
    json_recent(view, json);
    mg_json_out_close(json, '}');
}
