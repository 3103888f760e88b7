/* SPDX-License-Identifier: Apache-2.0 */
/* base/shm_metrics: series are found, bounded, summed, and survive who dies while making them. */
#define _GNU_SOURCE
#include "base/shm_metrics.h"

#include "base/shm.h"
#include "base/shm_region.h"
#include "support/workers.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SERIES 250 /* of a metric; what mg_shm_create gives */
#define WORKERS 2

static const char *const kind_label[] = {"kind"};
static const double bounds[] = {0.5, 1, 2};

static int setup(void **state)
{
    return mg_shm_create(16 << 20, WORKERS, (struct mg_shm **)state);
}

static int teardown(void **state)
{
    mg_shm_close(*state);
    return 0;
}

static struct mg_metric_def counter(const char *name)
{
    return (struct mg_metric_def){.name = mg_str_from(name),
                                  .help = MG_STR("what it counts"),
                                  .type = MG_METRIC_COUNTER,
                                  .labels = kind_label,
                                  .label_count = 1};
}

static uint32_t open_counter(struct mg_shm *shm, const char *name)
{
    const struct mg_metric_def def = counter(name);
    const int metric = mg_metric_open(shm, &def);
    assert_true(metric >= 0);
    return (uint32_t)metric;
}

static uint32_t open_number(struct mg_shm *shm, uint32_t metric, int number, bool *full)
{
    char text[24];
    snprintf(text, sizeof text, "value %d", number);
    const mg_str value = mg_str_from(text);
    return mg_series_open(shm, metric, &value, full);
}

static void every_worker_counts_for_itself_and_readers_see_the_sum(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t metric = open_counter(shm, "a_total");
    const mg_str value = MG_STR("x");
    const uint32_t series = mg_series_open(shm, metric, &value, NULL);
    for (uint32_t worker = 0; worker <= WORKERS; worker++) {
        mg_metric_words(shm, worker)[series] += 10 + worker;
    }
    assert_true(mg_metric_sum(shm, metric, series, false) == 33);
    assert_int_equal(mg_series_count(shm), 1);
    uint32_t of, word;
    mg_str values[MG_METRIC_LABELS];
    mg_series_read(shm, 0, &of, &word, values);
    assert_int_equal(of, metric);
    assert_int_equal(word, series);
    assert_true(mg_str_equal(values[0], value));
}

static void the_same_values_are_the_same_series(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t a = open_counter(shm, "a_total"), b = open_counter(shm, "b_total");
    assert_int_equal(open_counter(shm, "a_total"), a);
    assert_int_not_equal(a, b);
    const uint32_t first = open_number(shm, a, 1, NULL);
    assert_int_equal(open_number(shm, a, 1, NULL), first);
    assert_int_not_equal(open_number(shm, a, 2, NULL), first);
    assert_int_not_equal(open_number(shm, b, 1, NULL), first);
    const mg_str with_nul = mg_str_make("value 1\0rest", 12);
    assert_int_equal(mg_series_open(shm, a, &with_nul, NULL), first);
}

static void a_long_value_is_cut(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t metric = open_counter(shm, "a_total");
    char text[MG_LABEL_BYTES + 9];
    memset(text, 'x', sizeof text);
    const mg_str longer = mg_str_make(text, sizeof text);
    const mg_str exact = mg_str_make(text, MG_LABEL_BYTES);
    const mg_str shorter = mg_str_make(text, MG_LABEL_BYTES - 1);
    const uint32_t series = mg_series_open(shm, metric, &longer, NULL);
    assert_int_equal(mg_series_open(shm, metric, &exact, NULL), series);
    assert_int_not_equal(mg_series_open(shm, metric, &shorter, NULL), series);
}

static void invented_values_end_in_one_series(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t metric = open_counter(shm, "a_total");
    const uint32_t overflow = mg_metric_record(shm, metric)->overflow;
    uint64_t *words = mg_metric_words(shm, 0);
    bool full;
    for (int i = 0; i < 10000; i++) {
        const uint32_t series = open_number(shm, metric, i, &full);
        words[series]++;
        assert_int_equal(full, i >= SERIES);
        assert_int_equal(series == overflow, full);
    }
    assert_int_equal(mg_series_count(shm), SERIES);
    assert_true(mg_metric_sum(shm, metric, overflow, false) == 10000 - SERIES);
    assert_int_equal(mg_metric_record(shm, metric)->overflowed, 10000 - SERIES);
    (void)open_number(shm, metric, SERIES - 1, &full);
    assert_false(full);
    const uint32_t other = open_counter(shm, "b_total"); /* has room of its own */
    (void)open_number(shm, other, 0, &full);
    assert_false(full);
}

static void all_metrics_together_are_bounded_too(void **state)
{
    struct mg_shm *shm = *state;
    char name[24];
    bool full = false;
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "m%d_total", i);
        const uint32_t metric = open_counter(shm, name);
        for (int j = 0; j < SERIES; j++) {
            const uint32_t series = open_number(shm, metric, j, &full);
            assert_int_equal(full, series == mg_metric_record(shm, metric)->overflow);
        }
    }
    assert_true(full);
    assert_int_equal(mg_series_count(shm), 9 * SERIES); /* shm_region.c, level 8 */
    assert_true(mg_region_is_sound(shm));
}

static void there_is_an_end_of_metrics(void **state)
{
    struct mg_shm *shm = *state;
    char name[24];
    for (int i = 0; i < MG_METRICS; i++) {
        snprintf(name, sizeof name, "m%d_total", i);
        open_counter(shm, name);
    }
    const struct mg_metric_def one_more = counter("one_more_total");
    assert_int_equal(mg_metric_open(shm, &one_more), MG_EFULL);
    struct mg_metric_def bad = counter("");
    assert_int_equal(mg_metric_open(shm, &bad), MG_EINVALID);
    bad = counter("x");
    bad.label_count = MG_METRIC_LABELS + 1;
    assert_int_equal(mg_metric_open(shm, &bad), MG_EINVALID);
}

static void another_definition_takes_the_name(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t first = open_counter(shm, "a_total");
    struct mg_metric_def def = counter("a_total");
    def.label_count = 0;
    const int second = mg_metric_open(shm, &def);
    assert_int_not_equal(second, first);
    assert_true(mg_metric_record(shm, first)->hidden);
    assert_false(mg_metric_record(shm, (uint32_t)second)->hidden);
    assert_int_equal(open_counter(shm, "a_total"), first);
    assert_false(mg_metric_record(shm, first)->hidden);
    assert_true(mg_metric_record(shm, (uint32_t)second)->hidden);
}

static void a_gauge_is_one_value_of_all_workers(void **state)
{
    struct mg_shm *shm = *state;
    struct mg_metric_def def = counter("depth");
    def.type = MG_METRIC_GAUGE;
    def.unit = MG_UNIT_REAL;
    const uint32_t metric = (uint32_t)mg_metric_open(shm, &def);
    const uint32_t series = open_number(shm, metric, 1, NULL);
    mg_gauge_set(shm, series, 2.5);
    mg_gauge_set(shm, series, 1.25);
    mg_gauge_add(shm, series, -3);
    assert_true(mg_metric_sum(shm, metric, series, false) == -1.75);
}

static void a_value_on_a_bound_belongs_to_its_bucket(void **state)
{
    struct mg_shm *shm = *state;
    struct mg_metric_def def = counter("seconds");
    def.type = MG_METRIC_HISTOGRAM;
    def.unit = MG_UNIT_REAL;
    def.bounds = bounds;
    def.bound_count = 3;
    const uint32_t metric = (uint32_t)mg_metric_open(shm, &def);
    const uint32_t series = open_number(shm, metric, 1, NULL);
    const double values[] = {0.25, 0.5, 0.75, 1, 2, 2.5, 1000};
    for (uint32_t i = 0; i < 7; i++) {
        mg_histogram_observe(shm, metric, mg_metric_words(shm, i % WORKERS), series, values[i]);
    }
    const double counts[] = {2, 2, 1, 2};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(mg_metric_sum(shm, metric, series + i, true) == counts[i]);
    }
    assert_true(mg_metric_sum(shm, metric, series + 4, false) == 1007);
}

static bool open_many(void *context, uint32_t index)
{
    struct mg_shm *shm = context;
    const uint32_t metric = open_counter(shm, "shared_total");
    for (int i = 0; i < SERIES; i++) {
        mg_metric_words(shm, index)[open_number(shm, metric, i, NULL)]++;
    }
    return true;
}

static void workers_that_open_the_same_series_agree(void **state)
{
    struct mg_shm *shm = *state;
    struct workers workers;
    workers_start(&workers, WORKERS, open_many, shm);
    assert_true(workers_wait(&workers));
    const uint32_t metric = open_counter(shm, "shared_total");
    assert_int_equal(mg_series_count(shm), SERIES);
    for (int i = 0; i < SERIES; i++) {
        const uint32_t series = open_number(shm, metric, i, NULL);
        assert_true(mg_metric_sum(shm, metric, series, false) == WORKERS);
    }
}

/* A child opens series until it is killed at some moment; what it leaves is used by the next. */
static void a_killed_worker_leaves_no_series_twice(void **state)
{
    struct mg_shm *shm = *state;
    const uint32_t metric = open_counter(shm, "shared_total");
    for (int round = 0; round < 50; round++) {
        int pipe_ends[2];
        assert_int_equal(pipe(pipe_ends), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            for (int i = round * 5;; i++) {
                (void)open_number(shm, metric, i, NULL);
                if (i == round * 5 && write(pipe_ends[1], "x", 1) != 1) {
                    _exit(1);
                }
            }
        }
        char byte;
        assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        assert_true(mg_region_is_sound(shm));
    }
    mg_str seen[SERIES];
    const uint32_t count = mg_series_count(shm);
    assert_true(count > 0 && count <= SERIES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t of, word;
        mg_str values[MG_METRIC_LABELS];
        mg_series_read(shm, i, &of, &word, values);
        seen[i] = values[0];
        assert_true(mg_str_starts(seen[i], MG_STR("value ")));
        for (uint32_t j = 0; j < i; j++) {
            assert_false(mg_str_equal(seen[i], seen[j]));
        }
    }
}

static void another_image_counts_on(void **state)
{
    struct mg_shm *shm = *state, *other = NULL;
    const uint32_t metric = open_counter(shm, "a_total");
    const uint32_t series = open_number(shm, metric, 1, NULL);
    mg_metric_words(shm, 0)[series] = 7;
    assert_int_equal(mg_shm_attach(dup(mg_shm_fd(shm)), &other), 0);
    assert_int_equal(open_counter(other, "a_total"), metric);
    assert_int_equal(open_number(other, metric, 1, NULL), series);
    assert_true(mg_metric_sum(other, metric, series, false) == 7);
    mg_shm_close(other);
    mg_region_metric(shm, metric)->width = 9;
    assert_int_equal(mg_shm_attach(mg_shm_fd(shm), &other), MG_EINVALID);
    mg_region_metric(shm, metric)->width = 1;
    mg_region_series(shm, 0)->text = 0x7fffffff;
    assert_int_equal(mg_shm_attach(mg_shm_fd(shm), &other), MG_EINVALID);
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_REGION(every_worker_counts_for_itself_and_readers_see_the_sum),
        WITH_REGION(the_same_values_are_the_same_series),
        WITH_REGION(a_long_value_is_cut),
        WITH_REGION(invented_values_end_in_one_series),
        WITH_REGION(all_metrics_together_are_bounded_too),
        WITH_REGION(there_is_an_end_of_metrics),
        WITH_REGION(another_definition_takes_the_name),
        WITH_REGION(a_gauge_is_one_value_of_all_workers),
        WITH_REGION(a_value_on_a_bound_belongs_to_its_bucket),
        WITH_REGION(workers_that_open_the_same_series_agree),
        WITH_REGION(a_killed_worker_leaves_no_series_twice),
        WITH_REGION(another_image_counts_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
