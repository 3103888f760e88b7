/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name resolution by c-ares: never blocks, caches by TTL (clamped to 1 s .. 1 h), serves a stale answer
 * for a while when the servers fail, remembers failures briefly, one query in flight per name.
 * Reads /etc/hosts and /etc/resolv.conf. IP literals resolve at once. The only file that knows c-ares.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "net/loop.h"

#include <netinet/in.h>

#define MG_DNS_ADDRESSES 64 /* used per name */

struct mg_dns;

struct mg_dns_options {
    uint32_t timeout_ms;  /* per try */
    uint32_t tries;
    uint32_t stale_ms;    /* how long an expired answer serves while servers fail */
    uint32_t negative_ms; /* how long a failure is remembered */
};

struct mg_dns_answer {
    const struct sockaddr_storage *addresses; /* port 0; A and AAAA; lives until the callback returns */
    int count;
};

MG_NODISCARD int mg_dns_open(struct mg_dns **out, struct mg_loop *loop,
                             const struct mg_dns_options *options);
void mg_dns_close(struct mg_dns *dns);
/* From literal or cache: 0 and the answer (lives until the loop's next turn), MG_EAGAIN when a query is
 * needed, MG_EDNS when a failure is remembered. */
MG_NODISCARD int mg_dns_cached(struct mg_dns *dns, mg_str host, struct mg_dns_answer *answer);

struct mg_dns_query {
    struct mg_link link;
    void (*fn)(struct mg_dns_query *query, int status, const struct mg_dns_answer *answer);
};

/* Waits for the answer: query->fn fires exactly once, later. query belongs to the caller until then. */
MG_NODISCARD int mg_dns_resolve(struct mg_dns *dns, mg_str host, struct mg_dns_query *query);
/* fn will not fire. Harmless when it has fired. */
void mg_dns_cancel(struct mg_dns_query *query);
