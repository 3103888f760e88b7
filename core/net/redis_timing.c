/* SPDX-License-Identifier: Apache-2.0 */
#include "net/redis_timing.h"

int mg_redis_timing_define(struct mg_shm *shm)
{
    static const char *const labels[] = {"store"};
    static const double bounds[] = {.0005, .001, .0025, .005, .01, .025, .05,
                                    .1,    .25,  .5,    1,    2.5, 5,    10};
    const struct mg_metric_def def = {
        .name = MG_STR("moongate_store_operation_duration_seconds"),
        .help = MG_STR("from a command's hand-over to its reply, or to the end of waiting"),
        .type = MG_METRIC_HISTOGRAM,
        .unit = MG_UNIT_REAL,
        .labels = labels,
        .label_count = 1,
        .bounds = bounds,
        .bound_count = sizeof bounds / sizeof bounds[0]};
    return mg_metric_open(shm, &def);
}

void mg_redis_timing_open(struct mg_redis_timing *timing, struct mg_shm *shm, uint32_t worker,
                          mg_str name)
{
    const int metric = shm ? mg_redis_timing_define(shm) : -1;
    *timing = (struct mg_redis_timing){.shm = NULL};
    if (metric >= 0) {
        *timing =
            (struct mg_redis_timing){.shm = shm,
                                     .words = mg_metric_words(shm, worker),
                                     .metric = (uint32_t)metric,
                                     .series = mg_series_open(shm, (uint32_t)metric, &name, NULL)};
    }
}

void mg_redis_timing_observe(const struct mg_redis_timing *timing, uint64_t us)
{
    if (timing->shm) {
        mg_histogram_observe(timing->shm, timing->metric, timing->words, timing->series,
                             (double)us / 1e6);
    }
}
