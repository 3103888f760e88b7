/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker process: one loop, one current generation, the connections. It obeys the messages of
 * the master (channel.h) and dies with it.
 *
 *   build generation -> listen -> READY -> (PREPARE, BUILT, SWITCH, SWITCHED)* -> DRAIN -> exit 0
 */
#pragma once

#include "base/log.h"
#include "base/shm.h"
#include "listeners.h"
#include "paths.h"
#include "script/bundle.h"

#include <sys/types.h>

struct mg_user { /* whom the workers run as; name empty = as the master */
    char name[64];
    uid_t uid;
    gid_t gid;
};

struct mg_worker_parts { /* all borrowed, in the memory that the fork copied */
    const struct mg_paths *paths;
    struct mg_log *log;
    struct mg_shm *shm;
    const struct mg_bundle *bundle; /* of the generation to begin with */
    uint64_t generation;
    const struct mg_listeners *listeners; /* this worker's own are open */
    int status_fd;                        /* -1 = none; shared with the other workers */
    bool status_is_unix;
    const struct mg_user *user;
    uint32_t index, workers;
    int channel;
    pid_t master;
};

/* To be called in the forked child with the master's signal mask already undone. Returns the exit
 * code: 0 after a drain or a cut, 78 when the first generation could not be built (the master was
 * told why), 1 when something else failed. */
int mg_worker_run(const struct mg_worker_parts *parts);
