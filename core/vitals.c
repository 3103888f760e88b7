/* SPDX-License-Identifier: Apache-2.0 */
#include "vitals.h"

#include "base/shm_metrics.h"
#include "script/generation.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 1000
#define FILES_TICKS 10 /* descriptors are listed by the system one by one: not every second */
#define LAG_BOUNDS 8

/* microseconds; the loop's clock has milliseconds */
static const double lag_bounds[LAG_BOUNDS] = {1000,   5000,   10000,   25000,
                                              100000, 250000, 1000000, 5000000};
static const char *const labels[] = {"worker"};

static int open_metric(struct mg_shm *shm, const char *name, const char *help,
                       enum mg_metric_type type, enum mg_metric_unit unit)
{
    const bool is_histogram = type == MG_METRIC_HISTOGRAM;
    const struct mg_metric_def def = {.name = mg_str_from(name),
                                      .help = mg_str_from(help),
                                      .type = type,
                                      .unit = unit,
                                      .labels = labels,
                                      .label_count = 1,
                                      .bounds = is_histogram ? lag_bounds : NULL,
                                      .bound_count = is_histogram ? LAG_BOUNDS : 0};
    return mg_metric_open(shm, &def);
}

static void set(const struct mg_vitals *vitals, int metric, double value)
{
    struct mg_shm *shm = vitals->parts.shm;
    if (metric >= 0) {
        mg_gauge_set(shm, mg_series_open(shm, (uint32_t)metric, &vitals->label, NULL), value);
    }
}

/* A worker that takes over another's place goes on counting there. */
static void count_cpu(struct mg_vitals *vitals)
{
    struct mg_shm *shm = vitals->parts.shm;
    struct rusage used;
    if (vitals->cpu < 0 || getrusage(RUSAGE_SELF, &used)) {
        return;
    }
    const uint64_t seconds = (uint64_t)used.ru_utime.tv_sec + (uint64_t)used.ru_stime.tv_sec;
    const uint64_t us =
        seconds * 1000000 + (uint64_t)used.ru_utime.tv_usec + (uint64_t)used.ru_stime.tv_usec;
    const uint32_t series = mg_series_open(shm, (uint32_t)vitals->cpu, &vitals->label, NULL);
    mg_metric_words(shm, vitals->parts.worker)[series] += us - vitals->cpu_us;
    vitals->cpu_us = us;
}

static void count_lag(const struct mg_vitals *vitals, uint64_t late_ms)
{
    struct mg_shm *shm = vitals->parts.shm;
    if (vitals->lag < 0) {
        return;
    }
    const uint32_t series = mg_series_open(shm, (uint32_t)vitals->lag, &vitals->label, NULL);
    uint64_t *words = mg_metric_words(shm, vitals->parts.worker) + series;
    uint32_t bucket = 0;
    while (bucket < LAG_BOUNDS && (double)late_ms * 1000 > lag_bounds[bucket]) {
        bucket++;
    }
    words[bucket]++;
    words[LAG_BOUNDS + 1] += late_ms * 1000;
}

static double resident_bytes(void)
{
    char text[128] = "";
    unsigned long pages = 0;
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        const ssize_t got = read(fd, text, sizeof text - 1);
        close(fd);
        if (got < 0 || sscanf(text, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void count_files(const struct mg_vitals *vitals)
{
    struct rlimit files;
    DIR *folder = opendir("/proc/self/fd");
    if (folder) {
        uint32_t count = 0;
        while (readdir(folder)) {
            count++;
        }
        closedir(folder);
        set(vitals, vitals->open_files, count > 3 ? count - 3 : 0); /* ".", "..", the folder */
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        set(vitals, vitals->max_files, (double)files.rlim_cur);
    }
}

static void on_tick(struct mg_deadline *deadline)
{
    struct mg_vitals *vitals = MG_CONTAINER(deadline, struct mg_vitals, tick);
    const struct mg_vitals_parts *parts = &vitals->parts;
    const uint64_t now_ms = mg_loop_now_ms(parts->loop);
    const struct mg_generation *generation = parts->current ? *parts->current : NULL;
    count_lag(vitals, now_ms > vitals->due_ms ? now_ms - vitals->due_ms : 0);
    count_cpu(vitals);
    set(vitals, vitals->resident, resident_bytes());
    if (generation) {
        set(vitals, vitals->lua_bytes, (double)mg_generation_lua_bytes(generation));
    }
    if (vitals->ticks++ % FILES_TICKS == 0) {
        count_files(vitals);
    }
    vitals->due_ms = now_ms + TICK_MS;
    mg_deadline_arm(mg_deadlines_class(&parts->loop->deadlines, TICK_MS), deadline, on_tick,
                    now_ms);
}

void mg_vitals_open(struct mg_vitals *vitals, const struct mg_vitals_parts *parts)
{
    struct mg_shm *shm = parts->shm;
    *vitals = (struct mg_vitals){.parts = *parts, .due_ms = mg_loop_now_ms(parts->loop)};
    const int length = snprintf(vitals->label_text, sizeof vitals->label_text, "%u", parts->worker);
    vitals->label = mg_str_make(vitals->label_text, (size_t)length);
    vitals->cpu = open_metric(shm, "moongate_worker_cpu_seconds_total", "CPU time of a worker",
                              MG_METRIC_COUNTER, MG_UNIT_MICROSECONDS);
    vitals->lag =
        open_metric(shm, "moongate_event_loop_lag_seconds", "how late a timer of each second was",
                    MG_METRIC_HISTOGRAM, MG_UNIT_MICROSECONDS);
    vitals->lua_bytes =
        open_metric(shm, "moongate_worker_lua_memory_bytes",
                    "memory of the current generation's Lua state", MG_METRIC_GAUGE, MG_UNIT_REAL);
    vitals->resident = open_metric(shm, "moongate_worker_resident_memory_bytes",
                                   "memory that a worker occupies", MG_METRIC_GAUGE, MG_UNIT_REAL);
    vitals->open_files = open_metric(shm, "moongate_worker_open_fds", "descriptors that are open",
                                     MG_METRIC_GAUGE, MG_UNIT_REAL);
    vitals->max_files = open_metric(shm, "moongate_worker_max_fds", "descriptors that may be open",
                                    MG_METRIC_GAUGE, MG_UNIT_REAL);
    mg_deadline_init(&vitals->tick);
    on_tick(&vitals->tick);
}

void mg_vitals_close(struct mg_vitals *vitals)
{
    mg_deadline_cancel(&vitals->tick);
}

static void set_plain(struct mg_shm *shm, const char *name, const char *help, double value)
{
    const struct mg_metric_def def = {.name = mg_str_from(name),
                                      .help = mg_str_from(help),
                                      .type = MG_METRIC_GAUGE,
                                      .unit = MG_UNIT_REAL};
    const int metric = mg_metric_open(shm, &def);
    if (metric >= 0) {
        mg_gauge_set(shm, mg_series_open(shm, (uint32_t)metric, NULL, NULL), value);
    }
}

void mg_vitals_reloaded(struct mg_shm *shm, bool failed, int64_t wall_ms)
{
    set_plain(shm, "moongate_config_last_reload_successful",
              "1: the last reload, or the start, was fine", !failed);
    if (!failed) {
        set_plain(shm, "moongate_config_last_reload_success_timestamp_seconds",
                  "when the current generation was loaded", (double)wall_ms / 1000);
    }
}
