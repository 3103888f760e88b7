/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of a command: a word for each class of failure, the same in logs, metrics, Lua and
 * here. Not negative codes, since they also number counters.
 *
 *     enum mg_redis_result result = mg_redis_result_of(MG_STR("WRONGTYPE Operation against ..."));
 *     log(mg_redis_result_word(result));        // "wrongtype"
 */
#pragma once

#include "base/str.h"

/* id, word, is the store as a whole ill?, the prefix of replies that mean it (NULL: none) */
#define MG_REDIS_RESULT_MAP(X)                                                                     \
    X(OK, "ok", false, NULL)                                                                       \
    X(TIMEOUT, "timeout", true, NULL) /* no reply in time */                                       \
    X(REFUSED, "refused", true, NULL) /* no connection, or it was lost */                          \
    X(TLS, "tls", true, NULL)         /* no trust: certificate, name, protocol */                  \
    X(AUTH, "auth", false, "NOAUTH")  /* login failed; the user may not do this */                 \
    X(READONLY, "readonly", false, "READONLY")                                                     \
    X(MOVED, "moved", false, "MOVED")                                                              \
    X(ASK, "ask", false, "ASK")                                                                    \
    X(TRYAGAIN, "tryagain", false, "TRYAGAIN")                                                     \
    X(NOSCRIPT, "noscript", false, "NOSCRIPT")                                                     \
    X(OOM, "oom", false, "OOM")                                                                    \
    X(LOADING, "loading", true, "LOADING")                                                         \
    X(BUSY, "busy", true, "BUSY")                                                                  \
    X(CLUSTERDOWN, "clusterdown", true, "CLUSTERDOWN")                                             \
    X(MASTERDOWN, "masterdown", true, "MASTERDOWN")                                                \
    X(WRONGTYPE, "wrongtype", false, "WRONGTYPE")                                                  \
    X(OVERLOAD, "overload", false, NULL) /* max_pending are waiting already */                     \
    X(OPEN, "open", false, NULL)         /* the breaker is open: nobody was asked */               \
    X(PROTOCOL, "protocol", true, NULL)  /* no RESP, or over a cap */                              \
    X(INVALID, "invalid", false, NULL)   /* a command that cannot be sent here */                  \
    X(OTHER, "other", false, NULL)       /* any other error reply */

enum mg_redis_result {
#define MG_REDIS_ENUM(id, word, ill, prefix) MG_REDIS_##id,
    MG_REDIS_RESULT_MAP(MG_REDIS_ENUM)
#undef MG_REDIS_ENUM
        MG_REDIS_RESULT_COUNT
};

/* "timeout"; static. */
const char *mg_redis_result_word(enum mg_redis_result result);
/* Would every command fail like this one, whose error reply has that text? Then it counts for the
 * breaker, as each connection does that cannot be made. What hangs on the command or its keys
 * (NOPERM, OOM, READONLY, WRONGTYPE, a slot that nobody serves) does not: a probe could not see
 * that it is over. */
bool mg_redis_result_is_illness(enum mg_redis_result result, mg_str text);
/* Of the text of an error reply. */
enum mg_redis_result mg_redis_result_of(mg_str error);
