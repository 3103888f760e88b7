/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Circuit breakers as the master sees them. It makes the record of each breaker that the
 * configuration names, so that people can see and switch it before the first request, and drops
 * those that are named no more. `moongate breaker` is answered here; a change by hand is one word
 * in shared memory, which every worker reads when it next asks, and one line in the error log.
 *
 *     arguments   text|json TAB list
 *                 text|json TAB ACTION TAB MILLISECONDS TAB NAME TAB REASON
 */
#pragma once

#include "master_state.h"

/* After the start, and when all workers serve another generation. */
void mg_breakers_follow(struct mg_master *master, uint64_t now_ms);
/* The control socket's verb `breaker`: replies. */
void mg_breakers_answer(struct mg_master *master, struct mg_control_client *client,
                        mg_str arguments, uint64_t now_ms);
