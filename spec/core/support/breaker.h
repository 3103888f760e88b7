/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A breaker in a shared region, for its tests: opened as "upstream:orders" with the plugin's
 * defaults but without jitter, at a time that tests move.
 *
 *     cmocka_unit_test_setup_teardown(test, board_setup, board_teardown)
 *     struct board *board = *state;
 *     requests(board, 5, MG_RESULT_FAILURE);
 */
#pragma once

#include "base/shm.h"
#include "model/breaker.h"
#include "model/breaker_view.h"
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

#include <cmocka.h>

#define START INT64_C(1700000000000)
#define WORKERS 5

static const struct mg_breaker_rule defaults = {.window_ms = 10000,
                                                .buckets = 10,
                                                .window_calls = 100,
                                                .min_requests = 20,
                                                .failure_share = MG_BREAKER_SHARE(50),
                                                .consecutive = 5,
                                                .open_base_ms = 5000,
                                                .open_max_ms = 60000,
                                                .open_factor = 2000,
                                                .open_jitter = 0,
                                                .probes = 3,
                                                .probe_results = 5,
                                                .probe_good = MG_BREAKER_SHARE(60)};

struct board {
    struct mg_shm *shm;
    struct mg_breaker breaker;
    int64_t now;
    struct mg_breaker_change change; /* the last */
    /* for processes */
    uint32_t go, most_inside;
    uint64_t inside; /* a byte for each worker */
    uint64_t changes[WORKERS];
};

static inline int board_setup(void **state)
{
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(board, MAP_FAILED);
    assert_int_equal(mg_shm_create(16 << 20, WORKERS, &board->shm), 0);
    board->breaker.rule = defaults;
    board->now = START;
    assert_int_equal(mg_breaker_open(board->shm, &board->breaker, MG_STR("upstream:orders"), START),
                     0);
    *state = board;
    return 0;
}

static inline int board_teardown(void **state)
{
    struct board *board = *state;
    mg_shm_close(board->shm);
    munmap(board, sizeof *board);
    return 0;
}

static inline bool ask(struct board *board, struct mg_breaker_pass *pass)
{
    return mg_breaker_ask(&board->breaker, 0, board->now, pass, &board->change);
}

static inline void tell(struct board *board, struct mg_breaker_pass *pass,
                        enum mg_breaker_result result)
{
    const struct mg_breaker_told told = {.result = result, .random = 0x80000000U};
    mg_breaker_result(&board->breaker, 0, board->now, pass, &told, &board->change);
}

/* One request with that result; it has to be admitted. */
static inline void request(struct board *board, enum mg_breaker_result result)
{
    struct mg_breaker_pass pass;
    assert_true(ask(board, &pass));
    tell(board, &pass, result);
}

static inline void requests(struct board *board, int count, enum mg_breaker_result result)
{
    for (int i = 0; i < count; i++) {
        request(board, result);
    }
}

static inline void assert_change(const struct board *board, enum mg_breaker_state from,
                                 enum mg_breaker_state to, enum mg_breaker_reason reason)
{
    assert_true(board->change.happened);
    assert_int_equal(board->change.from, from);
    assert_int_equal(board->change.to, to);
    assert_int_equal(board->change.reason, reason);
}

static inline struct mg_breaker_view view(struct board *board)
{
    struct mg_breaker_view found;
    assert_true(mg_breaker_view(board->shm, board->breaker.record, board->now, &found));
    return found;
}

static inline void open_it(struct board *board)
{
    requests(board, 5, MG_RESULT_FAILURE);
    assert_change(board, MG_BREAKER_CLOSED, MG_BREAKER_OPEN, MG_BREAKER_CONSECUTIVE);
}
