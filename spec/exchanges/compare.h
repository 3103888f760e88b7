/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a head that the gateway has written is the one that was planned: every field that passes,
 * in its order and with its bytes; no field that does not pass; those that the gateway adds with
 * the values they must have. Each returns NULL, or what is wrong, in the plan's arena.
 */
#pragma once

#include "ledger.h"
#include "plan.h"
#include "reader.h"

const char *compare_request(struct plan *plan, const struct head *head,
                            const struct ledger *ledger);
/* The final answer; *stays: the client may go on using its connection. */
const char *compare_response(struct plan *plan, const struct head *head,
                             const struct ledger *ledger, bool *stays);
/* An interim answer that is passed on. */
const char *compare_interim(struct plan *plan, const struct message *interim,
                            const struct head *head);
