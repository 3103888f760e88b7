/* SPDX-License-Identifier: Apache-2.0 */
/* fork, kill and wait, for tests. */
#include "support/workers.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void workers_start_one(struct workers *workers, unsigned index, worker_fn *fn, void *context)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid < 0) {
        abort();
    }
    if (pid == 0) {
        _exit(fn(context, index) ? 0 : 1);
    }
    workers->pids[index] = pid;
}

void workers_start(struct workers *workers, unsigned count, worker_fn *fn, void *context)
{
    *workers = (struct workers){.count = count};
    for (unsigned i = 0; i < count; i++) {
        workers_start_one(workers, i, fn, context);
    }
}

void workers_kill(struct workers *workers, unsigned index)
{
    kill(workers->pids[index], SIGKILL);
    workers_wait_one(workers, index);
}

bool workers_wait_one(struct workers *workers, unsigned index)
{
    const pid_t pid = workers->pids[index];
    if (pid == 0) {
        return true;
    }
    workers->pids[index] = 0;
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) {
        abort();
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool workers_wait(struct workers *workers)
{
    bool all = true;
    for (unsigned i = 0; i < workers->count; i++) {
        all &= workers_wait_one(workers, i);
    }
    return all;
}
