/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table says under which name, with which label, each statistic is shown; rows of one name stand
 * together. Statistics called "limit_..." are one metric with the limit as label; one without a row
 * is shown under its own word.
 */
#include "exposition_core.h"

#include "exposition_text.h"
#include "script/program.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

struct row {
    const char *name;          /* without "moongate_" */
    const char *help;          /* NULL: the row belongs to the metric before it */
    const char *label, *value; /* NULL: none */
    enum mg_stat stat;
    enum mg_stat less; /* subtracted; MG_STAT_COUNT = nothing */
};

#define NOTHING MG_STAT_COUNT

/* clang-format off */
static const struct row rows[] = {
    {"connections", "client connections open; idle: between two requests",
     "state", "active", MG_STAT_CONNECTIONS, MG_STAT_CONNECTIONS_IDLE},
    {"connections", NULL, "state", "idle", MG_STAT_CONNECTIONS_IDLE, NOTHING},
    {"connections_accepted_total", "client connections accepted",
     NULL, NULL, MG_STAT_ACCEPTED, NOTHING},
    {"connections_shed_total", "connections refused because there were too many",
     "reason", "connections", MG_STAT_SHED, NOTHING},
    {"connections_accept_errors_total", "accept calls that failed",
     NULL, NULL, MG_STAT_ACCEPT_ERRORS, NOTHING},
    {"http_requests_active", "requests begun and not ended",
     NULL, NULL, MG_STAT_REQUESTS_ACTIVE, NOTHING},
    {"http_requests_received_total", "requests whose head was complete",
     NULL, NULL, MG_STAT_REQUESTS, NOTHING},
    {"http_received_bytes_total", "bytes of requests, of all routes",
     NULL, NULL, MG_STAT_BYTES_IN, NOTHING},
    {"http_sent_bytes_total", "bytes of answers, of all routes",
     NULL, NULL, MG_STAT_BYTES_OUT, NOTHING},
    {"http_untrusted_fields_dropped_total", "forged header fields deleted",
     NULL, NULL, MG_STAT_UNTRUSTED_DROPPED, NOTHING},
    {"tunnels", "upgraded connections open (WebSocket)", NULL, NULL, MG_STAT_TUNNELS, NOTHING},
    {"upstream_connections", "connections to upstreams open; idle: in a pool",
     "state", "active", MG_STAT_UPSTREAM_CONNECTIONS, MG_STAT_UPSTREAM_IDLE},
    {"upstream_connections", NULL, "state", "idle", MG_STAT_UPSTREAM_IDLE, NOTHING},
    {"upstream_connects_total", "connections to upstreams opened",
     "result", "ok", MG_STAT_UPSTREAM_CONNECTS, NOTHING},
    {"upstream_connects_total", NULL, "result", "failed", MG_STAT_UPSTREAM_CONNECT_FAILURES,
     NOTHING},
    {"upstream_connection_reuses_total", "requests sent on a pooled connection",
     NULL, NULL, MG_STAT_UPSTREAM_REUSES, NOTHING},
    {"upstream_requests_pending", "requests that wait for a connection",
     NULL, NULL, MG_STAT_UPSTREAM_PENDING, NOTHING},
    {"upstream_tries_total", "tries to have a request answered; kind: first or retry",
     "kind", "first", MG_STAT_UPSTREAM_TRIES, MG_STAT_UPSTREAM_RETRIES},
    {"upstream_tries_total", NULL, "kind", "retry", MG_STAT_UPSTREAM_RETRIES, NOTHING},
    {"upstream_answers_dropped_total", "answers of upstreams that led to a retry",
     NULL, NULL, MG_STAT_UPSTREAM_ANSWERS_DROPPED, NOTHING},
    {"upstream_failures_total", "tries without a complete answer",
     NULL, NULL, MG_STAT_UPSTREAM_FAILURES, NOTHING},
    {"upstream_received_bytes_total", "bytes read from upstreams",
     NULL, NULL, MG_STAT_UPSTREAM_BYTES_IN, NOTHING},
    {"upstream_sent_bytes_total", "bytes written to upstreams",
     NULL, NULL, MG_STAT_UPSTREAM_BYTES_OUT, NOTHING},
    {"lua_trace_aborts_total", "traces that LuaJIT gave up, with MOONGATE_COUNT_TRACE_ABORTS",
     NULL, NULL, MG_STAT_TRACE_ABORTS, NOTHING},
    {"lua_timers", "timers of plugins pending", NULL, NULL, MG_STAT_TIMERS, NOTHING},
    {"ratelimit_store_fallbacks_total", "decisions made without the store, by what was done",
     "how", "local", MG_STAT_LIMIT_STORE_LOCAL, NOTHING},
    {"ratelimit_store_fallbacks_total", NULL, "how", "allowed", MG_STAT_LIMIT_STORE_ALLOWED,
     NOTHING},
    {"ratelimit_store_fallbacks_total", NULL, "how", "denied", MG_STAT_LIMIT_STORE_DENIED, NOTHING},
    {"ratelimit_repaired_total", "values in Redis that were none",
     NULL, NULL, MG_STAT_LIMIT_REPAIRED, NOTHING},
    {"ratelimit_lost_total", "corrections of counts that came too late or never",
     NULL, NULL, MG_STAT_LIMIT_LOST, NOTHING},
    {"ratelimit_sleepers", "requests that wait for their turn at a limit that delays",
     NULL, NULL, MG_STAT_LIMIT_SLEEPERS, NOTHING},
    {"redis_commands_total", "commands to Redis that are over; failed: no reply, or an error",
     "result", "ok", MG_STAT_REDIS_COMMANDS, MG_STAT_REDIS_FAILURES},
    {"redis_commands_total", NULL, "result", "failed", MG_STAT_REDIS_FAILURES, NOTHING},
    {"redis_connects_total", "connections to Redis begun",
     NULL, NULL, MG_STAT_REDIS_CONNECTS, NOTHING},
    {"redis_connections", "connections to Redis open", NULL, NULL, MG_STAT_REDIS_CONNECTIONS,
     NOTHING},
    {"redis_breaker_opened_total", "times a Redis was given up for a while",
     NULL, NULL, MG_STAT_REDIS_OPENED, NOTHING},
    {"log_lines_filtered_total", "requests without a line, by what left them out",
     "reason", "when", MG_STAT_LOG_FILTERED_WHEN, NOTHING},
    {"log_lines_filtered_total", NULL, "reason", "sample", MG_STAT_LOG_FILTERED_SAMPLE, NOTHING},
    {"log_written_bytes_total", "bytes of access logs written",
     NULL, NULL, MG_STAT_LOG_BYTES, NOTHING},
    {"config_reloads_total", "reloads, by how they ended",
     "result", "success", MG_STAT_RELOADS, NOTHING},
    {"config_reloads_total", NULL, "result", "failure", MG_STAT_RELOADS_FAILED, NOTHING},
    {"config_generations_live", "generations that are current or still have requests, of all"
     " workers", NULL, NULL, MG_STAT_GENERATIONS, NOTHING},
};
/* clang-format on */

#define ROWS (sizeof rows / sizeof rows[0])
#define PREFIX "moongate_"

/* "moongate_" and the name; the longest is far shorter than that. */
static const char *full_name(const char *name, char text[MG_METRIC_NAME])
{
    const size_t length = strlen(name);
    mg_require(length + sizeof PREFIX <= MG_METRIC_NAME);
    memcpy(text, PREFIX, sizeof PREFIX - 1);
    memcpy(text + sizeof PREFIX - 1, name, length + 1);
    return text;
}

static const char *type_of(const char *name)
{
    return mg_str_ends(mg_str_from(name), MG_STR("_total")) ? "counter" : "gauge";
}

static void put_row(const struct row *row, const struct mg_stats *total, struct mg_buf *out)
{
    char name[MG_METRIC_NAME];
    const uint64_t less = row->less < MG_STAT_COUNT ? total->value[row->less] : 0;
    const uint64_t value = total->value[row->stat];
    full_name(row->name, name);
    if (row->help) {
        mg_text_family(out, name, type_of(name), row->help);
    }
    const struct mg_text_label label = {row->label, mg_str_from(row->value)};
    /* both are read while workers count: one may be an event ahead */
    mg_text_sample(out, name, &label, row->label ? 1 : 0,
                   (double)(value > less ? value - less : 0));
}

static void put_limits(const struct mg_stats *total, struct mg_buf *out)
{
    const char *name = PREFIX "limit_reached_total";
    const mg_str prefix = MG_STR("limit_");
    mg_text_family(out, name, "counter", "times a limit or timeout of the gateway cut something");
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        const mg_str word = mg_str_from(mg_stat_word((enum mg_stat)i));
        if (mg_str_starts(word, prefix)) {
            const struct mg_text_label label = {"limit", mg_str_slice(word, prefix.len, word.len)};
            mg_text_sample(out, name, &label, 1, (double)total->value[i]);
        }
    }
}

static void put_rejections(const struct mg_stats *total, struct mg_buf *out)
{
    const char *name = PREFIX "http_parse_rejections_total";
    mg_text_family(out, name, "counter",
                   "messages refused for their form, of clients and upstreams");
    for (unsigned i = 0; i < MG_STATS_REJECTS; i++) {
        const char *code = mg_err_name(MG_ERR_BASE - (int)i);
        char reason[32];
        size_t length = 0;
        for (; code && code[length] && length < sizeof reason; length++) {
            reason[length] = mg_char_lower(code[length]);
        }
        if (code && total->reject[i] > 0) {
            const struct mg_text_label label = {"reason", mg_str_make(reason, length)};
            mg_text_sample(out, name, &label, 1, (double)total->reject[i]);
        }
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static void put_build(struct mg_shm *shm, struct mg_buf *out)
{
    struct mg_shm_room room;
    mg_shm_room(shm, &room);
    const struct mg_text_label labels[] = {{"version", MG_STR(MOONGATE_VERSION)},
                                           {"libuv", mg_str_from(uv_version_string())},
                                           {"luajit", mg_str_from(mg_program_luajit())}};
    mg_text_family(out, PREFIX "build_info", "gauge", "1; what runs here");
    mg_text_sample(out, PREFIX "build_info", labels, sizeof labels / sizeof labels[0], 1);
    mg_text_family(out, PREFIX "workers", "gauge", "worker processes");
    mg_text_sample(out, PREFIX "workers", NULL, 0, room.workers);
    mg_text_family(out, PREFIX "config_generation", "gauge", "number of the current generation");
    mg_text_sample(out, PREFIX "config_generation", NULL, 0,
                   (double)mg_shm_published_generation(shm));
}

bool mg_exposition_is_elsewhere(enum mg_stat which)
{
    switch (which) {
    case MG_STAT_POLICY_LUA_ERRORS: /* script/api_expression.c, by plugin and option */
    case MG_STAT_PLUGIN_RUNS:       /* script/runs.c */
    case MG_STAT_PLUGIN_YIELDS:     /* script/plugin_count.c, by plugin */
    case MG_STAT_PLUGIN_ERRORS:
    case MG_STAT_PLUGIN_LIMITS:
    case MG_STAT_PLUGIN_QUARANTINED:
    case MG_STAT_RESTARTS_CRASH: /* seats.c, by plugin */
    case MG_STAT_RESTARTS_STUCK:
    case MG_STAT_LIMIT_ALLOWED: /* model/meter.c */
    case MG_STAT_LIMIT_DENIED:
    case MG_STAT_LIMIT_SHADOW_DENIED:
    case MG_STAT_LIMIT_OVERFLOW:    /* exposition_limits.c */
    case MG_STAT_LIMIT_KEY_MISSING: /* script/api_limit_count.c */
    case MG_STAT_BREAKER_REJECTED:  /* exposition_records.c, as the next ones */
    case MG_STAT_BREAKER_SHADOW_REJECTED:
    case MG_STAT_BREAKER_TRANSITIONS:
    case MG_STAT_UPSTREAM_EJECTIONS:
    case MG_STAT_LOG_WRITTEN:
    case MG_STAT_LOG_DROPPED:
    case MG_STAT_LOG_WORKER_DIED:
    case MG_STAT_LOG_QUEUED:
        return true;
    default:
        return false;
    }
}

static bool is_shown(enum mg_stat which)
{
    bool shown = mg_exposition_is_elsewhere(which) ||
                 mg_str_starts(mg_str_from(mg_stat_word(which)), MG_STR("limit_"));
    for (size_t i = 0; i < ROWS && !shown; i++) {
        shown = rows[i].stat == which;
    }
    return shown;
}

/* Statistics that have no row, under their own word. */
static void put_others(const struct mg_stats *total, struct mg_buf *out)
{
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        const enum mg_stat which = (enum mg_stat)i;
        if (!is_shown(which)) {
            char name[MG_METRIC_NAME];
            const bool is_gauge = mg_stat_is_gauge(which);
            snprintf(name, sizeof name, PREFIX "%s%s", mg_stat_word(which),
                     is_gauge ? "" : "_total");
            mg_text_family(out, name, is_gauge ? "gauge" : "counter", mg_stat_text(which));
            mg_text_sample(out, name, NULL, 0, (double)total->value[i]);
        }
    }
}

void mg_exposition_core(struct mg_shm *shm, struct mg_buf *out)
{
    struct mg_stats total;
    mg_shm_stats_sum(shm, &total);
    put_build(shm, out);
    for (size_t i = 0; i < ROWS; i++) {
        put_row(&rows[i], &total, out);
    }
    put_others(&total, out);
    put_limits(&total, out);
    put_rejections(&total, out);
}
