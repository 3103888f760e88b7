/* SPDX-License-Identifier: Apache-2.0 */
/* Balancing: shares, smoothness, stability, and what happens to targets already tried. */
#include "model/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MOST 80

static struct mg_peer *pick(struct mg_peer_group *group, uint64_t hash, uint64_t tried)
{
    struct mg_pick pick = {.hash = hash, .tried = tried};
    return mg_balance_pick(group, &pick);
}

/* A config with one upstream "u" of count targets "t0", "t1", ... */
static struct mg_config *new_config(enum mg_balance algorithm, const uint32_t *weights,
                                    uint32_t count)
{
    struct mg_config *config = mg_config_new();
    struct mg_arena *arena = &config->arena;
    config->upstreams = mg_arena_zalloc(arena, sizeof *config->upstreams);
    config->upstream_count = 1;
    struct mg_upstream_config *upstream = config->upstreams;
    upstream->name = MG_STR("u");
    upstream->algorithm = algorithm;
    upstream->slots = 10000;
    upstream->target_count = count;
    upstream->targets = mg_arena_zalloc(arena, (count + 1) * sizeof *upstream->targets);
    for (uint32_t i = 0; i < count; i++) {
        upstream->targets[i].host = mg_arena_format(arena, "t%u", i);
        upstream->targets[i].port = 8000;
        upstream->targets[i].weight = weights ? weights[i] : 100;
    }
    return config;
}

static struct mg_peer_group *only_group(struct mg_peers *peers)
{
    return mg_peers_group(peers, 0);
}

static void groups_are_services_of_their_own_and_upstreams(void **state)
{
    (void)state;
    struct mg_config *config = new_config(MG_BALANCE_ROUND_ROBIN, NULL, 2);
    struct mg_service services[3] = {
        {.host = MG_STR("a.example"), .port = 81},
        {.host = MG_STR("u"), .upstream = config->upstreams},
        {.host = MG_STR("unix:/run/b.sock")},
    };
    config->services = services;
    config->service_count = 3;
    struct mg_peers *peers = mg_peers_new(config, NULL);
    assert_int_equal(mg_peers_group_count(peers), 3);
    const struct mg_peer_group *first = mg_peers_group(peers, services[0].group);
    assert_int_equal(first->count, 1);
    assert_null(first->upstream);
    assert_true(mg_str_equal(first->peers[0].target->host, MG_STR("a.example")));
    assert_int_equal(first->peers[0].target->port, 81);
    assert_ptr_equal(mg_peers_group(peers, services[1].group)->upstream, config->upstreams);
    assert_ptr_equal(mg_peers_find(peers, MG_STR("u")), mg_peers_group(peers, services[1].group));
    assert_null(mg_peers_find(peers, MG_STR("a.example")));
    assert_true(mg_str_equal(mg_peers_group(peers, services[2].group)->peers[0].target->host,
                             MG_STR("unix:/run/b.sock")));
    struct mg_peer_group *own = mg_peers_group(peers, services[0].group);
    assert_ptr_equal(pick(own, 0, 0), own->peers);
    assert_ptr_equal(pick(own, 0, 1), own->peers); /* tried, but there is no other */
    mg_peers_free(peers);
    mg_peers_free(NULL);
    mg_config_free(config);
}

static void round_robin_is_weighted_and_smooth(void **state)
{
    (void)state;
    static const uint32_t weights[] = {5, 1, 1};
    struct mg_config *config = new_config(MG_BALANCE_ROUND_ROBIN, weights, 3);
    struct mg_peers *peers = mg_peers_new(config, NULL);
    char order[15] = {0};
    for (int i = 0; i < 14; i++) {
        order[i] = (char)('a' + pick(only_group(peers), 0, 0)->index);
    }
    assert_string_equal(order, "aabacaaaabacaa");
    mg_peers_free(peers);
    mg_config_free(config);
}

static void targets_without_weight_are_never_picked(void **state)
{
    (void)state;
    static const uint32_t weights[] = {0, 7, 0};
    static const enum mg_balance all[] = {MG_BALANCE_ROUND_ROBIN, MG_BALANCE_LEAST_CONNECTIONS,
                                          MG_BALANCE_CONSISTENT_HASH};
    for (size_t i = 0; i < 3; i++) {
        struct mg_config *config = new_config(all[i], weights, 3);
        struct mg_peers *peers = mg_peers_new(config, NULL);
        for (uint64_t hash = 0; hash < 100; hash++) {
            assert_int_equal(pick(only_group(peers), hash, hash % 8)->index, 1);
        }
        mg_peers_free(peers);
        config->upstreams[0].targets[1].weight = 0;
        peers = mg_peers_new(config, NULL);
        assert_null(pick(only_group(peers), 1, 0));
        assert_null(pick(only_group(peers), 1, 7));
        mg_peers_free(peers);
        config->upstreams[0].target_count = 0;
        peers = mg_peers_new(config, NULL);
        assert_null(pick(only_group(peers), 1, 0));
        mg_peers_free(peers);
        mg_config_free(config);
    }
}

static void least_connections_takes_the_one_with_least_load_for_its_weight(void **state)
{
    (void)state;
    static const uint32_t weights[] = {10, 20, 10};
    struct mg_config *config = new_config(MG_BALANCE_LEAST_CONNECTIONS, weights, 3);
    struct mg_peers *peers = mg_peers_new(config, NULL);
    struct mg_peer_group *group = only_group(peers);
    for (int i = 0; i < 40; i++) {
        mg_peer_begin(group, pick(group, 0, 0));
    }
    assert_int_equal(group->peers[0].inflight, 10);
    assert_int_equal(group->peers[1].inflight, 20);
    assert_int_equal(group->peers[2].inflight, 10);
    assert_int_equal(group->inflight, 40);
    mg_peer_end(group, &group->peers[2]);
    assert_ptr_equal(pick(group, 0, 0), &group->peers[2]);
    mg_peers_free(peers);
    mg_config_free(config);
}

static void an_idle_least_connections_group_still_turns(void **state)
{
    (void)state;
    struct mg_config *config = new_config(MG_BALANCE_LEAST_CONNECTIONS, NULL, 3);
    struct mg_peers *peers = mg_peers_new(config, NULL);
    unsigned count[3] = {0};
    for (int i = 0; i < 30; i++) {
        count[pick(only_group(peers), 0, 0)->index]++;
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count[i], 10);
    }
    mg_peers_free(peers);
    mg_config_free(config);
}

static void a_tried_target_is_left_for_last(void **state)
{
    (void)state;
    static const enum mg_balance all[] = {MG_BALANCE_ROUND_ROBIN, MG_BALANCE_LEAST_CONNECTIONS,
                                          MG_BALANCE_CONSISTENT_HASH};
    for (size_t i = 0; i < 3; i++) {
        struct mg_config *config = new_config(all[i], NULL, 4);
        struct mg_peers *peers = mg_peers_new(config, NULL);
        for (uint64_t hash = 0; hash < 200; hash++) {
            uint64_t tried = 0;
            for (int picks = 0; picks < 4; picks++) {
                const struct mg_peer *peer = pick(only_group(peers), hash * 977, tried);
                assert_int_equal(tried >> peer->index & 1, 0);
                tried |= 1ULL << peer->index;
            }
            assert_int_equal(tried, 15);
            assert_non_null(pick(only_group(peers), hash, tried));
        }
        mg_peers_free(peers);
        mg_config_free(config);
    }
}

static void more_than_64_targets_share_bits_of_tried(void **state)
{
    (void)state;
    struct mg_config *config = new_config(MG_BALANCE_ROUND_ROBIN, NULL, MOST);
    struct mg_peers *peers = mg_peers_new(config, NULL);
    const struct mg_peer *peer = pick(only_group(peers), 0, ~(1ULL << 3));
    assert_int_equal(peer->index % 64, 3);
    assert_non_null(pick(only_group(peers), 0, UINT64_MAX));
    mg_peers_free(peers);
    mg_config_free(config);
}

static void a_hash_goes_to_shares_by_weight(void **state)
{
    (void)state;
    static const uint32_t weights[] = {100, 200, 100, 400};
    struct mg_config *config = new_config(MG_BALANCE_CONSISTENT_HASH, weights, 4);
    struct mg_peers *peers = mg_peers_new(config, NULL);
    unsigned count[4] = {0};
    for (uint64_t hash = 0; hash < 10000; hash++) {
        count[pick(only_group(peers), hash, 0)->index]++;
    }
    for (int i = 0; i < 4; i++) {
        const double wanted = 10000.0 * weights[i] / 800;
        assert_true(count[i] > wanted * 0.9 && count[i] < wanted * 1.1);
    }
    mg_peers_free(peers);
    mg_config_free(config);
}

/* Which target each slot goes to, by name, when target gone is left out. */
static void map_slots(uint32_t gone, mg_str owners[10000], struct mg_arena *arena)
{
    static const uint32_t weights[] = {100, 50, 300, 100, 100};
    struct mg_config *config = new_config(MG_BALANCE_CONSISTENT_HASH, weights, 5);
    struct mg_upstream_config *upstream = config->upstreams;
    for (uint32_t i = gone; i + 1 < upstream->target_count; i++) {
        upstream->targets[i] = upstream->targets[i + 1];
    }
    upstream->target_count -= gone < 5;
    struct mg_peers *peers = mg_peers_new(config, NULL);
    for (uint64_t hash = 0; hash < 10000; hash++) {
        const struct mg_peer *peer = pick(only_group(peers), hash, 0);
        owners[hash] = mg_arena_copy_str(arena, peer->target->host);
    }
    mg_peers_free(peers);
    mg_config_free(config);
}

static void removing_a_target_moves_only_its_own_slots(void **state)
{
    (void)state;
    static mg_str before[10000], after[10000];
    struct mg_arena arena;
    mg_arena_init(&arena, 65536);
    map_slots(99, before, &arena);
    for (uint32_t gone = 0; gone < 5; gone++) {
        char name[4];
        snprintf(name, sizeof name, "t%u", gone);
        map_slots(gone, after, &arena);
        unsigned moved = 0;
        for (int i = 0; i < 10000; i++) {
            if (mg_str_equal(before[i], mg_str_from(name))) {
                moved++;
            } else {
                assert_true(mg_str_equal(before[i], after[i]));
            }
        }
        assert_true(moved > 0);
    }
    mg_arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_services_of_their_own_and_upstreams),
        cmocka_unit_test(round_robin_is_weighted_and_smooth),
        cmocka_unit_test(targets_without_weight_are_never_picked),
        cmocka_unit_test(least_connections_takes_the_one_with_least_load_for_its_weight),
        cmocka_unit_test(an_idle_least_connections_group_still_turns),
        cmocka_unit_test(a_tried_target_is_left_for_last),
        cmocka_unit_test(more_than_64_targets_share_bits_of_tried),
        cmocka_unit_test(a_hash_goes_to_shares_by_weight),
        cmocka_unit_test(removing_a_target_moves_only_its_own_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
