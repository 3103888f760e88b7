/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a request ended as it did: a closed list of words, used by logs, counters and tests alike.
 */
#pragma once

#include "base/str.h"

#include <stdbool.h>

/* id, word */
#define MG_OUTCOME_MAP(X)                                                                          \
    X(OK, "ok")                                                                                    \
    X(UPGRADED, "upgraded")                                                                        \
    X(BAD_REQUEST, "bad_request")                                                                  \
    X(HEADER_TIMEOUT, "header_timeout")                                                            \
    X(BODY_TIMEOUT, "body_timeout")                                                                \
    X(TOO_LARGE, "too_large")                                                                      \
    X(CLIENT_ABORT_REQUEST, "client_abort_request")                                                \
    X(CLIENT_ABORT, "client_abort")                                                                \
    X(CLIENT_STALLED, "client_stalled")                                                            \
    X(NO_ROUTE, "no_route")                                                                        \
    X(HTTPS_REQUIRED, "https_required")                                                            \
    X(NO_SERVICE, "no_service")                                                                    \
    X(LIMITED, "limited")                                                                          \
    X(BANNED, "banned")                                                                            \
    X(STORE_DENIED, "store_denied")                                                                \
    X(BREAKER_OPEN, "breaker_open")                                                                \
    X(PROBE_TIMEOUT, "probe_timeout")                                                              \
    X(AUTH_DENIED, "auth_denied")                                                                  \
    X(ACCESS_DENIED, "access_denied")                                                              \
    X(PLUGIN_ANSWER, "plugin_answer")                                                              \
    X(PLUGIN_ERROR, "plugin_error")                                                                \
    X(PLUGIN_LIMIT, "plugin_limit")                                                                \
    X(SHED, "shed")                                                                                \
    X(DRAINING, "draining")                                                                        \
    X(DEADLINE, "deadline")                                                                        \
    X(UPSTREAM_NO_TARGET, "upstream_no_target")                                                    \
    X(UPSTREAM_FULL, "upstream_full")                                                              \
    X(UPSTREAM_DNS, "upstream_dns")                                                                \
    X(UPSTREAM_REFUSED, "upstream_refused")                                                        \
    X(UPSTREAM_RESET, "upstream_reset")                                                            \
    X(UPSTREAM_BAD_RESPONSE, "upstream_bad_response")                                              \
    X(UPSTREAM_TOO_LARGE, "upstream_too_large")                                                    \
    X(UPSTREAM_CONNECT_TIMEOUT, "upstream_connect_timeout")                                        \
    X(UPSTREAM_TIMEOUT, "upstream_timeout")                                                        \
    X(UPSTREAM_BODY_RESET, "upstream_body_reset")                                                  \
    X(UPSTREAM_BODY_TIMEOUT, "upstream_body_timeout")                                              \
    X(INTERNAL, "internal")                                                                        \
    X(WORKER_DIED, "worker_died")

enum mg_outcome {
#define MG_OUTCOME_ENUM(id, word) MG_OUTCOME_##id,
    MG_OUTCOME_MAP(MG_OUTCOME_ENUM)
#undef MG_OUTCOME_ENUM
        MG_OUTCOME_COUNT
};

/* "upstream_refused"; static. */
const char *mg_outcome_word(enum mg_outcome outcome);
/* The same, with its length. */
mg_str mg_outcome_text(enum mg_outcome outcome);
/* Did a policy say no? */
bool mg_outcome_is_denial(enum mg_outcome outcome);
/* The outcome with that word, or MG_OUTCOME_COUNT. */
enum mg_outcome mg_outcome_of(const char *word, unsigned length);
