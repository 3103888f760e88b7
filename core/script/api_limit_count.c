/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf functions of the plugin rate-limit (ffi.h, section policies) that count what is rare: parts
 * of keys that a request does not have, requests that a limit delays, bans. */
#include "base/shm_limits.h"
#include "base/shm_metrics.h"
#include "base/stats.h"
#include "script/export.h"

#include "script/api_limits.h"

#define MOST_SLEEPERS 10000 /* of a worker */
#define BOUNDS 14

/* A request that waits for its turn. */
struct mg_ffi_sleep {
    struct mg_stats *stats;
    bool is_over;
};

static int define_missing(struct mg_shm *shm)
{
    static const char *const labels[] = {"policy", "part"};
    const struct mg_metric_def def = {.name = MG_STR("moongate_ratelimit_key_missing_total"),
                                      .help = MG_STR("parts of keys that a request did not have"),
                                      .type = MG_METRIC_COUNTER,
                                      .labels = labels,
                                      .label_count = 2};
    return mg_metric_open(shm, &def);
}

/* microseconds */
static const double bounds[BOUNDS] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                                      100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

static int define_delay(struct mg_shm *shm)
{
    const struct mg_metric_def def = {.name = MG_STR("moongate_ratelimit_delay_seconds"),
                                      .help = MG_STR("for how long limits delay requests"),
                                      .type = MG_METRIC_HISTOGRAM,
                                      .unit = MG_UNIT_MICROSECONDS,
                                      .bounds = bounds,
                                      .bound_count = BOUNDS};
    return mg_metric_open(shm, &def);
}

void mg_limits_define(struct mg_ffi_limits *limits)
{
    (void)define_missing(limits->shm);
    const int delay = define_delay(limits->shm);
    limits->delay = delay < 0 ? 0 : mg_series_open(limits->shm, (uint32_t)delay, NULL, NULL) + 1;
}

/* --- parts of keys ---------------------------------------------------------------------------- */

MG_FFI_EXPORT int mg_ffi_limits_part(struct mg_ffi_limits *limits, const char *policy,
                                     size_t policy_len, const char *part, size_t part_len)
{
    const int metric = define_missing(limits->shm);
    const mg_str values[] = {mg_str_make(policy, policy_len), mg_str_make(part, part_len)};
    return metric < 0 ? -1 : (int)mg_series_open(limits->shm, (uint32_t)metric, values, NULL);
}

MG_FFI_EXPORT void mg_ffi_limits_missing(struct mg_ffi_limits *limits, int counter)
{
    const struct mg_vm_options *options = &limits->vm->options;
    if (counter >= 0) {
        mg_metric_words(limits->shm, options->worker)[counter]++;
    }
    if (options->stats) {
        mg_stats_add(options->stats, MG_STAT_LIMIT_KEY_MISSING, 1);
    }
}

/* --- delays ----------------------------------------------------------------------------------- */

static void observe(const struct mg_ffi_limits *limits, double ms)
{
    if (limits->delay == 0) {
        return;
    }
    uint64_t *words = &mg_metric_words(limits->shm, limits->vm->options.worker)[limits->delay - 1];
    unsigned bucket = 0;
    while (bucket < BOUNDS && ms * 1000 > bounds[bucket]) {
        bucket++;
    }
    words[bucket]++;
    words[BOUNDS + 1] += (uint64_t)(ms * 1000);
}

MG_FFI_EXPORT void mg_ffi_limits_wake(struct mg_ffi_sleep *sleep)
{
    if (!sleep->is_over && sleep->stats) {
        mg_stats_drop(sleep->stats, MG_STAT_LIMIT_SLEEPERS, 1);
    }
    sleep->is_over = true;
}

static void on_end(void *context)
{
    mg_ffi_limits_wake(context);
}

MG_FFI_EXPORT struct mg_ffi_sleep *mg_ffi_limits_sleep(struct mg_ffi_limits *limits,
                                                       struct mg_req *req, double ms)
{
    struct mg_stats *stats = limits->vm->options.stats;
    if (stats && stats->value[MG_STAT_LIMIT_SLEEPERS] >= MOST_SLEEPERS) {
        return NULL;
    }
    struct mg_ffi_sleep *sleep = mg_arena_alloc(&req->arena, sizeof *sleep);
    *sleep = (struct mg_ffi_sleep){.stats = stats};
    mg_arena_defer(&req->arena, on_end, sleep);
    if (stats) {
        mg_stats_add(stats, MG_STAT_LIMIT_SLEEPERS, 1);
    }
    observe(limits, ms);
    return sleep;
}

/* --- bans ------------------------------------------------------------------------------------- */

void mg_limits_count_ban(const struct mg_ffi_limits *limits, struct mg_limits_entry **entries,
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!entries[i]->limit.shadow && !entries[i]->found.ok) {
            mg_limit_record_ban(limits->shm, entries[i]->limit.record);
            return;
        }
    }
}
