/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to upstream hosts of one worker: an origin for each host:port or unix path, with its
 * idle connections (last in, first out; reading stays armed, so a close by the peer is seen at
 * once), and dialling new ones. Origins outlive generations.
 *
 *     struct mg_origin *origin = mg_pool_origin(pool, MG_STR("127.0.0.1"), 9101);
 *     struct mg_io *io = mg_pool_take(origin, false);     // idle one, or NULL
 *     if (!io) err = mg_pool_dial(origin, &dial, 2000);   // dial.fn fires once, later
 *     ...
 *     mg_pool_put(origin, io, 64, 55000);                 // back to idle, or mg_io_close(io)
 *     mg_origin_release(origin);
 */
#pragma once

#include "base/str.h"
#include "net/dial.h"
#include "net/dns.h"
#include "net/io.h"

struct mg_pool;
struct mg_origin;
struct mg_stats;

MG_NODISCARD int mg_pool_open(struct mg_pool **out, struct mg_loop *loop, struct mg_dns *dns);
/* Idle connections are counted there from now on (upstream_idle, and as part of
 * upstream_connections: who takes one counts it while it is in use). stats outlives the pool. */
void mg_pool_count(struct mg_pool *pool, struct mg_stats *stats);
/* Closes all idle connections; pending dials fire with MG_ECANCELLED. Origins that are still held
 * stay valid, without connections. Before mg_dns_close. */
void mg_pool_close(struct mg_pool *pool);
/* host: name, IP literal (IPv6 with or without brackets), or "unix:/path", "unix:@name" (port
 * ignored). Made on first use, kept while referenced or while it has connections. The caller holds
 * one reference more; mg_origin_release gives it back. */
struct mg_origin *mg_pool_origin(struct mg_pool *pool, mg_str host, uint16_t port);
/* The same for connections that differ from plain ones, so that nobody takes one for another: kind
 * (" tls") tells them apart, and is the end of their origin's name. */
struct mg_origin *mg_pool_origin_of(struct mg_pool *pool, mg_str host, uint16_t port, mg_str kind);
void mg_origin_hold(struct mg_origin *origin);
void mg_origin_release(struct mg_origin *origin);
/* "host:port", "[v6]:port" or "unix:/path", in lower case but for the path; lives as long as the
 * origin. */
mg_str mg_origin_name(const struct mg_origin *origin);

/* The idle connection used last, or NULL; reading, but without a handler: set one before returning
 * to the loop. Ownership moves to the caller.
 *
 * It was open and silent when the loop polled last. certain: at this very moment, for what must not
 * be sent twice. That takes a system call, which is made in any case when the poll is not recent,
 * could not tell (mg_loop_hides_events), or has told of something on the connection. */
struct mg_io *mg_pool_take(struct mg_origin *origin, bool certain);
/* Back to idle: takes ownership, of a connection that cannot be used again also, which is closed.
 * The oldest idle one is closed beyond max_idle; closed after idle_ms (0 = never). */
void mg_pool_put(struct mg_origin *origin, struct mg_io *io, uint32_t max_idle, uint64_t idle_ms);
uint32_t mg_origin_idle(const struct mg_origin *origin);

/* dial->fn fires exactly once, after this call has returned. timeout_ms covers resolving and
 * connecting. The origin stays until then. MG_EINVALID: a unix path too long; MG_ECLOSED after
 * mg_pool_close. mg_dial_cancel (net/dial.h) ends it. */
MG_NODISCARD int mg_pool_dial(struct mg_origin *origin, struct mg_dial *dial, uint64_t timeout_ms);

/* Tests: every dial of every origin goes to this unix socket instead ("unix:@name"); empty = off.
 * MG_EINVALID when it is no such address. */
MG_NODISCARD int mg_pool_redirect(struct mg_pool *pool, mg_str unix_address);
