/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the master share: the table of workers, the present generation's bundle, the
 * reload under way. master.c owns it; reload.c and report.c work on it.
 */
#pragma once

#include "base/log.h"
#include "base/shm.h"
#include "check.h"
#include "control.h"
#include "listeners.h"
#include "paths.h"
#include "script/bundle.h"
#include "seats.h"
#include "worker.h"

#define MG_REPORT_BYTES (4 * 1024 * 1024) /* longest text about one reload */

enum mg_master_stage {
    MG_STAGE_CHECK, /* the first check runs; nothing is bound yet */
    MG_STAGE_START, /* workers are starting; none of them was ready yet, or not all */
    MG_STAGE_SERVE,
    MG_STAGE_DELAY, /* told to end, still accepting (shutdown.drain_delay) */
    MG_STAGE_DRAIN, /* workers finish what they have */
    MG_STAGE_CUT,   /* they were told to end at once */
};

enum mg_reload_step {
    MG_RELOAD_IDLE,
    MG_RELOAD_CHECK,  /* the checker runs */
    MG_RELOAD_SETTLE, /* until no worker is starting */
    MG_RELOAD_BUILD,  /* all workers build beside the present generation */
    MG_RELOAD_SWITCH, /* all were told to switch */
};

struct mg_reload {
    enum mg_reload_step step;
    struct mg_check check;
    struct mg_bundle bundle; /* of the generation to be */
    bool has_bundle;
    uint64_t run; /* counts reloads; clients await theirs */
    bool again;   /* asked for while one was under way */
    uint64_t deadline_ms;
    uint64_t started_ms;
    struct mg_buf report; /* of the run */
    /* for status */
    int64_t last_wall_ms; /* of the last that ended, 0 = none */
    bool last_failed;
    struct mg_buf last_error;
};

struct mg_master {
    const char *config;         /* as given */
    char config_path[PATH_MAX]; /* absolute */
    struct mg_paths paths;
    struct mg_log *log;
    struct mg_control *control;
    struct mg_shm *shm;
    struct mg_seats seats;
    struct mg_listeners listeners;
    struct mg_listen_address status_address;
    int status_fd; /* -1 = none */
    struct mg_user user;
    struct mg_bundle bundle; /* of the present generation */
    bool has_bundle;
    uint64_t generation;
    struct mg_reload reload;
    enum mg_master_stage stage;
    uint64_t stage_deadline_ms;
    uint64_t started_ms, ready_ms;
    uint64_t flush_ms;           /* when the log's counts are due */
    uint64_t notify_interval_ms; /* of systemd's watchdog, 0 = none */
    uint64_t notify_ms;
    int signal_fd;
    int exit_code;
    bool done;
};

/* In a forked child: closes the master's own descriptors. keep: the index of the worker that the
 * child is to be (its channel is in the caller's hands, its listeners stay open), UINT32_MAX for
 * none. */
void mg_master_forget(struct mg_master *master, uint32_t keep);

static inline const struct mg_plan *mg_master_plan(const struct mg_master *master)
{
    return &master->bundle.plan;
}
