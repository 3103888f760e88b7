/* SPDX-License-Identifier: Apache-2.0 */
/* Health of targets and the budget of retries, counted by real processes in shared memory: what all
 * of them together must never do. */
#include "base/shm.h"
#include "model/balance.h"
#include "model/retry.h"
#include "support/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include <cmocka.h>

#define MIB (1024 * 1024)
#define WORKERS 4
#define TARGETS 4
#define ROUNDS 20000

struct board { /* shared by the processes, which count in places of their own */
    struct mg_shm *shm;
    struct mg_config *config;
    uint64_t taken[WORKERS], changes[WORKERS], probes[WORKERS];
};

static struct mg_peers *open_peers(const struct board *board)
{
    const struct mg_upstream_opening opening = {.shm = board->shm, .generation = 1, .now_ms = 1};
    return mg_peers_new(board->config, &opening);
}

static int make_board(void **state)
{
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(board != MAP_FAILED);
    assert_int_equal(mg_shm_create(8 * MIB, WORKERS, &board->shm), 0);
    struct mg_config *config = board->config = mg_config_new();
    struct mg_upstream_config *upstream = mg_arena_zalloc(&config->arena, sizeof *upstream);
    config->upstreams = upstream;
    config->upstream_count = 1;
    upstream->name = MG_STR("u");
    upstream->target_count = TARGETS;
    upstream->targets = mg_arena_zalloc(&config->arena, TARGETS * sizeof *upstream->targets);
    for (uint32_t i = 0; i < TARGETS; i++) {
        upstream->targets[i] = (struct mg_target){
            .host = mg_arena_format(&config->arena, "t%u", i), .port = 80, .weight = 1};
    }
    upstream->settings.retry = mg_retry_usual();
    upstream->settings.outlier = (struct mg_outlier){.consecutive = 5,
                                                     .max_eject_percent = 50,
                                                     .panic_percent = 30,
                                                     .open_factor = 1,
                                                     .open_base = 1000,
                                                     .open_max = 1000,
                                                     .ramp = 1000};
    *state = board;
    return 0;
}

static int free_board(void **state)
{
    struct board *board = *state;
    mg_config_free(board->config);
    mg_shm_close(board->shm);
    munmap(board, sizeof *board);
    return 0;
}

/* Takes as many retries as there are, at one and the same moment. */
static bool spend_all(void *context, uint32_t worker)
{
    struct board *board = context;
    struct mg_peers *peers = open_peers(board);
    struct mg_upstream_record *record = mg_peers_group(peers, 0)->record;
    for (unsigned i = 0; i < ROUNDS; i++) {
        mg_retry_first(record);
        board->taken[worker] += mg_retry_take(record, 1000000);
    }
    mg_peers_free(peers);
    return true;
}

static void the_budget_is_one_for_all_workers(void **state)
{
    struct board *board = *state;
    struct workers workers;
    workers_start(&workers, WORKERS, spend_all, board);
    assert_true(workers_wait(&workers));
    uint64_t taken = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        taken += board->taken[i];
    }
    /* a full bucket, and 20 % of the first tries; all but what came too late to be taken */
    assert_in_range(taken, WORKERS * ROUNDS / 5, 30 + WORKERS * ROUNDS / 5);
}

static uint32_t count_out(const struct mg_peer_group *group)
{
    uint32_t out = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        uint64_t left_ms;
        const enum mg_health_state health =
            mg_health_state(group->peers[i].record, 1000000, &left_ms);
        out += health != MG_HEALTH_HEALTHY && health != MG_HEALTH_RAMP;
    }
    return out;
}

/* All targets fail, always. */
static bool fail_all(void *context, uint32_t worker)
{
    struct board *board = context;
    struct mg_peers *peers = open_peers(board);
    struct mg_peer_group *group = mg_peers_group(peers, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct mg_health_change change;
        struct mg_peer *peer = &group->peers[(i + worker) % TARGETS];
        const struct mg_health_result result = {
            .what = MG_TRIED_CONNECT, .epoch = mg_health_epoch(peer), .now_ms = 1000000};
        mg_health_result(group, peer, &result, &change);
        board->changes[worker] += change.happened;
    }
    mg_peers_free(peers);
    return true;
}

static void all_workers_together_eject_no_more_than_half(void **state)
{
    struct board *board = *state;
    struct workers workers;
    workers_start(&workers, WORKERS, fail_all, board);
    assert_true(workers_wait(&workers));
    struct mg_peers *peers = open_peers(board);
    struct mg_peer_group *group = mg_peers_group(peers, 0);
    assert_int_equal(count_out(group), TARGETS / 2);
    uint64_t changes = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        changes += board->changes[i];
    }
    assert_int_equal(changes, group->record->ejections[MG_EJECT_CONSECUTIVE]);
    assert_int_equal(changes, TARGETS / 2);
    mg_peers_free(peers);
}

/* After the time out of the target that is out, each asks once. */
static bool ask_for_probe(void *context, uint32_t worker)
{
    struct board *board = context;
    struct mg_peers *peers = open_peers(board);
    struct mg_peer_group *group = mg_peers_group(peers, 0);
    for (unsigned i = 0; i < 100; i++) {
        struct mg_pick pick = {.hash = i, .now_ms = 1002000 + i / 10};
        board->probes[worker] += mg_balance_pick(group, &pick) && pick.probe;
    }
    mg_peers_free(peers);
    return true;
}

static void one_worker_gets_the_probe(void **state)
{
    struct board *board = *state;
    struct mg_peers *peers = open_peers(board);
    struct mg_peer_group *group = mg_peers_group(peers, 0);
    for (unsigned i = 0; i < 5; i++) {
        struct mg_health_change change;
        const struct mg_health_result result = {.what = MG_TRIED_CONNECT, .now_ms = 1000000};
        mg_health_result(group, &group->peers[1], &result, &change);
    }
    assert_int_equal(count_out(group), 1);
    struct workers workers;
    workers_start(&workers, WORKERS, ask_for_probe, board);
    assert_true(workers_wait(&workers));
    uint64_t probes = 0;
    for (unsigned i = 0; i < WORKERS; i++) {
        probes += board->probes[i];
    }
    assert_int_equal(probes, 1);
    mg_peers_free(peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_budget_is_one_for_all_workers, make_board, free_board),
        cmocka_unit_test_setup_teardown(all_workers_together_eject_no_more_than_half, make_board,
                                        free_board),
        cmocka_unit_test_setup_teardown(one_worker_gets_the_probe, make_board, free_board),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
