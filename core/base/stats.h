/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics of one process: plain counters in its own slot of the shared memory. Only the owner
 * writes, with plain adds; readers sum the slots (mg_shm_stats_sum) and may be one event behind.
 * Counters live as long as the shared memory: a worker that takes over a dead one's place goes on
 * counting there, and only the gauges (what is there at this moment) start at 0 again.
 *
 *     mg_stats_add(stats, MG_STAT_ACCEPTED, 1);
 *     mg_stats_add(stats, MG_STAT_CONNECTIONS, 1);        // a gauge: goes up ...
 *     mg_stats_drop(stats, MG_STAT_CONNECTIONS, 1);       // ... and down
 *     mg_stats_outcome(stats, req->outcome, req->status);
 *     mg_stats_reject(stats, MG_EHEAD_TOO_LARGE);
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* id, word, gauge (true) or counter, what it counts */
#define MG_STAT_MAP(X)                                                                             \
    /* clients */                                                                                  \
    X(ACCEPTED, "connections_accepted", false, "client connections accepted")                      \
    X(CONNECTIONS, "connections", true, "client connections open")                                 \
    X(CONNECTIONS_IDLE, "connections_idle", true, "client connections waiting for a request")      \
    X(ACCEPT_ERRORS, "accept_errors", false, "accept calls that failed")                           \
    X(REQUESTS, "requests", false, "requests whose head was complete")                             \
    X(REQUESTS_ACTIVE, "requests_active", true, "requests begun and not ended")                    \
    X(TUNNELS, "tunnels", true, "upgraded connections open")                                       \
    X(BYTES_IN, "bytes_in", false, "bytes read from clients")                                      \
    X(BYTES_OUT, "bytes_out", false, "bytes written to clients")                                   \
    X(UNTRUSTED_DROPPED, "untrusted_fields_dropped", false, "forged fields deleted")               \
    /* limits and timeouts of the client's side */                                                 \
    X(HEADER_TIMEOUT, "limit_header_timeout", false, "heads not complete in time")                 \
    X(BODY_TIMEOUT, "limit_body_timeout", false, "request bodies that went silent")                \
    X(BODY_TOTAL_TIMEOUT, "limit_body_total_timeout", false, "request bodies too long under way")  \
    X(BODY_MIN_RATE, "limit_body_min_rate", false, "request bodies that trickled")                 \
    X(SEND_TIMEOUT, "limit_send_timeout", false, "clients that took nothing")                      \
    X(KEEPALIVE_TIMEOUT, "limit_keepalive_timeout", false, "idle client connections closed")       \
    X(CONNECTION_REQUESTS, "limit_connection_requests", false, "connections closed by count")      \
    X(REQUEST_TIMEOUT, "limit_request_timeout", false, "requests over their total time")           \
    X(TUNNEL_TIMEOUT, "limit_tunnel_timeout", false, "silent tunnels closed")                      \
    X(REQUEST_LINE, "limit_request_line", false, "request lines too long")                         \
    X(HEADER_BYTES, "limit_header_bytes", false, "request heads too large")                        \
    X(HEADER_LINE, "limit_header_line", false, "request field lines too long")                     \
    X(HEADER_NAME, "limit_header_name", false, "request field names too long")                     \
    X(HEADER_COUNT, "limit_header_count", false, "request heads with too many fields")             \
    X(QUERY_ARGS, "limit_query_args", false, "requests with too many arguments")                   \
    X(COOKIES, "limit_cookies", false, "requests with too many cookies")                           \
    X(REQUEST_BODY, "limit_request_body", false, "request bodies too large")                       \
    X(CHUNK_LINE, "limit_chunk_line", false, "chunk lines too long")                               \
    X(CHUNK_EXTENSIONS, "limit_chunk_extensions", false, "chunk extensions too long")              \
    X(TRAILERS, "limit_trailers", false, "trailers too many or too large")                         \
    X(SHED, "limit_connections", false, "connections answered 503 or closed: too many")            \
    /* upstreams */                                                                                \
    X(UPSTREAM_CONNECTS, "upstream_connects", false, "connections to upstreams opened")            \
    X(UPSTREAM_CONNECT_FAILURES, "upstream_connect_failures", false, "refused, failed or late")    \
    X(UPSTREAM_REUSES, "upstream_reuses", false, "requests sent on a pooled connection")           \
    X(UPSTREAM_CONNECTIONS, "upstream_connections", true, "connections to upstreams open")         \
    X(UPSTREAM_IDLE, "upstream_idle", true, "of them in a pool")                                   \
    X(UPSTREAM_TRIES, "upstream_tries", false, "attempts to have a request answered")              \
    X(UPSTREAM_RETRIES, "upstream_retries", false, "of them after a failed one")                   \
    X(UPSTREAM_FAILURES, "upstream_failures", false, "attempts without a complete answer")         \
    X(UPSTREAM_ANSWERS_DROPPED, "upstream_answers_dropped", false, "answers that led to a retry")  \
    X(UPSTREAM_BYTES_IN, "upstream_bytes_in", false, "bytes read from upstreams")                  \
    X(UPSTREAM_BYTES_OUT, "upstream_bytes_out", false, "bytes written to upstreams")               \
    X(UPSTREAM_CONNECT_TIMEOUT, "limit_upstream_connect_timeout", false, "connects too slow")      \
    X(UPSTREAM_READ_TIMEOUT, "limit_upstream_read_timeout", false, "upstreams silent too long")    \
    X(UPSTREAM_WRITE_TIMEOUT, "limit_upstream_write_timeout", false, "upstreams took nothing")     \
    X(UPSTREAM_HEAD_TIMEOUT, "limit_upstream_head_timeout", false, "cut by a plugin's time")       \
    X(UPSTREAM_TRY_TIMEOUT, "limit_upstream_per_try_timeout", false, "attempts too long")          \
    X(UPSTREAM_MAX_CONNECTIONS, "limit_upstream_connections", false, "refused: connections full")  \
    X(UPSTREAM_MAX_REQUESTS, "limit_upstream_requests", false, "refused: requests full")           \
    X(UPSTREAM_MAX_PENDING, "limit_upstream_pending", false, "refused: queue full")                \
    X(UPSTREAM_WAITED, "limit_upstream_waited", false, "refused: too long in the queue")           \
    X(UPSTREAM_PENDING, "upstream_pending", true, "requests in the queue of an upstream")          \
    X(UPSTREAM_EJECTIONS, "upstream_ejections", false, "targets taken out for a while")            \
    X(UPSTREAM_CHECKS, "upstream_checks", false, "active health checks made")                      \
    X(UPSTREAM_KEEPALIVE, "limit_upstream_keepalive", false, "idle connections closed: pool full") \
    X(UPSTREAM_KEEPALIVE_IDLE, "limit_upstream_keepalive_idle", false, "idle connections too old") \
    X(RESPONSE_HEADER_BYTES, "limit_response_header_bytes", false, "response heads too large")     \
    X(INTERIM_RESPONSES, "limit_interim_responses", false, "answers with too many 1xx")            \
    X(RESPONSE_BUFFER, "limit_response_buffer", false, "held answers too large")                   \
    /* plugins */                                                                                  \
    X(PLUGIN_RUNS, "plugin_runs", false, "chains of handlers run")                                 \
    X(PLUGIN_YIELDS, "plugin_yields", false, "times a handler waited")                             \
    X(PLUGIN_ERRORS, "plugin_errors", false, "handlers that raised an error")                      \
    X(PLUGIN_LIMITS, "plugin_limits", false, "handlers stopped by a limit")                        \
    X(PLUGIN_QUARANTINED, "plugin_quarantined", false, "calls refused in quarantine")              \
    X(CPU_LIMIT, "limit_cpu_ms", false, "slices stopped for CPU time")                             \
    X(WALL_LIMIT, "limit_wall_ms", false, "phase calls stopped for their length")                  \
    X(LUA_MEMORY, "limit_lua_memory", false, "allocations refused to Lua")                         \
    X(REGEX_LIMIT, "limit_regex_match", false, "matches given up")                                 \
    X(TRACE_ABORTS, "trace_aborts", false, "traces given up, where they are counted")              \
    X(TIMERS, "timers", true, "timers pending")                                                    \
    /* policies */                                                                                 \
    X(LIMIT_ALLOWED, "ratelimit_allowed", false, "requests admitted by rate-limit")                \
    X(LIMIT_DENIED, "ratelimit_denied", false, "requests denied by rate-limit")                    \
    X(LIMIT_SHADOW_DENIED, "ratelimit_shadow_denied", false, "requests a shadow limit would deny") \
    X(LIMIT_OVERFLOW, "ratelimit_overflow", false, "decisions in an overflow bucket")              \
    X(LIMIT_KEY_MISSING, "ratelimit_key_missing", false, "key parts that resolved to nothing")     \
    X(LIMIT_SLEEPERS, "ratelimit_sleepers", true, "requests that a limit delays")                  \
    X(LIMIT_STORE_LOCAL, "ratelimit_store_local", false, "decided by the host alone")              \
    X(LIMIT_STORE_ALLOWED, "ratelimit_store_allowed", false, "admitted: the store failed")         \
    X(LIMIT_STORE_DENIED, "ratelimit_store_denied", false, "denied: the store failed")             \
    X(LIMIT_REPAIRED, "ratelimit_repaired", false, "values in Redis that were none")               \
    X(LIMIT_LOST, "ratelimit_lost", false, "corrections that came too late or never")              \
    X(POLICY_LUA_ERRORS, "policy_lua_errors", false, "values in Lua that failed")                  \
    X(BREAKER_REJECTED, "breaker_rejected", false, "requests rejected by circuit-breaker")         \
    X(BREAKER_SHADOW_REJECTED, "breaker_shadow_rejected", false, "would have been rejected")       \
    X(BREAKER_TRANSITIONS, "breaker_transitions", false, "changes of a breaker's state")           \
    /* Redis */                                                                                    \
    X(REDIS_COMMANDS, "redis_commands", false, "commands to Redis that are over")                  \
    X(REDIS_FAILURES, "redis_failures", false, "of them without a reply, or with an error")        \
    X(REDIS_CONNECTS, "redis_connects", false, "connections to Redis begun")                       \
    X(REDIS_CONNECTIONS, "redis_connections", true, "connections to Redis open")                   \
    X(REDIS_OPENED, "redis_breaker_opened", false, "times a Redis was given up for a while")       \
    /* logs */                                                                                     \
    X(LOG_WRITTEN, "log_lines_written", false, "access-log lines written")                         \
    X(LOG_DROPPED, "log_lines_dropped", false, "access-log lines lost")                            \
    X(LOG_WORKER_DIED, "log_lines_worker_died", false, "of them with a worker that died")          \
    X(LOG_QUEUED, "log_lines_queued", true, "access-log lines not written yet")                    \
    X(LOG_BYTES, "log_bytes_written", false, "bytes of access log written")                        \
    X(LOG_FILTERED_WHEN, "log_lines_filtered_when", false, "requests that `when` leaves out")      \
    X(LOG_FILTERED_SAMPLE, "log_lines_filtered_sample", false, "requests that `sample` skips")     \
    /* processes */                                                                                \
    X(RELOADS, "reloads", false, "generations taken over")                                         \
    X(RELOADS_FAILED, "reloads_failed", false, "generations refused")                              \
    X(GENERATIONS, "generations", true, "generations alive, of all workers")                       \
    X(RESTARTS_CRASH, "worker_restarts_crash", false, "workers replaced after a death")            \
    X(RESTARTS_STUCK, "worker_restarts_stuck", false, "workers killed without a heartbeat")

enum mg_stat {
#define MG_STAT_ENUM(id, word, gauge, text) MG_STAT_##id,
    MG_STAT_MAP(MG_STAT_ENUM)
#undef MG_STAT_ENUM
        MG_STAT_COUNT
};

#define MG_STATS_OUTCOMES 64 /* more than model/outcome.h has */
#define MG_STATS_REJECTS 96  /* more than the numbers of base/err.h */

struct mg_stats {
    uint64_t value[MG_STAT_COUNT];
    uint64_t outcome[MG_STATS_OUTCOMES]; /* requests ended, by enum mg_outcome */
    uint64_t status_class[6];            /* requests ended, [1] 1xx .. [5] 5xx, [0] no answer */
    uint64_t reject[MG_STATS_REJECTS];   /* messages refused, by MG_ERR_BASE - code */
};

static inline void mg_stats_add(struct mg_stats *stats, enum mg_stat which, uint64_t n)
{
    stats->value[which] += n;
}

/* Lowers a gauge. */
static inline void mg_stats_drop(struct mg_stats *stats, enum mg_stat which, uint64_t n)
{
    stats->value[which] -= n;
}

/* A request ended: outcome is an enum mg_outcome, status what the client got (0: nothing). */
static inline void mg_stats_outcome(struct mg_stats *stats, unsigned outcome, unsigned status)
{
    stats->outcome[outcome < MG_STATS_OUTCOMES ? outcome : MG_STATS_OUTCOMES - 1]++;
    stats->status_class[status / 100 < 6 ? status / 100 : 0]++;
}

/* A message was refused with one of our codes (MG_ESYNTAX ...); others are not counted here. */
static inline void mg_stats_reject(struct mg_stats *stats, int err)
{
    const int number = MG_ERR_BASE - err;
    if (number > 0 && number < MG_STATS_REJECTS) {
        stats->reject[number]++;
    }
}

/* "connections_accepted"; static. */
const char *mg_stat_word(enum mg_stat which);
/* One sentence part; static. */
const char *mg_stat_text(enum mg_stat which);
bool mg_stat_is_gauge(enum mg_stat which);
/* total += part, plain; for a reader's own sum. */
void mg_stats_sum(struct mg_stats *total, const struct mg_stats *part);
/* All gauges to 0: the owner is dead, or a new one begins. Log lines that it had not written count
 * as lost. */
void mg_stats_begin(struct mg_stats *stats);
