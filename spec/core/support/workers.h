/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real processes for tests of shared memory.
 *
 *     struct workers workers;
 *     workers_start(&workers, 4, hammer, shm);      // fork()s; each runs hammer(shm, index), exits
 *     workers_kill(&workers, 2);                    // SIGKILL, and waits
 *     assert_true(workers_wait(&workers));          // all the others exited with 0
 *
 * A child must not use cmocka's assertions: it returns true when all went well.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WORKERS_MAX 16

struct workers {
    pid_t pids[WORKERS_MAX]; /* 0 = ended and waited for */
    unsigned count;
};

typedef bool worker_fn(void *context, uint32_t index);

void workers_start(struct workers *workers, unsigned count, worker_fn *fn, void *context);
/* Starts one more in that place. */
void workers_start_one(struct workers *workers, unsigned index, worker_fn *fn, void *context);
void workers_kill(struct workers *workers, unsigned index);
/* Waits for that one: true = it returned true; false = it was killed or failed. */
bool workers_wait_one(struct workers *workers, unsigned index);
bool workers_wait(struct workers *workers);
