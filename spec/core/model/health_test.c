/* SPDX-License-Identifier: Apache-2.0 */
/* Health of targets: what takes one out and what brings it back, how many may be out, and what the
 * balancer makes of it. On a clock of the test. */
#include "model/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define BEGIN_MS 1000000U

struct world {
    struct mg_config *config;
    struct mg_upstream_config *upstream;
    struct mg_peers *peers;
    struct mg_peer_group *group;
    uint64_t now_ms;
    struct mg_health_change last;
};

static void make_world(struct world *world, uint32_t targets, enum mg_balance algorithm)
{
    *world = (struct world){.config = mg_config_new(), .now_ms = BEGIN_MS};
    struct mg_arena *arena = &world->config->arena;
    struct mg_upstream_config *upstream = mg_arena_zalloc(arena, sizeof *upstream);
    world->config->upstreams = world->upstream = upstream;
    world->config->upstream_count = 1;
    upstream->name = MG_STR("u");
    upstream->algorithm = algorithm;
    upstream->target_count = targets;
    upstream->targets = mg_arena_zalloc(arena, targets * sizeof *upstream->targets);
    for (uint32_t i = 0; i < targets; i++) {
        upstream->targets[i] =
            (struct mg_target){.host = mg_arena_format(arena, "t%u", i), .port = 80, .weight = 100};
    }
    upstream->settings.outlier = (struct mg_outlier){.consecutive = 5,
                                                     .failure_percent = 50,
                                                     .min_requests = 20,
                                                     .max_eject_percent = 50,
                                                     .panic_percent = 30,
                                                     .open_factor = 2,
                                                     .open_base = 5000,
                                                     .open_max = 60000,
                                                     .ramp = 10000};
}

static void begin(struct world *world)
{
    world->peers = mg_peers_new(world->config, NULL);
    world->group = mg_peers_group(world->peers, 0);
}

static void end(struct world *world)
{
    mg_peers_free(world->peers);
    mg_config_free(world->config);
}

static struct mg_peer *pick(struct world *world, struct mg_pick *pick)
{
    pick->now_ms = world->now_ms;
    return mg_balance_pick(world->group, pick);
}

static struct mg_peer *pick_one(struct world *world)
{
    struct mg_pick asked = {.hash = world->now_ms};
    return pick(world, &asked);
}

static void result(struct world *world, struct mg_peer *peer, const struct mg_pick *asked,
                   enum mg_try_result what, uint16_t status)
{
    const struct mg_health_result it = {.what = what,
                                        .status = status,
                                        .epoch = asked ? asked->epoch : mg_health_epoch(peer),
                                        .probe = asked && asked->probe,
                                        .now_ms = world->now_ms,
                                        .random = UINT32_MAX / 2};
    mg_health_result(world->group, peer, &it, &world->last);
}

static void fail_times(struct world *world, struct mg_peer *peer, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        result(world, peer, NULL, MG_TRIED_CONNECT, 0);
    }
}

static enum mg_health_state state_of(const struct world *world, const struct mg_peer *peer)
{
    uint64_t left_ms;
    return mg_health_state(peer->record, world->now_ms, &left_ms);
}

static unsigned picks_of(struct world *world, const struct mg_peer *peer, unsigned picks)
{
    unsigned count = 0;
    for (unsigned i = 0; i < picks; i++) {
        count += pick_one(world) == peer;
    }
    return count;
}

static void five_failures_in_a_row_take_a_target_out(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 3, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *bad = &world.group->peers[1];
    fail_times(&world, bad, 4);
    result(&world, bad, NULL, MG_TRIED_ANSWERED, 404);
    fail_times(&world, bad, 4);
    assert_int_equal(state_of(&world, bad), MG_HEALTH_HEALTHY);
    result(&world, bad, NULL, MG_TRIED_ANSWERED, 503);
    assert_int_equal(state_of(&world, bad), MG_HEALTH_EJECTED);
    assert_true(world.last.happened);
    assert_int_equal(world.last.reason, MG_EJECT_CONSECUTIVE);
    assert_in_range(world.last.ms, 4999, 5001);
    assert_int_equal(picks_of(&world, bad, 100), 0);
    assert_int_equal(world.group->record->ejections[MG_EJECT_CONSECUTIVE], 1);
    end(&world);
}

static void half_of_twenty_results_in_ten_seconds_take_a_target_out(void **state)
{
    (void)state;
    for (unsigned results = 19; results <= 21; results++) {
        struct world world;
        make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
        begin(&world);
        struct mg_peer *bad = &world.group->peers[0];
        for (unsigned i = 0; i < results; i++) { /* bad ones at odd places: never two in a row */
            world.now_ms += 400;
            result(&world, bad, NULL, i % 2 ? MG_TRIED_TIMEOUT : MG_TRIED_ANSWERED, 200);
        }
        assert_int_equal(state_of(&world, bad),
                         results < 20 ? MG_HEALTH_HEALTHY : MG_HEALTH_EJECTED);
        assert_int_equal(world.group->record->ejections[MG_EJECT_FAILURE_PERCENT], results >= 20);
        end(&world);
    }
}

static void results_older_than_ten_seconds_do_not_count(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *peer = &world.group->peers[0];
    for (unsigned i = 0; i < 200; i++) { /* 18 or 19 in any ten seconds */
        world.now_ms += 550;
        result(&world, peer, NULL, i % 2 ? MG_TRIED_RESET : MG_TRIED_ANSWERED, 200);
    }
    assert_int_equal(state_of(&world, peer), MG_HEALTH_HEALTHY);
    end(&world);
}

static void one_probe_at_a_time_brings_a_target_back(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *bad = &world.group->peers[0];
    fail_times(&world, bad, 5);
    world.now_ms += 5001;
    struct mg_pick asked = {.hash = 1};
    assert_ptr_equal(pick(&world, &asked), bad);
    assert_true(asked.probe);
    world.now_ms += 1;
    assert_int_equal(picks_of(&world, bad, 100), 0);
    /* a result of before says nothing */
    result(&world, bad, &(struct mg_pick){.epoch = 0}, MG_TRIED_ANSWERED, 200);
    assert_int_equal(state_of(&world, bad), MG_HEALTH_PROBING);
    result(&world, bad, &asked, MG_TRIED_ANSWERED, 200);
    assert_int_equal(state_of(&world, bad), MG_HEALTH_RAMP);
    end(&world);
}

static void a_probe_that_fails_doubles_the_time(void **state)
{
    (void)state;
    static const uint64_t times[] = {5000, 10000, 20000, 40000, 60000, 60000};
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *bad = &world.group->peers[0];
    fail_times(&world, bad, 5);
    for (unsigned i = 0; i < 6; i++) {
        assert_in_range(world.last.ms, times[i] - 1, times[i] + 1);
        world.now_ms += world.last.ms - 1;
        assert_int_equal(picks_of(&world, bad, 10), 0);
        world.now_ms += 2;
        struct mg_pick asked = {.hash = 1};
        assert_ptr_equal(pick(&world, &asked), bad);
        result(&world, bad, &asked, MG_TRIED_ANSWERED, 500);
        assert_int_equal(world.last.reason, MG_EJECT_PROBE_FAILED);
    }
    end(&world);
}

static void a_probe_without_an_end_is_given_out_again(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *bad = &world.group->peers[0];
    fail_times(&world, bad, 5);
    world.now_ms += 5001;
    struct mg_pick first = {.hash = 1}, second = {.hash = 1}, third = {.hash = 1};
    assert_ptr_equal(pick(&world, &first), bad);
    result(&world, bad, &first, MG_TRIED_NOTHING, 0); /* its client has left */
    assert_ptr_equal(pick(&world, &second), bad);
    assert_true(second.probe);
    world.now_ms += 9999; /* its worker has died */
    assert_int_equal(picks_of(&world, bad, 10), 0);
    world.now_ms += 2;
    assert_ptr_equal(pick(&world, &third), bad);
    assert_true(third.probe);
    end(&world);
}

static void the_share_of_one_that_is_back_rises(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    begin(&world);
    struct mg_peer *bad = &world.group->peers[0];
    fail_times(&world, bad, 5);
    world.now_ms += 5001;
    struct mg_pick asked = {.hash = 1};
    assert_ptr_equal(pick(&world, &asked), bad);
    result(&world, bad, &asked, MG_TRIED_ANSWERED, 200);
    unsigned before = 0;
    for (unsigned i = 0; i < 10; i++) {
        const unsigned share = picks_of(&world, bad, 1000);
        assert_true(share > before);
        assert_in_range(share, (10 + 9 * i) * 5 - 30, (10 + 9 * i) * 5 + 30);
        before = share;
        world.now_ms += 1000;
    }
    assert_int_equal(picks_of(&world, bad, 1000), 500);
    assert_int_equal(state_of(&world, bad), MG_HEALTH_HEALTHY);
    end(&world);
}

static void no_more_than_half_are_ejected(void **state)
{
    (void)state;
    static const unsigned most[] = {0, 0, 1, 1, 2, 2};
    for (uint32_t targets = 1; targets <= 5; targets++) {
        struct world world;
        make_world(&world, targets, MG_BALANCE_ROUND_ROBIN);
        begin(&world);
        unsigned out = 0;
        for (uint32_t i = 0; i < targets; i++) {
            fail_times(&world, &world.group->peers[i], 40);
            out += state_of(&world, &world.group->peers[i]) == MG_HEALTH_EJECTED;
        }
        assert_int_equal(out, most[targets]);
        end(&world);
    }
}

static void b7_one_target_always_stays(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 3, MG_BALANCE_ROUND_ROBIN);
    world.upstream->settings.outlier.max_eject_percent = 100;
    world.upstream->passive = (struct mg_health_rule){.tcp_failures = 1};
    begin(&world);
    for (uint32_t i = 0; i < 3; i++) {
        fail_times(&world, &world.group->peers[i], 50);
    }
    assert_int_equal(state_of(&world, &world.group->peers[0]), MG_HEALTH_EJECTED);
    assert_int_equal(state_of(&world, &world.group->peers[1]), MG_HEALTH_EJECTED);
    assert_int_equal(picks_of(&world, &world.group->peers[2], 10), 10);
    end(&world);
}

static void b7_with_too_few_healthy_ones_all_are_used(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 4, MG_BALANCE_ROUND_ROBIN);
    world.upstream->settings.outlier.max_eject_percent = 100;
    begin(&world);
    for (uint32_t i = 0; i < 3; i++) {
        fail_times(&world, &world.group->peers[i], 5);
        assert_int_equal(picks_of(&world, &world.group->peers[0], 40), i < 2 ? 0 : 10);
    }
    world.now_ms += 5001; /* and a probe brings one back all the same */
    struct mg_pick asked = {.hash = 1};
    struct mg_peer *peer = pick(&world, &asked);
    assert_true(asked.probe);
    result(&world, peer, &asked, MG_TRIED_ANSWERED, 200);
    assert_int_equal(state_of(&world, peer), MG_HEALTH_RAMP);
    world.now_ms += 1;
    while (pick(&world, &asked) && asked.probe) { /* the other two */
    }
    assert_int_equal(picks_of(&world, peer, 100) + picks_of(&world, &world.group->peers[3], 100),
                     100);
    end(&world);
}

static void below_the_threshold_nothing_is_sent(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 4, MG_BALANCE_ROUND_ROBIN);
    world.upstream->threshold = 60000;
    begin(&world);
    fail_times(&world, &world.group->peers[0], 5);
    world.now_ms++;
    assert_non_null(pick_one(&world)); /* 75 % */
    fail_times(&world, &world.group->peers[1], 5);
    world.now_ms++;
    assert_null(pick_one(&world)); /* 50 % */
    world.now_ms += 5000;
    struct mg_pick asked = {.hash = 1};
    struct mg_peer *peer = pick(&world, &asked); /* but probes are */
    assert_non_null(peer);
    assert_true(asked.probe);
    result(&world, peer, &asked, MG_TRIED_ANSWERED, 200);
    world.now_ms++;
    assert_non_null(pick_one(&world));
    end(&world);
}

static void passive_checks_count_kinds_of_failures_by_themselves(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    world.upstream->settings.outlier.consecutive = 0;
    world.upstream->settings.outlier.failure_percent = 0;
    world.upstream->passive =
        (struct mg_health_rule){.http_failures = 3, .timeouts = 2, .tcp_failures = 2};
    world.upstream->passive.unhealthy[418 / 64] |= UINT64_C(1) << 418 % 64;
    world.upstream->passive.healthy[200 / 64] |= UINT64_C(1) << 200 % 64;
    begin(&world);
    struct mg_peer *peer = &world.group->peers[0];
    const struct {
        enum mg_try_result what;
        uint16_t status;
    } row[] = {{MG_TRIED_ANSWERED, 418}, {MG_TRIED_ANSWERED, 418}, {MG_TRIED_ANSWERED, 200},
               {MG_TRIED_ANSWERED, 418}, {MG_TRIED_ANSWERED, 418}, {MG_TRIED_ANSWERED, 500},
               {MG_TRIED_TIMEOUT, 0},    {MG_TRIED_RESET, 0}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        result(&world, peer, NULL, row[i].what, row[i].status);
        assert_int_equal(state_of(&world, peer), MG_HEALTH_HEALTHY);
    }
    result(&world, peer, NULL, MG_TRIED_ANSWERED, 418);
    assert_int_equal(state_of(&world, peer), MG_HEALTH_EJECTED);
    assert_int_equal(world.last.reason, MG_EJECT_PASSIVE);
    end(&world);
}

static void active_checks_take_out_and_bring_back(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    world.upstream->active =
        (struct mg_health_rule){.http_failures = 2, .timeouts = 1, .successes = 2};
    world.upstream->active.unhealthy[500 / 64] |= UINT64_C(1) << 500 % 64;
    world.upstream->active.healthy[200 / 64] |= UINT64_C(1) << 200 % 64;
    begin(&world);
    struct mg_peer *peer = &world.group->peers[0];
    struct mg_health_result check = {.what = MG_TRIED_ANSWERED, .status = 500};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(state_of(&world, peer), MG_HEALTH_HEALTHY);
        check.now_ms = ++world.now_ms;
        mg_health_checked(world.group, peer, &check, &world.last);
    }
    assert_int_equal(state_of(&world, peer), MG_HEALTH_DOWN);
    assert_int_equal(picks_of(&world, peer, 20), 0);
    world.now_ms += 3600000; /* no time brings it back */
    assert_int_equal(picks_of(&world, peer, 20), 0);
    check.status = 200;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(state_of(&world, peer), MG_HEALTH_DOWN);
        check.now_ms = ++world.now_ms;
        mg_health_checked(world.group, peer, &check, &world.last);
    }
    assert_int_equal(state_of(&world, peer), MG_HEALTH_RAMP);
    assert_int_equal(peer->record->checks[0], 2);
    assert_int_equal(peer->record->checks[1], 2);
    end(&world);
}

static void every_algorithm_passes_over_a_target_that_is_out(void **state)
{
    (void)state;
    for (unsigned algorithm = MG_BALANCE_ROUND_ROBIN; algorithm <= MG_BALANCE_LATENCY;
         algorithm++) {
        struct world world;
        make_world(&world, 3, (enum mg_balance)algorithm);
        begin(&world);
        fail_times(&world, &world.group->peers[1], 5);
        unsigned counts[3] = {0};
        for (uint64_t i = 0; i < 300; i++) {
            struct mg_pick asked = {.hash = i * 7919 * 65537};
            counts[pick(&world, &asked)->index]++;
        }
        assert_int_equal(counts[1], 0);
        assert_true(counts[0] > 60 && counts[2] > 60);
        end(&world);
    }
}

static void the_one_with_the_lower_latency_gets_more(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 3, MG_BALANCE_LATENCY);
    begin(&world);
    static const uint64_t latency_us[] = {1000, 1000, 20000};
    unsigned counts[3] = {0};
    for (unsigned i = 0; i < 3000; i++) {
        world.now_ms += 10;
        struct mg_peer *peer = pick_one(&world);
        counts[peer->index]++;
        mg_balance_latency(world.group, peer, latency_us[peer->index], world.now_ms);
    }
    assert_true(counts[0] > 900 && counts[1] > 900);
    assert_in_range(counts[2], 1, 300); /* asked again, now and then */
    end(&world);
}

static void a_target_with_all_its_connections_gets_nothing(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 2, MG_BALANCE_ROUND_ROBIN);
    world.upstream->settings.limits.target_connections = 2;
    begin(&world);
    for (unsigned i = 0; i < 4; i++) {
        mg_peer_begin(world.group, pick_one(&world));
    }
    struct mg_pick asked = {.hash = 1};
    assert_null(pick(&world, &asked));
    assert_true(asked.is_full);
    mg_peer_end(world.group, &world.group->peers[1]);
    assert_ptr_equal(pick(&world, &asked), &world.group->peers[1]);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_take_a_target_out),
        cmocka_unit_test(half_of_twenty_results_in_ten_seconds_take_a_target_out),
        cmocka_unit_test(results_older_than_ten_seconds_do_not_count),
        cmocka_unit_test(one_probe_at_a_time_brings_a_target_back),
        cmocka_unit_test(a_probe_that_fails_doubles_the_time),
        cmocka_unit_test(a_probe_without_an_end_is_given_out_again),
        cmocka_unit_test(the_share_of_one_that_is_back_rises),
        cmocka_unit_test(no_more_than_half_are_ejected),
        cmocka_unit_test(b7_one_target_always_stays),
        cmocka_unit_test(b7_with_too_few_healthy_ones_all_are_used),
        cmocka_unit_test(below_the_threshold_nothing_is_sent),
        cmocka_unit_test(passive_checks_count_kinds_of_failures_by_themselves),
        cmocka_unit_test(active_checks_take_out_and_bring_back),
        cmocka_unit_test(every_algorithm_passes_over_a_target_that_is_out),
        cmocka_unit_test(the_one_with_the_lower_latency_gets_more),
        cmocka_unit_test(a_target_with_all_its_connections_gets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
