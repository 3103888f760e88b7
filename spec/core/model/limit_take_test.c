/* SPDX-License-Identifier: Apache-2.0 */
/* model/limit: the decision in shared memory, by real processes at once, alive and killed. */
#include "model/limit.h"

#include "base/shm.h"
#include "support/workers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000250)
#define WORKERS 5
#define HOUR 3600000

/* What tests and their processes share besides the region. */
struct board {
    struct mg_shm *shm;
    struct mg_limit limits[MG_LIMITS_AT_ONCE];
    unsigned limit_count;
    unsigned keys, tries;            /* of each worker */
    uint32_t admitted[WORKERS][256]; /* by key */
    uint64_t inside; /* held now, a byte for each worker: one load sees all at one moment */
    uint32_t most_inside, go;
    uint64_t done[WORKERS]; /* admissions that the worker has seen */
};

static int setup(void **state)
{
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(board, MAP_FAILED);
    assert_int_equal(mg_shm_create(16 << 20, WORKERS, &board->shm), 0);
    *state = board;
    return 0;
}

static int teardown(void **state)
{
    struct board *board = *state;
    mg_shm_close(board->shm);
    munmap(board, sizeof *board);
    return 0;
}

static struct mg_limit *add_limit(struct board *board, enum mg_limit_algorithm algorithm,
                                  int64_t quota)
{
    struct mg_limit *limit = &board->limits[board->limit_count];
    *limit = (struct mg_limit){.rule = {.algorithm = algorithm,
                                        .align_first = true,
                                        .quota = quota,
                                        .window_ms = HOUR,
                                        .burst = quota},
                               .max_keys = 4096};
    char identity[64];
    snprintf(identity, sizeof identity, "limit %u %d", board->limit_count, algorithm);
    assert_int_equal(mg_limit_open(board->shm, limit, mg_str_from(identity), MG_STR("n"), NOW), 0);
    board->limit_count++;
    return limit;
}

static struct mg_limit_ask ask_for(struct board *board, struct mg_limit *limit, unsigned key)
{
    char text[32];
    snprintf(text, sizeof text, "key %u", key);
    return (struct mg_limit_ask){
        .limit = limit, .key = mg_limit_key(board->shm, limit, mg_str_from(text)), .cost = 1};
}

static bool decide(struct board *board, uint32_t worker, int64_t now, unsigned network,
                   const struct mg_limit_ask *asks, unsigned count, struct mg_limit_answer *answers)
{
    const struct mg_limit_request request = {
        .worker = worker, .now_ms = now, .network = (uint8_t)network, .asks = asks, .count = count};
    return mg_limits_take(board->shm, &request, answers).admitted;
}

/* One request against all limits of the board, with that key; its network goes with it. */
static bool take(struct board *board, uint32_t worker, int64_t now, unsigned key,
                 struct mg_limit_answer *answers)
{
    struct mg_limit_ask asks[MG_LIMITS_AT_ONCE];
    for (unsigned i = 0; i < board->limit_count; i++) {
        asks[i] = ask_for(board, &board->limits[i], key);
    }
    return decide(board, worker, now, key, asks, board->limit_count, answers);
}

/* --- several limits ------------------------------------------------------------------------- */

static void nothing_is_charged_when_one_limit_denies(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_SLIDING_WINDOW, 100);
    add_limit(board, MG_LIMIT_TOKEN_BUCKET, 3);
    add_limit(board, MG_LIMIT_CONCURRENCY, 50);
    struct mg_limit_answer answers[3];
    for (int i = 0; i < 3; i++) {
        assert_true(take(board, 0, NOW, 1, answers));
        assert_int_equal(answers[0].remaining, 99 - i);
        assert_int_equal(answers[1].remaining, 2 - i);
        assert_int_equal(answers[2].remaining, 49 - i);
        assert_true(answers[2].hold != 0);
    }
    for (int i = 0; i < 1000; i++) {
        assert_false(take(board, 0, NOW, 1, answers));
        assert_true(answers[0].ok);
        assert_false(answers[1].ok);
        assert_int_equal(answers[0].remaining, 97);
        assert_int_equal(answers[1].retry_ms, HOUR / 3);
        assert_int_equal(answers[2].remaining, 47);
        assert_int_equal(answers[2].hold, 0);
    }
    assert_int_equal(mg_holds_count(board->shm, 0), 3);
}

static void a_shadow_limit_counts_and_never_decides(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 10);
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 2)->shadow = true;
    struct mg_limit_answer answers[2];
    for (int i = 0; i < 10; i++) {
        assert_true(take(board, 0, NOW, 1, answers));
        assert_int_equal(answers[1].ok, i < 2);
        assert_int_equal(answers[1].remaining, i < 2 ? 1 - i : 0); /* not charged when it denies */
    }
    assert_false(take(board, 0, NOW, 1, answers));
}

static void keys_do_not_share_a_count(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_GCRA, 1);
    struct mg_limit_answer answer;
    for (unsigned key = 0; key < 1000; key++) {
        assert_true(take(board, 0, NOW, key, &answer));
        assert_false(answer.overflow);
    }
    for (unsigned key = 0; key < 1000; key++) {
        assert_false(take(board, 0, NOW, key, &answer));
    }
}

static void an_edit_of_the_quota_keeps_the_count(void **state)
{
    struct board *board = *state;
    struct mg_limit *limit = add_limit(board, MG_LIMIT_SLIDING_WINDOW, 10);
    struct mg_limit_answer answer;
    for (int i = 0; i < 4; i++) {
        assert_true(take(board, 0, NOW, 1, &answer));
    }
    limit->rule.quota = 3;
    assert_false(take(board, 0, NOW, 1, &answer));
    assert_int_equal(answer.remaining, 0);
    limit->rule.quota = 6;
    assert_true(take(board, 0, NOW, 1, &answer));
    assert_int_equal(answer.remaining, 1);
}

/* --- exactly N of M -------------------------------------------------------------------------- */

static bool hammer(void *context, uint32_t worker)
{
    struct board *board = context;
    while (!__atomic_load_n(&board->go, __ATOMIC_ACQUIRE)) {
    }
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    for (unsigned i = 0; i < board->tries; i++) {
        for (unsigned key = 0; key < board->keys; key++) {
            board->admitted[worker][key] += take(board, worker, NOW, key, answers);
        }
    }
    return true;
}

static void run_hammers(struct board *board)
{
    struct workers workers;
    board->go = 0;
    workers_start(&workers, WORKERS, hammer, board);
    __atomic_store_n(&board->go, 1, __ATOMIC_RELEASE);
    assert_true(workers_wait(&workers));
}

static void r1_exactly_the_quota_passes_for_every_algorithm(void **state)
{
    struct board *board = *state;
    for (int algorithm = 0; algorithm < MG_LIMIT_ALGORITHMS; algorithm++) {
        memset(board->admitted, 0, sizeof board->admitted);
        board->limit_count = 0;
        struct mg_limit *limit = add_limit(board, (enum mg_limit_algorithm)algorithm, 100);
        if (algorithm == MG_LIMIT_LEAKY_BUCKET) { /* one goes on at once and 99 wait */
            limit->rule.quota = 1000000;
            limit->rule.burst = 99;
            limit->rule.max_delay_ms = MG_LIMIT_DELAY_MAX_MS;
        }
        board->keys = 100;  /* so many runs in a row ... */
        board->tries = 200; /* ... of 5 x 200 = 1,000 requests at limit 100 */
        run_hammers(board);
        for (unsigned key = 0; key < board->keys; key++) {
            uint32_t sum = 0;
            for (int worker = 0; worker < WORKERS; worker++) {
                sum += board->admitted[worker][key];
            }
            assert_int_equal(sum, 100);
        }
        for (uint32_t worker = 0; worker < WORKERS; worker++) {
            mg_shm_worker_died(board->shm, worker); /* they kept their slots */
        }
    }
}

static void crossing_limits_neither_lock_up_nor_leak_a_charge(void **state)
{
    struct board *board = *state;
    for (int i = 0; i < MG_LIMITS_AT_ONCE; i++) {
        add_limit(board, (enum mg_limit_algorithm)(i % 4), i == 9 ? 100 : 101 + i);
    }
    board->keys = 20;
    board->tries = 50;
    run_hammers(board);
    struct mg_limit_answer answers[MG_LIMITS_AT_ONCE];
    for (unsigned key = 0; key < board->keys; key++) {
        assert_false(take(board, 0, NOW, key, answers));
        for (int i = 0; i < MG_LIMITS_AT_ONCE; i++) {
            assert_int_equal(answers[i].remaining, i == 9 ? 0 : 1 + i);
        }
    }
}

/* --- concurrency, and death ------------------------------------------------------------------ */

static uint32_t all_inside(uint64_t word)
{
    uint32_t sum = 0;
    for (; word != 0; word >>= 8) {
        sum += word & 0xff;
    }
    return sum;
}

/* Goes in and out until told to stop; others see it inside only while it is. */
static bool come_and_go(void *context, uint32_t worker)
{
    struct board *board = context;
    const uint64_t one = UINT64_C(1) << 8 * worker;
    uint32_t held[4];
    unsigned count = 0;
    while (!__atomic_load_n(&board->go, __ATOMIC_ACQUIRE)) {
        struct mg_limit_answer answer;
        if (count < 4 && take(board, worker, NOW, 1, &answer)) {
            held[count++] = answer.hold;
            const uint32_t seen =
                all_inside(__atomic_add_fetch(&board->inside, one, __ATOMIC_SEQ_CST));
            if (seen > __atomic_load_n(&board->most_inside, __ATOMIC_SEQ_CST)) {
                __atomic_store_n(&board->most_inside, seen, __ATOMIC_SEQ_CST);
            }
        } else if (count > 0) {
            __atomic_sub_fetch(&board->inside, one, __ATOMIC_SEQ_CST);
            mg_limit_release(board->shm, worker, held[--count]);
        }
        board->done[worker]++;
    }
    while (count > 0) {
        __atomic_sub_fetch(&board->inside, one, __ATOMIC_SEQ_CST);
        mg_limit_release(board->shm, worker, held[--count]);
    }
    return true;
}

static void short_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000 + rand() % 400000}, NULL);
}

static void r5_killed_workers_give_all_their_slots_back(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_CONCURRENCY, 7);
    struct workers workers;
    workers_start(&workers, WORKERS, come_and_go, board);
    for (int kill = 0; kill < 200; kill++) {
        short_pause(); /* to have them killed anywhere */
        const unsigned victim = (unsigned)rand() % WORKERS;
        workers_kill(&workers, victim);
        __atomic_and_fetch(&board->inside, ~(UINT64_C(0xff) << 8 * victim), __ATOMIC_SEQ_CST);
        mg_shm_worker_died(board->shm, victim);
        workers_start_one(&workers, victim, come_and_go, board);
    }
    __atomic_store_n(&board->go, 1, __ATOMIC_RELEASE);
    assert_true(workers_wait(&workers));
    assert_in_range(board->most_inside, 2, 7); /* was used, was never over */
    struct mg_limit_answer answer;
    assert_true(take(board, 0, NOW, 1, &answer));
    assert_int_equal(answer.remaining, 6); /* nothing was left behind */
    for (uint32_t worker = 1; worker < WORKERS; worker++) {
        assert_int_equal(mg_holds_count(board->shm, worker), 0);
    }
}

/* Counts what it was told it may. A kill between decision and count hides one admission. */
static bool consume(void *context, uint32_t worker)
{
    struct board *board = context;
    struct mg_limit_answer answer;
    while (!__atomic_load_n(&board->go, __ATOMIC_ACQUIRE)) {
        board->done[worker] += take(board, worker, NOW, 1, &answer);
    }
    return true;
}

static void r5_a_kill_costs_at_most_one_charge(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_SLIDING_WINDOW, 500000000);
    enum { KILLS = 150 };
    struct workers workers;
    workers_start(&workers, WORKERS, consume, board);
    for (int kill = 0; kill < KILLS; kill++) {
        short_pause();
        const unsigned victim = (unsigned)rand() % WORKERS;
        workers_kill(&workers, victim);
        mg_shm_worker_died(board->shm, victim);
        workers_start_one(&workers, victim, consume, board);
    }
    __atomic_store_n(&board->go, 1, __ATOMIC_RELEASE);
    assert_true(workers_wait(&workers));
    uint64_t counted = 0;
    for (int i = 0; i < WORKERS; i++) {
        counted += board->done[i];
    }
    struct mg_limit_answer answer;
    assert_true(take(board, 0, NOW, 1, &answer));
    const uint64_t charged = (uint64_t)(500000000 - 1 - answer.remaining);
    assert_true(charged >= counted);
    assert_true(charged - counted <= KILLS);
    assert_true(counted > KILLS);
}

static void a_full_ledger_denies_instead_of_forgetting(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_CONCURRENCY, MG_LIMIT_QUOTA_MAX);
    struct mg_shm_room room;
    mg_shm_room(board->shm, &room);
    struct mg_limit_answer answer;
    for (uint32_t i = 0; i < room.holds; i++) {
        assert_true(take(board, 0, NOW, 1, &answer));
    }
    assert_false(take(board, 0, NOW, 1, &answer));
    assert_true(take(board, 1, NOW, 1, &answer)); /* another's ledger has room */
    assert_int_equal(mg_shm_worker_died(board->shm, 0), room.holds);
    assert_true(take(board, 0, NOW, 1, &answer));
    assert_int_equal(answer.remaining, MG_LIMIT_QUOTA_MAX - 2);
}

/* --- bounded keys ---------------------------------------------------------------------------- */

static void keys_beyond_max_keys_share_the_overflow_bucket_of_their_class(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 2)->max_keys = 1024;
    assert_int_equal(
        mg_limit_open(board->shm, &board->limits[0], MG_STR("small"), MG_STR("small"), NOW), 0);
    struct mg_limit_answer answer;
    for (unsigned key = 0; key < 1024; key++) {
        assert_true(take(board, 0, NOW, key, &answer));
        assert_false(answer.overflow);
    }
    unsigned admitted = 0;
    for (unsigned key = 2000; key < 12000; key++) {
        admitted += take(board, 0, NOW, key, &answer);
        assert_true(answer.overflow);
    }
    assert_int_equal(admitted, 2 * MG_LIMIT_OVERFLOW_FACTOR * MG_NETWORKS);
    for (unsigned key = 0; key < 1024; key++) { /* the keys that were first keep exact counts */
        assert_true(take(board, 0, NOW, key, &answer));
        assert_false(take(board, 0, NOW, key, &answer));
        assert_false(answer.overflow);
    }
    struct mg_limit_record record;
    assert_true(mg_limit_record_read(board->shm, board->limits[0].record, &record));
    assert_int_equal(record.live, 1024);
    assert_int_equal(record.overflowed, 10000);
    assert_string_equal(record.name, "small");
}

static void expired_keys_make_room_within_a_sweep(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 1)->max_keys = 1024;
    assert_int_equal(
        mg_limit_open(board->shm, &board->limits[0], MG_STR("small"), MG_STR("small"), NOW), 0);
    struct mg_limit_answer answer;
    for (unsigned key = 0; key < 1024; key++) {
        assert_true(take(board, 0, NOW, key, &answer));
    }
    const int64_t later = NOW + HOUR;
    for (int tick = 0; tick < 8; tick++) { /* 2 s of ticks */
        mg_shm_tick(board->shm, 1000, later);
    }
    for (unsigned key = 5000; key < 5000 + 1024; key++) {
        assert_true(take(board, 0, later, key, &answer));
        assert_false(answer.overflow);
    }
}

static void a_denied_new_key_takes_no_cell(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 10);
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 1);
    struct mg_limit_answer answers[2];
    struct mg_limit_ask asks[2];
    for (unsigned key = 0; key < 100; key++) {
        asks[0] = ask_for(board, &board->limits[0], key);
        asks[1] = ask_for(board, &board->limits[1], 7); /* the same for all */
        assert_int_equal(decide(board, 0, NOW, key, asks, 2, answers), key == 0);
    }
    struct mg_limit_record record;
    assert_true(mg_limit_record_read(board->shm, board->limits[0].record, &record));
    assert_int_equal(record.live, 1);
}

static void a_record_long_unused_is_given_to_another_limit(void **state)
{
    struct board *board = *state;
    struct mg_limit *first = add_limit(board, MG_LIMIT_FIXED_WINDOW, 5);
    struct mg_shm_room room;
    mg_shm_room(board->shm, &room);
    struct mg_limit other = *first;
    for (uint32_t i = 1; i < room.limits; i++) {
        char identity[32];
        snprintf(identity, sizeof identity, "other %u", i);
        assert_int_equal(mg_limit_open(board->shm, &other, mg_str_from(identity), MG_STR("o"), NOW),
                         0);
    }
    assert_int_equal(mg_limit_open(board->shm, &other, MG_STR("late"), MG_STR("l"), NOW), MG_EFULL);
    const int64_t later = NOW + 2 * HOUR;
    assert_int_equal(mg_limit_open(board->shm, &other, MG_STR("late"), MG_STR("l"), later), 0);
    assert_int_equal(other.record, first->record);
    struct mg_limit_answer answer;
    assert_true(take(board, 0, later, 1, &answer)); /* takes another record and goes on */
    assert_int_not_equal(first->record, other.record);
}

/* --- the wall clock -------------------------------------------------------------------------- */

static void a_clock_set_back_costs_at_most_one_window(void **state)
{
    struct board *board = *state;
    add_limit(board, MG_LIMIT_FIXED_WINDOW, 1)->rule.align_first = false;
    add_limit(board, MG_LIMIT_CONCURRENCY, 2);
    struct mg_limit_answer answers[2];
    const int64_t day = 24 * HOUR;
    mg_shm_tick(board->shm, 0, NOW + day); /* a day ahead */
    assert_true(take(board, 0, mg_shm_now_ms(board->shm, 0), 1, answers));
    for (uint64_t ms = 1000; ms <= 61000; ms += 250) {
        mg_shm_tick(board->shm, ms, NOW + (int64_t)ms);
    }
    const int64_t now = mg_shm_now_ms(board->shm, 61000);
    assert_int_equal(now, NOW + 61000);
    assert_true(take(board, 0, now, 1, answers)); /* not locked out for a day */
    assert_int_equal(answers[1].remaining, 0);    /* what is in flight still counts */
    assert_false(take(board, 0, now, 1, answers));
}

/* --- the usual case -------------------------------------------------------------------------- */

static uint32_t draw(uint32_t below)
{
    static uint64_t seed = 1;
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % below;
}

static void expect_same_answer(const struct mg_limit_answer *a, const struct mg_limit_answer *b)
{
    assert_int_equal(a->ok, b->ok);
    assert_int_equal(a->too_big, b->too_big);
    assert_int_equal(a->overflow, b->overflow);
    assert_int_equal(a->charged, b->charged);
    assert_int_equal(a->quota, b->quota);
    assert_int_equal(a->remaining, b->remaining);
    assert_int_equal(a->reset_ms, b->reset_ms);
    assert_int_equal(a->retry_ms, b->retry_ms);
    assert_int_equal(a->delay_ms, b->delay_ms);
    assert_int_equal(a->charged_in, b->charged_in);
}

/* The same requests in two regions: by one way only, and by the other where it can. */
static void what_is_decided_of_a_known_key_is_the_same(void **state)
{
    struct board *board = *state;
    struct board *other;
    assert_int_equal(setup((void **)&other), 0);
    for (int i = 0; i < MG_LIMIT_ALGORITHMS; i++) {
        add_limit(board, (enum mg_limit_algorithm)i, 40)->rule.max_delay_ms = 5000;
        *add_limit(other, (enum mg_limit_algorithm)i, 40) = board->limits[i];
        other->limits[i].record = (uint32_t)-1; /* of its own region */
    }
    unsigned known = 0, denied = 0;
    int64_t now = NOW;
    for (unsigned round = 0; round < 40000; round++) {
        const unsigned which = draw(MG_LIMIT_ALGORITHMS), key = draw(7);
        struct mg_limit_answer answer, other_answer;
        struct mg_limit_ask ask = ask_for(board, &board->limits[which], key);
        struct mg_limit_ask other_ask = ask_for(other, &other->limits[which], key);
        ask.cost = other_ask.cost = draw(4);
        now += draw(400) ? draw(5000) : 2 * HOUR;
        const bool admitted = decide(board, 0, now, key, &ask, 1, &answer);
        if (mg_limits_take_known(other->shm, &other_ask, now, &other_answer)) {
            assert_true(admitted);
            known++;
        } else {
            assert_int_equal(decide(other, 0, now, key, &other_ask, 1, &other_answer), admitted);
        }
        expect_same_answer(&answer, &other_answer);
        denied += !admitted;
        if (answer.hold != 0) {
            mg_limit_release(board->shm, 0, answer.hold);
            mg_limit_release(other->shm, 0, other_answer.hold);
        }
    }
    assert_in_range(known, 5000, 30000);
    assert_in_range(denied, 1000, 30000);
    assert_int_equal(teardown((void **)&other), 0);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(what_is_decided_of_a_known_key_is_the_same),
        WITH_BOARD(nothing_is_charged_when_one_limit_denies),
        WITH_BOARD(a_shadow_limit_counts_and_never_decides),
        WITH_BOARD(keys_do_not_share_a_count),
        WITH_BOARD(an_edit_of_the_quota_keeps_the_count),
        WITH_BOARD(r1_exactly_the_quota_passes_for_every_algorithm),
        WITH_BOARD(crossing_limits_neither_lock_up_nor_leak_a_charge),
        WITH_BOARD(r5_killed_workers_give_all_their_slots_back),
        WITH_BOARD(r5_a_kill_costs_at_most_one_charge),
        WITH_BOARD(a_full_ledger_denies_instead_of_forgetting),
        WITH_BOARD(keys_beyond_max_keys_share_the_overflow_bucket_of_their_class),
        WITH_BOARD(expired_keys_make_room_within_a_sweep),
        WITH_BOARD(a_denied_new_key_takes_no_cell),
        WITH_BOARD(a_record_long_unused_is_given_to_another_limit),
        WITH_BOARD(a_clock_set_back_costs_at_most_one_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
