/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has happened to each exchange, how often each kind of thing has, and the first failure,
 * which ends the run.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* id, word: the kinds that a run of some length must have met */
#define TALLY_MAP(X)                                                                               \
    X(EXCHANGES, "exchanges")                                                                      \
    X(CLIENT_CONNECTIONS, "client_connections")                                                    \
    X(REUSED, "on_a_used_connection")                                                              \
    X(PIPELINED, "pipelined")                                                                      \
    X(REPEATED, "sent_again_after_a_close")                                                        \
    X(UPSTREAM_CONNECTIONS, "upstream_connections")                                                \
    X(NARROW, "connections_slow_to_read")                                                          \
    X(OLD, "http_1_0_clients")                                                                     \
    X(HEAD, "head")                                                                                \
    X(NO_CONTENT, "status_204")                                                                    \
    X(NOT_MODIFIED, "status_304")                                                                  \
    X(CONTINUED, "continued")                                                                      \
    X(INTERIMS, "interim_answers")                                                                 \
    X(EARLY, "answered_before_the_body")                                                           \
    X(UNSENT, "bodies_not_sent_to_the_end")                                                        \
    X(TRAILERS, "trailers")                                                                        \
    X(UP_LENGTH, "bodies_up_by_length")                                                            \
    X(UP_CHUNKED, "bodies_up_chunked")                                                             \
    X(UPSTREAM_LENGTH, "bodies_down_by_length")                                                    \
    X(UPSTREAM_CHUNKED, "bodies_down_chunked")                                                     \
    X(UPSTREAM_CLOSE, "bodies_down_to_the_close")                                                  \
    X(CLIENT_LENGTH, "bodies_seen_by_length")                                                      \
    X(CLIENT_CHUNKED, "bodies_seen_chunked")                                                       \
    X(CLIENT_CLOSE, "bodies_seen_to_the_close")                                                    \
    X(CUT, "messages_cut_up")                                                                      \
    X(LARGE, "bodies_of_a_megabyte")                                                               \
    X(BYTES_UP, "octets_up")                                                                       \
    X(BYTES_DOWN, "octets_down")

enum tally {
#define TALLY_ENUM(id, word) TALLY_##id,
    TALLY_MAP(TALLY_ENUM)
#undef TALLY_ENUM
        TALLY_COUNT
};

enum { SESSION_EXCHANGES = 16 }; /* successive numbers that one client sends */

struct ledger {
    uv_loop_t *loop;
    uint64_t seed;
    uint32_t first, count; /* numbers [first, first + count) */
    bool filtered;         /* plugins may change the framing of answers and add fields */
    uint16_t gateway_port, upstream_port;
    uint8_t *arrived, *answered;
    uint32_t *last_arrived; /* of each session, 1 more than the number; 0: none */
    uint32_t done;
    uint64_t tallies[TALLY_COUNT];
    bool failed;
};

void ledger_init(struct ledger *ledger);
void ledger_deinit(struct ledger *ledger);
void ledger_count(struct ledger *ledger, enum tally which, uint64_t n);
/* The upstream has got the head of an exchange: each comes once, and those of a session in
 * order. */
void ledger_arrived(struct ledger *ledger, uint32_t number);
void ledger_answered(struct ledger *ledger, uint32_t number);
/* Prints what is wrong and how to see it again, and stops the loop; only the first time. side: who
 * has noticed. */
void ledger_fail(struct ledger *ledger, uint32_t number, const char *side, const char *wrong);
/* All of them arrived and answered: else fails. */
void ledger_check_end(struct ledger *ledger);
/* A line `word number` of each kind, to stdout. */
void ledger_print(const struct ledger *ledger);
