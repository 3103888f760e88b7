/* SPDX-License-Identifier: Apache-2.0 */
/* model/breaker: one breaker asked by real processes, alive and killed. */
#include "support/breaker.h"

static int64_t real_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint32_t all_inside(uint64_t word)
{
    uint32_t sum = 0;
    for (; word != 0; word >>= 8) {
        sum += word & 0xff;
    }
    return sum;
}

/* Asks and tells at once; probes fail or not by turns, so that the breaker keeps moving. */
static bool send_requests(void *context, uint32_t worker)
{
    struct board *board = context;
    const uint64_t one = UINT64_C(1) << 8 * worker;
    struct mg_breaker breaker = board->breaker;
    for (unsigned i = worker; !__atomic_load_n(&board->go, __ATOMIC_ACQUIRE); i++) {
        struct mg_breaker_pass pass;
        struct mg_breaker_change change;
        const bool admitted = mg_breaker_ask(&breaker, worker, real_ms(), &pass, &change);
        board->changes[worker] += change.happened;
        const bool probe = admitted && pass.probe;
        if (probe) {
            const uint32_t seen =
                all_inside(__atomic_add_fetch(&board->inside, one, __ATOMIC_SEQ_CST));
            if (seen > __atomic_load_n(&board->most_inside, __ATOMIC_SEQ_CST)) {
                __atomic_store_n(&board->most_inside, seen, __ATOMIC_SEQ_CST);
            }
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
            __atomic_sub_fetch(&board->inside, one, __ATOMIC_SEQ_CST);
        }
        const bool fail = i % 400 < 200;
        const struct mg_breaker_told told = {.result = fail ? MG_RESULT_FAILURE : MG_RESULT_SUCCESS,
                                             .random = i * 2654435761U};
        mg_breaker_result(&breaker, worker, real_ms(), &pass, &told, &change);
        board->changes[worker] += change.happened;
    }
    return true;
}

static void begin_processes(struct board *board, uint32_t probes)
{
    board->breaker.rule.open_base_ms = board->breaker.rule.open_max_ms = 100;
    board->breaker.rule.probes = probes;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, MG_STR("many"), real_ms()), 0);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static void one_caller_in_all_workers_is_told_of_a_transition(void **state)
{
    struct board *board = *state;
    begin_processes(board, 2);
    struct workers workers;
    workers_start(&workers, WORKERS, send_requests, board);
    for (int i = 0; i < 200 && view(board).epoch < 12; i++) {
        pause_ms(20); /* until it has gone round a few times */
    }
    __atomic_store_n(&board->go, 1, __ATOMIC_RELEASE);
    assert_true(workers_wait(&workers));
    uint64_t changes = 0;
    for (int i = 0; i < WORKERS; i++) {
        changes += board->changes[i];
    }
    assert_true(changes >= 12);
    assert_int_equal(changes, view(board).epoch);
    assert_in_range(board->most_inside, 1, 2);
    assert_int_equal(view(board).probes, 0);
}

/* Takes probes and never gives them back. */
static bool hang(void *context, uint32_t worker)
{
    struct board *board = context;
    while (!__atomic_load_n(&board->go, __ATOMIC_ACQUIRE)) {
        struct mg_breaker_pass pass;
        struct mg_breaker_change change;
        if (mg_breaker_ask(&board->breaker, worker, board->now, &pass, &change)) {
            __atomic_add_fetch(&board->changes[worker], 1, __ATOMIC_SEQ_CST);
        }
    }
    return true;
}

static void probes_of_a_killed_worker_are_given_back(void **state)
{
    struct board *board = *state;
    open_it(board);
    board->now += 5000;
    struct workers workers;
    workers_start(&workers, 1, hang, board);
    while (__atomic_load_n(&board->changes[0], __ATOMIC_SEQ_CST) < 3) {
        pause_ms(1);
    }
    struct mg_breaker_pass pass;
    struct mg_breaker_change change;
    assert_false(mg_breaker_ask(&board->breaker, 1, board->now, &pass, &change));
    workers_kill(&workers, 0);
    assert_int_equal(mg_shm_worker_died(board->shm, 0), 3);
    assert_int_equal(view(board).probes, 0);
    assert_true(mg_breaker_ask(&board->breaker, 1, board->now, &pass, &change));
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(one_caller_in_all_workers_is_told_of_a_transition),
        WITH_BOARD(probes_of_a_killed_worker_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
