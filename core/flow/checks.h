/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Active health checks of the targets of one generation (model/health.h says what comes of them).
 * One worker of the host runs them, the one that has the lease in shared memory; the others look
 * every half second whether it has been given up, or is over since its owner died. Without an
 * upstream that asks for checks nothing runs.
 *
 *     struct mg_checks *checks = mg_checks_open(&parts);
 *     mg_checks_use(checks, peers);       // of the current generation; again after each reload
 *     mg_checks_use(checks, NULL);        // no more
 *     mg_checks_close(checks);
 */
#pragma once

#include "flow/context.h"

struct mg_checks *mg_checks_open(const struct mg_server_parts *parts);
/* Checks that are under way for other peers end without a result. peers stay valid until the next
 * call. */
void mg_checks_use(struct mg_checks *checks, struct mg_peers *peers);
void mg_checks_close(struct mg_checks *checks);
