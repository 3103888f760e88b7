/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health of single targets, in shared memory: a target that fails is taken out for a while, then
 * one request at a time finds out whether it is back, and it gets its share again little by little.
 *
 *                failures in a row, share of failures, Kong's passive checks
 *   HEALTHY ───────────────────────────────────────────────────────────────► EJECTED
 *      ▲                                                        time over,  │   ▲
 *      │ ramp over                                              a request   ▼   │ it fails
 *     RAMP ◄──────────────────────────────────────────────────────────── PROBING
 *      ▲            it is answered
 *      └── DOWN ◄── any state, by active checks (and by passive ones, where active ones bring back)
 *
 * Every transition raises the epoch; a result counts only in the epoch that its request was sent
 * in. At least one target of an upstream stays, and no more than max_eject_percent are ejected for
 * their results. When less than panic_percent is healthy, all are used. Times are monotonic ms.
 *
 *     mg_health_look(group, now_ms);                        // fills share of each peer
 *     epoch = mg_health_epoch(peer);                        // when the request is sent
 *     mg_health_result(group, peer, &result, &change);      // what became of it
 */
#pragma once

#include "base/log.h"
#include "model/peer.h"

enum mg_health_state {
    MG_HEALTH_HEALTHY,
    MG_HEALTH_EJECTED,
    MG_HEALTH_PROBING,
    MG_HEALTH_RAMP,
    MG_HEALTH_DOWN,
};

enum mg_eject_reason { /* MG_EJECT_REASONS of them */
                       MG_EJECT_CONSECUTIVE,
                       MG_EJECT_FAILURE_PERCENT,
                       MG_EJECT_PROBE_FAILED,
                       MG_EJECT_PASSIVE,
                       MG_EJECT_ACTIVE,
};

/* What became of one try, or of one check. */
enum mg_try_result {
    MG_TRIED_ANSWERED,  /* status says how */
    MG_TRIED_CONNECT,   /* no connection */
    MG_TRIED_TIMEOUT,   /* none in time, or no answer */
    MG_TRIED_RESET,     /* the connection ended, or what came was no answer */
    MG_TRIED_BODY,      /* answered, but the body broke off */
    MG_TRIED_CONNECTED, /* a check that asks for no more */
    MG_TRIED_NOTHING,   /* nobody waited for the end: no result */
};

struct mg_health_result {
    enum mg_try_result what;
    uint16_t status;
    uint32_t epoch; /* mg_health_epoch when it was sent */
    bool probe;     /* mg_health_claim had given it out */
    uint64_t now_ms;
    uint32_t random; /* any, for the jitter of a time out */
};

struct mg_health_change {
    bool happened;
    enum mg_health_state from, to;
    enum mg_eject_reason reason; /* to EJECTED or DOWN */
    uint64_t ms;                 /* to EJECTED: for how long */
    uint32_t n;                  /* how many times in a row */
};

/* "ejected", "failure_percent"; static. */
const char *mg_health_state_name(enum mg_health_state state);
const char *mg_eject_reason_name(enum mg_eject_reason reason);

/* Brings group and peers up to date, at most once a ms. */
void mg_health_look(struct mg_peer_group *group, uint64_t now_ms);
/* Gives out the one probe that may be under way; false: another has it. */
bool mg_health_claim(struct mg_peer_group *group, struct mg_peer *peer, uint64_t now_ms);
uint32_t mg_health_epoch(const struct mg_peer *peer);
/* Result of a request. */
void mg_health_result(struct mg_peer_group *group, struct mg_peer *peer,
                      const struct mg_health_result *result, struct mg_health_change *change);
/* Result of an active check; epoch and probe are not looked at. */
void mg_health_checked(struct mg_peer_group *group, struct mg_peer *peer,
                       const struct mg_health_result *result, struct mg_health_change *change);
/* A line of the error log about a transition. */
void mg_health_log(struct mg_log *log, const struct mg_peer_group *group,
                   const struct mg_peer *peer, const struct mg_health_change *change);
/* The state at a time, for people: a ramp that is over is HEALTHY. left_ms: until it is tried
 * again, or has its full share. */
enum mg_health_state mg_health_state(const struct mg_target_record *record, uint64_t now_ms,
                                     uint64_t *left_ms);
