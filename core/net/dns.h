/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name resolution by c-ares: never blocks, caches by TTL (clamped to 1 s .. 1 h), serves a stale
 * answer for a while when the servers fail, remembers failures briefly, one query in flight per
 * name. Asks through net/ares: /etc/hosts, then the servers of /etc/resolv.conf. IP literals
 * resolve at once.
 *
 *     struct mg_dns_answer answer;
 *     int err = mg_dns_cached(dns, host, &answer);
 *     if (err == MG_EAGAIN) {
 *         self->query.fn = on_answer;
 *         err = mg_dns_resolve(dns, host, &self->query);
 *     }
 *
 * A and AAAA are asked side by side. When one has answered, the other gets 50 ms more; what comes
 * later still joins the cache.
 */
#pragma once

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "net/loop.h"

#include <netinet/in.h>

#define MG_DNS_ADDRESSES 64   /* used per name */
#define MG_DNS_NAME_BYTES 253 /* longest name (RFC 1035, 2.3.4) */

struct mg_dns;

struct mg_dns_options {
    uint32_t timeout_ms; /* of the first try; c-ares doubles it from try to try */
    uint32_t tries;
    uint32_t stale_ms;    /* how long an expired answer serves while servers fail */
    uint32_t negative_ms; /* how long a failure is remembered */
    const char *servers;  /* "127.0.0.1:5353,..." instead of those of resolv.conf; may be NULL */
};

struct mg_dns_answer {
    const struct sockaddr_storage
        *addresses; /* port 0; A and AAAA; lives until the callback returns */
    int count;
};

/* MG_EINVALID: servers cannot be read. */
MG_NODISCARD int mg_dns_open(struct mg_dns **out, struct mg_loop *loop,
                             const struct mg_dns_options *options);
/* How long answers are used beyond their time and failures remembered, from now on. */
void mg_dns_set_memory(struct mg_dns *dns, uint32_t stale_ms, uint32_t negative_ms);
/* What is pending fires with MG_ECANCELLED. Not to be called from a query's fn. */
void mg_dns_close(struct mg_dns *dns);
/* From literal ("[::1]" also in brackets) or cache: 0 and the answer (copy it: it lives until the
 * next call to this module or the loop's next turn), MG_EAGAIN when a query is needed, MG_EDNS when
 * a failure is remembered. */
MG_NODISCARD int mg_dns_cached(struct mg_dns *dns, mg_str host, struct mg_dns_answer *answer);

struct mg_dns_query {
    struct mg_link link; /* private */
    void (*fn)(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer);
};

/* Waits for the answer: query->fn fires exactly once, later, with 0 and the answer, or MG_EDNS or
 * MG_ECANCELLED and NULL. query belongs to the caller, who keeps it until then. MG_EINVALID: no
 * name; MG_EFULL: too many names at a time. */
MG_NODISCARD int mg_dns_resolve(struct mg_dns *dns, mg_str host, struct mg_dns_query *query);
/* fn will not fire. Harmless when it has fired, and on a query that is all zero. */
void mg_dns_cancel(struct mg_dns_query *query);
