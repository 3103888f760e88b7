/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers by hand: the master's control socket tells what to do, and every worker finds
 * the new state when it next asks.
 *
 *     struct mg_breaker_change change;
 *     int err = mg_breaker_by_hand(shm, MG_STR("upstream:orders"), MG_BREAKER_HAND_OPEN, 0, now_ms,
 *                                  &change);
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "model/breaker_change.h"

enum mg_breaker_hand {
    MG_BREAKER_HAND_OPEN,   /* nothing passes */
    MG_BREAKER_HAND_CLOSED, /* everything passes */
    MG_BREAKER_HAND_AUTO,   /* FORCED_*: CLOSED with an empty window; else nothing changes */
    /* CLOSED with an empty window, no openings in a row; keys are forgotten */
    MG_BREAKER_HAND_RESET,
};

/* The action that is called "force-open", "force-closed", "auto" or "reset"; false: none is. */
bool mg_breaker_hand_of(mg_str word, enum mg_breaker_hand *hand);
/* Does it. for_ms: of the forced states, 0 = without end. change->happened: false where there is
 * nothing to change. MG_ENOT_FOUND: there is no breaker of that name. */
MG_NODISCARD int mg_breaker_by_hand(struct mg_shm *shm, mg_str name, enum mg_breaker_hand hand,
                                    int64_t for_ms, int64_t now_ms,
                                    struct mg_breaker_change *change);
/* The next change by hand that no worker has told its plugins of, if there is one: one caller in
 * all workers gets it. */
bool mg_breaker_heard(struct mg_breaker_record *record, struct mg_breaker_event *event);
