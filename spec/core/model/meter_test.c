/* SPDX-License-Identifier: Apache-2.0 */
/* model/meter: what a request adds to which series. */
#include "model/meter.h"

#include "base/shm_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    struct mg_shm *shm;
    struct mg_meter *meter;
    struct mg_config *config;
    struct mg_service service;
    struct mg_route route;
    struct mg_req req;
};

static int setup(void **state)
{
    static struct scene scene;
    scene = (struct scene){.config = mg_config_new()};
    assert_int_equal(mg_shm_create(16 << 20, 2, &scene.shm), 0);
    scene.meter = mg_meter_new(scene.shm, 1);
    scene.service = (struct mg_service){.host = MG_STR("orders.internal"), .port = 8080};
    scene.route = (struct mg_route){.name = MG_STR("orders"), .service = &scene.service};
    scene.req = (struct mg_req){.config = scene.config,
                                .route = &scene.route,
                                .service = &scene.service,
                                .head.method_id = MG_METHOD_GET,
                                .status = 200,
                                .started_us = 1000,
                                .head_us = 1010,
                                .ended_us = 1100};
    *state = &scene;
    return 0;
}

static int teardown(void **state)
{
    struct scene *scene = *state;
    mg_meter_free(scene->meter);
    mg_config_free(scene->config);
    mg_shm_close(scene->shm);
    return 0;
}

/* The word at `offset` of the series with that first value (and others, where they are given) of
 * the metric; -1: there is none. */
static double value_of(struct mg_shm *shm, const char *name, uint32_t offset, bool count,
                       const char *const *wanted)
{
    for (uint32_t i = 0; i < mg_series_count(shm); i++) {
        uint32_t metric, word;
        mg_str values[MG_METRIC_LABELS];
        mg_series_read(shm, i, &metric, &word, values);
        const struct mg_metric_record *record = mg_metric_record(shm, metric);
        bool found = strcmp(record->name, name) == 0;
        for (uint32_t k = 0; found && k < record->label_count; k++) {
            found = mg_str_equal(values[k], mg_str_from(wanted[k]));
        }
        if (found) {
            return mg_metric_sum(shm, metric, word + offset, count);
        }
    }
    return -1;
}

static double bucket(struct scene *scene, const char *name, uint32_t index)
{
    return value_of(scene->shm, name, index, true, (const char *const[]){"orders"});
}

static void a_time_is_counted_in_the_bucket_whose_bound_it_does_not_exceed(void **state)
{
    struct scene *scene = *state;
    const uint64_t bounds[] = {500,    1000,   2500,   5000,    10000,   25000,   50000,
                               100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};
    const char *name = "moongate_http_request_duration_seconds";
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 14; i++) {
        for (int step = -1; step <= 1; step++) {
            scene->req.ended_us = scene->req.started_us + bounds[i] + (uint64_t)(int64_t)step;
            sum += bounds[i] + (uint64_t)(int64_t)step;
            mg_meter_count(scene->meter, &scene->req);
        }
    }
    for (uint64_t us = UINT64_C(1) << 24; us < UINT64_C(1) << 40; us <<= 1) {
        scene->req.ended_us = scene->req.started_us + us;
        sum += us;
        mg_meter_count(scene->meter, &scene->req);
    }
    assert_true(bucket(scene, name, 0) == 2);
    for (uint32_t i = 1; i < 14; i++) {
        assert_true(bucket(scene, name, i) == 3);
    }
    assert_true(bucket(scene, name, 14) == 1 + 16);
    assert_true(value_of(scene->shm, name, 15, false, (const char *const[]){"orders"}) ==
                (double)sum / 1e6);
}

static void every_code_outcome_and_method_has_a_series(void **state)
{
    struct scene *scene = *state;
    for (uint16_t code = 200; code < 300; code++) {
        for (unsigned method = MG_METHOD_GET; method <= MG_METHOD_PATCH; method++) {
            for (int times = 0; times < 2; times++) {
                scene->req.status = code;
                scene->req.head.method_id = (enum mg_method)method;
                scene->req.outcome = code % 2 ? MG_OUTCOME_OK : MG_OUTCOME_LIMITED;
                mg_meter_count(scene->meter, &scene->req);
            }
        }
    }
    const char *name = "moongate_http_requests_total";
    char code_text[8];
    for (unsigned code = 200; code < 224; code++) { /* 250 series: the first 35 codes */
        snprintf(code_text, sizeof code_text, "%u", code);
        const char *const wanted[] = {"orders", "DELETE", code_text, code % 2 ? "ok" : "limited"};
        assert_true(value_of(scene->shm, name, 0, false, wanted) == 2);
    }
    scene->req.status = 299;
    mg_meter_count(scene->meter, &scene->req);
    assert_true(mg_metric_record(scene->shm, 0)->overflowed > 0);
}

static void a_request_without_a_route_is_counted_too(void **state)
{
    struct scene *scene = *state;
    scene->req.route = NULL;
    scene->req.service = NULL;
    scene->req.head.method_id = MG_METHOD_UNKNOWN;
    scene->req.status = 404;
    scene->req.outcome = MG_OUTCOME_NO_ROUTE;
    scene->req.bytes_in = 70;
    scene->req.bytes_out = 200;
    mg_meter_count(scene->meter, &scene->req);
    mg_meter_count(scene->meter, &scene->req);
    const char *const wanted[] = {"_none", "_OTHER", "404", "no_route"};
    assert_true(value_of(scene->shm, "moongate_http_requests_total", 0, false, wanted) == 2);
    assert_true(value_of(scene->shm, "moongate_http_request_bytes_total", 0, false, wanted) == 140);
    assert_true(value_of(scene->shm, "moongate_http_response_bytes_total", 0, false, wanted) ==
                400);
}

static double gateway_us(struct scene *scene)
{
    mg_meter_count(scene->meter, &scene->req);
    return 1e6 * value_of(scene->shm, "moongate_http_gateway_duration_seconds", 15, false,
                          (const char *const[]){"orders"});
}

static void the_gateways_own_time_is_without_head_and_upstream(void **state)
{
    struct scene *scene = *state;
    assert_true(gateway_us(scene) > 89.9); /* 100 - 10, nothing of an upstream */
    assert_true(gateway_us(scene) < 180.1);
    scene->req.upstream_begin_us = 1030;
    scene->req.upstream_end_us = 1080;
    const double before = gateway_us(scene) - 40; /* 100 - 10 - 50 */
    assert_true(before > 179.9 && before < 180.1);
    scene->req.upstream_end_us = 0; /* it never ended: all of it was ours, as far as we know */
    const double endless = gateway_us(scene) - before - 40;
    assert_true(endless > 99.9 && endless < 100.1);
    scene->req.upstream_end_us = 5000; /* later than the request: nothing is left */
    assert_true(gateway_us(scene) - before - 140 < 0.1);
}

static void each_try_is_counted_with_its_own_end(void **state)
{
    struct scene *scene = *state;
    scene->req.try_count = 2;
    scene->req.tries[0] = (struct mg_try){.outcome = MG_OUTCOME_UPSTREAM_REFUSED};
    scene->req.tries[1] = (struct mg_try){.status = 200, .connect_us = 300, .ttfb_us = 700};
    mg_meter_count(scene->meter, &scene->req);
    const char *name = "moongate_upstream_requests_total";
    const char *const failed[] = {"orders.internal:8080", "0", "upstream_refused"};
    const char *const fine[] = {"orders.internal:8080", "200", "ok"};
    assert_true(value_of(scene->shm, name, 0, false, failed) == 1);
    assert_true(value_of(scene->shm, name, 0, false, fine) == 1);
    name = "moongate_upstream_request_duration_seconds";
    assert_true(value_of(scene->shm, name, 1, true, fine) == 1);
    name = "moongate_upstream_connect_duration_seconds";
    assert_true(value_of(scene->shm, name, 0, true, fine) == 1);
}

/* The short way that a usual request takes counts what the long one does. */
static void tries_on_pooled_connections_are_counted_alike(void **state)
{
    struct scene *scene = *state;
    const char *const fine[] = {"orders.internal:8080", "200", "ok"};
    const char *const bad[] = {"orders.internal:8080", "503", "ok"};
    const char *const plugins[] = {"(chosen by a plugin)", "200", "ok"};
    const char *name = "moongate_upstream_requests_total";
    const char *times = "moongate_upstream_request_duration_seconds";
    scene->req.try_count = 1;
    for (unsigned i = 0; i < 12; i++) {
        const bool is_new = i % 4 == 0, is_bad = i % 4 == 2, is_elsewhere = i % 4 == 3;
        scene->req.status = is_bad ? 503 : 200;
        scene->req.tries[0] = (struct mg_try){
            .status = is_bad ? 503 : 200, .ttfb_us = 400, .connect_us = is_new ? 90 : 0};
        scene->req.up.target_host = is_elsewhere ? MG_STR("10.0.0.1") : MG_STR("");
        mg_meter_count(scene->meter, &scene->req);
    }
    assert_true(value_of(scene->shm, name, 0, false, fine) == 6);
    assert_true(value_of(scene->shm, name, 0, false, bad) == 3);
    assert_true(value_of(scene->shm, name, 0, false, plugins) == 3);
    assert_true(value_of(scene->shm, times, 0, true, fine) == 9);
    assert_true(value_of(scene->shm, times, 0, true, plugins) == 3);
    name = "moongate_upstream_connect_duration_seconds";
    assert_true(value_of(scene->shm, name, 0, true, fine) == 3);
}

static void a_host_that_a_plugin_chose_is_no_label(void **state)
{
    struct scene *scene = *state;
    scene->req.try_count = 1;
    scene->req.tries[0] = (struct mg_try){.status = 200, .ttfb_us = 700};
    scene->req.up.target_host = MG_STR("10.9.8.7");
    mg_meter_count(scene->meter, &scene->req);
    scene->req.up.target_host = MG_STR("");
    scene->req.up.upstream = MG_STR("blue");
    mg_meter_count(scene->meter, &scene->req);
    const char *name = "moongate_upstream_requests_total";
    assert_true(value_of(scene->shm, name, 0, false,
                         (const char *const[]){"(chosen by a plugin)", "200", "ok"}) == 1);
    assert_true(value_of(scene->shm, name, 0, false, (const char *const[]){"blue", "200", "ok"}) ==
                1);
}

static double decisions(struct scene *scene, const char *policy, const char *decision)
{
    return value_of(scene->shm, "moongate_ratelimit_decisions_total", 0, false,
                    (const char *const[]){"orders", policy, decision});
}

static void what_rate_limit_decided_is_counted(void **state)
{
    struct scene *scene = *state;
    const char *const notes[] = {
        "{\"decision\":\"allowed\",\"name\":\"minute\",\"quota\":3}",
        "{\"decision\":\"allowed\",\"name\":\"hour\",\"quota\":9}",
        "{\"decision\":\"denied\",\"name\":\"minute\",\"quota\":3}",
        "{\"decision\":\"denied\",\"name\":\"minute\",\"quota\":4}",
        "{\"decision\":\"exempt\"}",
        "nonsense",
        "{\"decision\":\"",
    };
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
            scene->req.note_limit = mg_str_from(notes[i]);
            mg_meter_count(scene->meter, &scene->req);
        }
    }
    assert_true(decisions(scene, "-", "allowed") == 6);
    assert_true(decisions(scene, "minute", "denied") == 6);
    assert_true(decisions(scene, "-", "exempt") == 3);
}

int main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SCENE(a_time_is_counted_in_the_bucket_whose_bound_it_does_not_exceed),
        WITH_SCENE(every_code_outcome_and_method_has_a_series),
        WITH_SCENE(a_request_without_a_route_is_counted_too),
        WITH_SCENE(the_gateways_own_time_is_without_head_and_upstream),
        WITH_SCENE(each_try_is_counted_with_its_own_end),
        WITH_SCENE(what_rate_limit_decided_is_counted),
        WITH_SCENE(tries_on_pooled_connections_are_counted_alike),
        WITH_SCENE(a_host_that_a_plugin_chose_is_no_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
