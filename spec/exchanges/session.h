/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client: sends SESSION_EXCHANGES successive exchanges over one connection after the other,
 * several ahead of their answers, and checks the answers against the plans.
 */
#pragma once

#include "ledger.h"

/* Runs all sessions of the ledger, so many at a time; on_done fires when the last has ended. */
struct sessions;
struct sessions *sessions_start(struct ledger *ledger, uint32_t at_a_time,
                                void (*on_done)(void *context), void *context);
/* After on_done. */
void sessions_free(struct sessions *sessions);
/* Prints where each open one stands, to stderr. */
void sessions_describe(const struct sessions *sessions);
