/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error codes. A function that can fail returns int: 0, or a negative code.
 * libuv's codes (errno values, small negatives) pass through unchanged; ours lie below MG_ERR_BASE.
 * Only flow/fail.c turns a code into an HTTP status.
 *
 *     int err = mg_uri_canonical(...);
 *     if (err) {
 *         log("...: %s", mg_err_text(err));
 *     }
 */
#pragma once

#include <stdint.h>

#define MG_NODISCARD __attribute__((warn_unused_result))

#define MG_ERR_BASE (-20000)

/* name, number below the base, text. From 20 on: why a client's message is refused; from 40 on:
 * what an upstream did. */
#define MG_ERR_MAP(X)                                                                              \
    X(NO_MEMORY, 1, "out of memory or over a cap")                                                 \
    X(AGAIN, 2, "more bytes are needed")                                                           \
    X(CANCELLED, 3, "cancelled")                                                                   \
    X(CLOSED, 4, "closed by the peer")                                                             \
    X(TIMEOUT, 5, "timed out")                                                                     \
    X(FULL, 6, "full")                                                                             \
    X(NOT_FOUND, 7, "not found")                                                                   \
    X(INVALID, 8, "invalid argument")                                                              \
    X(UNSUPPORTED, 9, "not supported")                                                             \
    X(SYNTAX, 20, "malformed message")                                                             \
    X(LINE_TOO_LONG, 21, "request line too long")                                                  \
    X(HEAD_TOO_LARGE, 22, "head too large")                                                        \
    X(BODY_TOO_LARGE, 23, "body too large")                                                        \
    X(VERSION, 24, "HTTP version not supported")                                                   \
    X(METHOD, 25, "method not implemented")                                                        \
    X(HOST, 26, "missing or bad Host")                                                             \
    X(FRAMING, 27, "bad or ambiguous message length")                                              \
    X(CODING, 28, "transfer coding not implemented")                                               \
    X(EXPECT, 29, "unknown expectation")                                                           \
    X(TARGET, 30, "bad request target")                                                            \
    X(CHUNK, 31, "bad chunk")                                                                      \
    X(TRAILER, 32, "bad trailer")                                                                  \
    X(LOOP, 33, "request loop")                                                                    \
    X(HEAD_TIMEOUT, 34, "head not complete in time")                                               \
    X(BODY_TIMEOUT, 35, "body not complete in time")                                               \
    X(BAD_RESPONSE, 40, "upstream sent a malformed answer")                                        \
    X(RESPONSE_TOO_LARGE, 41, "upstream answer too large")                                         \
    X(SHORT_BODY, 42, "body ended early")                                                          \
    X(DNS, 43, "name could not be resolved")                                                       \
    X(NO_TARGET, 44, "no target available")                                                        \
    X(TLS, 50, "no trust in the peer: TLS failed")                                                 \
    X(LUA, 60, "Lua error")                                                                        \
    X(LUA_LIMIT, 61, "plugin limit reached")

enum mg_err {
#define MG_ERR_ENUM(name, number, text) MG_E##name = MG_ERR_BASE - (number),
    MG_ERR_MAP(MG_ERR_ENUM)
#undef MG_ERR_ENUM
};

/* Text of one of our codes, or strerror's text of a system code. Static, never NULL. */
const char *mg_err_text(int err);
/* Name of one of our codes, "HEAD_TOO_LARGE", or NULL. Static. */
const char *mg_err_name(int err);

/* A bug if false: always on, fatal, prints the place. Never on a peer's bytes. */
#define mg_require(condition)                                                                      \
    ((condition) ? (void)0 : mg_require_failed(#condition, __FILE__, __LINE__))

void mg_require_failed(const char *condition, const char *file, int line)
    __attribute__((noreturn, cold));
