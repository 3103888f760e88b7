/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master's table of workers: one seat for each index, with the process that sits there now, its
 * channel, and what is needed to replace it.
 *
 *   EMPTY --mg_seats_fill--> STARTING --READY--> SERVING --death--> EMPTY (respawn at respawn_ms)
 *
 * A dead worker is replaced at once. One that died before or within 1 s of READY counts as a crash
 * loop's step: after 5 of them in 10 s the replacement waits 1 s, then 2 s, up to 30 s.
 */
#pragma once

#include "base/err.h"
#include "base/log.h"
#include "base/shm.h"

#include <stdbool.h>
#include <sys/types.h>

#define MG_SEAT_EARLY_DEATHS 5

enum mg_seat_state { MG_SEAT_EMPTY, MG_SEAT_STARTING, MG_SEAT_SERVING };

struct mg_seat {
    enum mg_seat_state state;
    pid_t pid;
    int channel; /* -1 = none */
    uint64_t started_ms, ready_ms;
    uint64_t respawn_ms;                         /* EMPTY: when to fill the seat */
    uint64_t backoff_ms;                         /* of the last wait, 0 = none */
    uint64_t early_deaths[MG_SEAT_EARLY_DEATHS]; /* times, latest first */
    uint32_t restarts;
    uint64_t generation;    /* that it serves */
    uint64_t beat, beat_ms; /* last seen heartbeat, and when it was first seen */
    bool stuck;             /* killed by the watchdog */
    bool built;             /* BUILT for the reload under way */
};

#define MG_CULPRITS 8       /* plugins whose kills are remembered */
#define MG_CULPRIT_KILLS 3  /* so many send a plugin into quarantine (plugin-interface, 4.3) */
#define MG_CULPRIT_MS 10000 /* how long workers are told of it at their start */

struct mg_culprit { /* a plugin that was running when the watchdog killed */
    char plugin[MG_SLOT_TEXT];
    uint32_t kills;    /* since the last quarantine */
    uint64_t until_ms; /* in quarantine, 0 = not */
};

struct mg_seats {
    struct mg_seat *items;
    uint32_t count;
    struct mg_log *log;
    struct mg_shm *shm;
    struct mg_culprit culprits[MG_CULPRITS];
};

void mg_seats_init(struct mg_seats *seats, uint32_t count, struct mg_log *log, struct mg_shm *shm);
void mg_seats_deinit(struct mg_seats *seats);

/* A worker was forked for the seat. */
void mg_seats_fill(struct mg_seats *seats, uint32_t index, pid_t pid, int channel, uint64_t now_ms);
/* It said READY. */
void mg_seats_ready(struct mg_seats *seats, uint32_t index, uint64_t generation, uint64_t now_ms);
/* pid has ended with that wait status: empties its seat, logs how it ended and what it ran, gives
 * back what it held in shared memory, sets respawn_ms. The index, or -1: no worker. wanted: it was
 * told to end, so this is no crash. */
int mg_seats_died(struct mg_seats *seats, pid_t pid, int status, bool wanted, uint64_t now_ms);
/* Kills every worker whose heartbeat has stood still for watchdog_ms outside of the poll call. When
 * a plugin has hung three of them, all workers that serve, and those that start within 10 s, are
 * told not to call it (QUARANTINE). */
void mg_seats_watch(struct mg_seats *seats, uint64_t watchdog_ms, uint64_t now_ms);

uint32_t mg_seats_in(const struct mg_seats *seats, enum mg_seat_state state);
void mg_seats_kill(const struct mg_seats *seats, int signal);
