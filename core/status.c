/* SPDX-License-Identifier: Apache-2.0 */
/* Status as text and as JSON. */
#include "status.h"

#include "base/shm_words.h"
#include "json_out.h"
#include "model/outcome.h"
#include "net/redis_breaker.h"
#include "status_upstreams.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define DIGEST_SHOWN 12

static const char *stage_word(enum mg_master_stage stage)
{
    switch (stage) {
    case MG_STAGE_CHECK:
    case MG_STAGE_START:
        return "starting";
    case MG_STAGE_SERVE:
        return "serving";
    default:
        return "draining";
    }
}

static const char *seat_word(const struct mg_seat *seat)
{
    static const char *const words[] = {"dead", "starting", "serving"};
    return words[seat->state];
}

static uint64_t since(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

/* "2026-11-24T03:40:00Z" */
static const char *wall_text(int64_t wall_ms, char text[32])
{
    const time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

/* "head_too_large", or NULL: a client's messages are refused for codes 20 to 39 of base/err.h. */
static const char *refusal_word(unsigned number, char word[32])
{
    const char *name = number >= 20 && number < 40 ? mg_err_name(MG_ERR_BASE - (int)number) : NULL;
    size_t i = 0;
    for (; name && name[i] && i < 31; i++) {
        word[i] = mg_char_lower(name[i]);
    }
    word[i] = '\0';
    return name ? word : NULL;
}

/* --- text -------------------------------------------------------------------------------- */

/* "3d 4h", "2m 5s" */
static const char *duration_text(uint64_t ms, char text[32])
{
    const uint64_t s = ms / 1000;
    if (s >= 86400) {
        snprintf(text, 32, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s % 86400 / 3600);
    } else if (s >= 3600) {
        snprintf(text, 32, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s % 3600 / 60);
    } else {
        snprintf(text, 32, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
    }
    return text;
}

static void put_workers(struct mg_master *master, struct mg_buf *out)
{
    mg_buf_put(
        out,
        "workers    number      pid  state     generation  connections    requests  restarts\n");
    for (uint32_t i = 0; i < master->seats.count; i++) {
        const struct mg_seat *seat = &master->seats.items[i];
        const struct mg_stats *stats = mg_shm_stats(master->shm, i);
        mg_buf_put(out, "           %6u %8d  %-8s %11" PRIu64 " %12" PRIu64 " %11" PRIu64 " %9u\n",
                   i, seat->state == MG_SEAT_EMPTY ? 0 : (int)seat->pid, seat_word(seat),
                   seat->generation, stats->value[MG_STAT_CONNECTIONS],
                   stats->value[MG_STAT_REQUESTS], seat->restarts);
    }
}

static void put_counters(const struct mg_stats *total, struct mg_buf *out)
{
    const char *label = "counters";
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        if (total->value[i] > 0) {
            mg_buf_put(out, "%-10s %12" PRIu64 "  %s\n", label, total->value[i],
                       mg_stat_text((enum mg_stat)i));
            label = "";
        }
    }
    label = "outcomes";
    for (unsigned i = 0; i < MG_OUTCOME_COUNT && i < MG_STATS_OUTCOMES; i++) {
        if (total->outcome[i] > 0) {
            mg_buf_put(out, "%-10s %12" PRIu64 "  %s\n", label, total->outcome[i],
                       mg_outcome_word((enum mg_outcome)i));
            label = "";
        }
    }
    label = "refused";
    for (unsigned i = 0; i < MG_STATS_REJECTS; i++) {
        if (total->reject[i] > 0) {
            mg_buf_put(out, "%-10s %12" PRIu64 "  %s\n", label, total->reject[i],
                       mg_err_text(MG_ERR_BASE - (int)i));
            label = "";
        }
    }
}

/* "redis      main: closed, ok 12, timeout 3" */
static void put_stores(struct mg_master *master, struct mg_buf *out)
{
    for (uint32_t i = 0; i < MG_STORES; i++) {
        const struct mg_store_record *store = mg_store_record(master->shm, i);
        if (!store) {
            continue;
        }
        mg_buf_put(out, "%-10s %.*s: %s", "redis", MG_STORE_NAME, store->name,
                   mg_redis_breaker_state(store));
        for (unsigned k = 0; k < MG_REDIS_RESULT_COUNT; k++) {
            if (store->results[k] > 0) {
                mg_buf_put(out, ", %s %" PRIu64, mg_redis_result_word((enum mg_redis_result)k),
                           store->results[k]);
            }
        }
        mg_buf_put(out, "\n");
    }
}

static void put_reload(const struct mg_reload *reload, struct mg_buf *out)
{
    char when[32];
    if (reload->last_wall_ms == 0) {
        mg_buf_put(out, "reload     none yet\n");
        return;
    }
    mg_buf_put(out, "reload     %s, %s\n", wall_text(reload->last_wall_ms, when),
               reload->last_failed ? "refused:" : "done");
    if (reload->last_failed) {
        (void)!mg_buf_append(out, mg_buf_view(&reload->last_error));
    }
}

void mg_status_text(struct mg_master *master, uint64_t now_ms, struct mg_buf *out)
{
    char text[4096];
    char up[32];
    struct mg_stats total = {.value = {0}};
    mg_buf_put(out, "moongate   %s, pid %d, %s, up %s\n", MOONGATE_VERSION, (int)getpid(),
               stage_word(master->stage), duration_text(since(master->started_ms, now_ms), up));
    if (!master->has_bundle) {
        return;
    }
    mg_listeners_describe(&master->listeners, text, sizeof text);
    mg_buf_put(out, "config     %s, generation %" PRIu64 ", digest %.*s\n", master->config_path,
               master->generation, DIGEST_SHOWN, mg_master_plan(master)->digest);
    mg_buf_put(out, "listening  %s\n", text);
    put_workers(master, out);
    mg_shm_stats_sum(master->shm, &total);
    put_counters(&total, out);
    mg_status_upstreams_text(master, now_ms, out);
    put_stores(master, out);
    put_reload(&master->reload, out);
}

/* --- JSON -------------------------------------------------------------------------------- */

static void json_listeners(const struct mg_master *master, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("listeners"));
    mg_json_out_open(json, '[');
    for (uint32_t i = 0; i < master->listeners.count; i++) {
        char text[256];
        mg_listeners_describe_one(&master->listeners, i, text, sizeof text);
        mg_json_out_text(json, mg_str_from(text));
    }
    mg_json_out_close(json, ']');
}

static void json_workers(struct mg_master *master, uint64_t now_ms, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("workers"));
    mg_json_out_open(json, '[');
    for (uint32_t i = 0; i < master->seats.count; i++) {
        const struct mg_seat *seat = &master->seats.items[i];
        const struct mg_stats *stats = mg_shm_stats(master->shm, i);
        const bool lives = seat->state != MG_SEAT_EMPTY;
        mg_json_out_open(json, '{');
        mg_json_out_number_field(json, "index", i);
        mg_json_out_number_field(json, "pid", lives ? (uint64_t)seat->pid : 0);
        mg_json_out_text_field(json, "state", mg_str_from(seat_word(seat)));
        mg_json_out_number_field(json, "generation", seat->generation);
        mg_json_out_number_field(json, "connections", stats->value[MG_STAT_CONNECTIONS]);
        mg_json_out_number_field(json, "requests", stats->value[MG_STAT_REQUESTS]);
        mg_json_out_number_field(json, "restarts", seat->restarts);
        mg_json_out_number_field(json, "uptime_ms", lives ? since(seat->started_ms, now_ms) : 0);
        mg_json_out_close(json, '}');
    }
    mg_json_out_close(json, ']');
}

static void json_counters(const struct mg_stats *total, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("counters"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        mg_json_out_number_field(json, mg_stat_word((enum mg_stat)i), total->value[i]);
    }
    mg_json_out_close(json, '}');
    mg_json_out_key(json, MG_STR("outcomes"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_OUTCOME_COUNT && i < MG_STATS_OUTCOMES; i++) {
        mg_json_out_number_field(json, mg_outcome_word((enum mg_outcome)i), total->outcome[i]);
    }
    mg_json_out_close(json, '}');
    mg_json_out_key(json, MG_STR("refused"));
    mg_json_out_open(json, '{');
    for (unsigned i = 0; i < MG_STATS_REJECTS; i++) {
        char word[32];
        if (refusal_word(i, word)) {
            mg_json_out_number_field(json, word, total->reject[i]);
        }
    }
    mg_json_out_close(json, '}');
}

static void json_store(const struct mg_store_record *store, struct mg_json_out *json)
{
    const enum mg_redis_result reason = mg_redis_breaker_reason(store);
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "name",
                           mg_str_make(store->name, strnlen(store->name, sizeof store->name)));
    mg_json_out_text_field(json, "state", mg_str_from(mg_redis_breaker_state(store)));
    mg_json_out_number_field(json, "opened", store->opened);
    mg_json_out_key(json, MG_STR("last_failure"));
    if (reason == MG_REDIS_OK) {
        mg_json_out_null(json);
    } else {
        mg_json_out_text(json, mg_str_from(mg_redis_result_word(reason)));
    }
    mg_json_out_key(json, MG_STR("results"));
    mg_json_out_open(json, '{');
    for (unsigned k = 0; k < MG_REDIS_RESULT_COUNT; k++) {
        if (store->results[k] > 0) {
            mg_json_out_number_field(json, mg_redis_result_word((enum mg_redis_result)k),
                                     store->results[k]);
        }
    }
    mg_json_out_close(json, '}');
    mg_json_out_close(json, '}');
}

static void json_stores(struct mg_master *master, struct mg_json_out *json)
{
    mg_json_out_key(json, MG_STR("stores"));
    mg_json_out_open(json, '[');
    for (uint32_t i = 0; i < MG_STORES; i++) {
        const struct mg_store_record *store = mg_store_record(master->shm, i);
        if (store) {
            json_store(store, json);
        }
    }
    mg_json_out_close(json, ']');
}

static void json_reload(const struct mg_reload *reload, struct mg_json_out *json)
{
    char when[32];
    mg_json_out_key(json, MG_STR("last_reload"));
    if (reload->last_wall_ms == 0) {
        mg_json_out_null(json);
        return;
    }
    mg_json_out_open(json, '{');
    mg_json_out_text_field(json, "time", mg_str_from(wall_text(reload->last_wall_ms, when)));
    mg_json_out_key(json, MG_STR("successful"));
    mg_json_out_bool(json, !reload->last_failed);
    mg_json_out_key(json, MG_STR("error"));
    if (reload->last_error.len > 0) {
        mg_json_out_text(json, mg_buf_view(&reload->last_error));
    } else {
        mg_json_out_null(json);
    }
    mg_json_out_close(json, '}');
}

static void json_running(struct mg_master *master, uint64_t now_ms, struct mg_json_out *json)
{
    struct mg_stats total = {.value = {0}};
    mg_shm_stats_sum(master->shm, &total);
    mg_json_out_text_field(json, "digest", mg_str_from(mg_master_plan(master)->digest));
    json_listeners(master, json);
    json_workers(master, now_ms, json);
    json_counters(&total, json);
    mg_status_upstreams_json(master, now_ms, json);
    json_stores(master, json);
    json_reload(&master->reload, json);
}

void mg_status_json(struct mg_master *master, uint64_t now_ms, struct mg_buf *out)
{
    struct mg_json_out json = {.buf = out};
    mg_json_out_open(&json, '{');
    mg_json_out_number_field(&json, "format", MG_STATUS_VERSION);
    mg_json_out_text_field(&json, "version", mg_str_from(MOONGATE_VERSION));
    mg_json_out_number_field(&json, "pid", (uint64_t)getpid());
    mg_json_out_text_field(&json, "state", mg_str_from(stage_word(master->stage)));
    mg_json_out_number_field(&json, "uptime_ms", since(master->started_ms, now_ms));
    mg_json_out_text_field(&json, "config", mg_str_from(master->config_path));
    mg_json_out_number_field(&json, "generation", master->generation);
    if (master->has_bundle) {
        json_running(master, now_ms, &json);
    }
    mg_json_out_close(&json, '}');
    (void)!mg_buf_append(out, MG_STR("\n"));
}
