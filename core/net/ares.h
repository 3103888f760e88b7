/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c-ares on the loop: asks the hosts file and the name servers for the addresses of a name, without
 * a cache. Its sockets are watched with uv_poll, its timeouts kept with a deadline. The only file
 * that knows c-ares; dns.h is what the others use.
 *
 *     ask->fn = on_addresses;
 *     mg_ares_ask(ares, "api.example.net", AF_INET, ask);
 */
#pragma once

#include "base/err.h"
#include "net/loop.h"

#include <netinet/in.h>

#define MG_ARES_ADDRESSES 64 /* used of one answer (docs/threat-model.md) */
#define MG_ARES_ALIASES 8    /* on the way to an address; more are nonsense (the same) */

struct mg_ares;

struct mg_ares_answer {
    const struct sockaddr_storage *addresses; /* port 0; live until the callback returns */
    int count;
    int ttl_s; /* lowest of the addresses and their aliases; 0 from the hosts file */
};

/* Belongs to the caller until fn has fired; one may ask again then. */
struct mg_ares_ask {
    /* 0 and the answer; MG_ENOT_FOUND: there is no such name, or no address; MG_EDNS: the servers
     * are silent, refuse or talk nonsense; MG_ECANCELLED: mg_ares_close. answer is NULL when status
     * is set. */
    void (*fn)(struct mg_ares_ask *ask, int status, const struct mg_ares_answer *answer);
};

/* timeout_ms: of the first try, doubled from try to try. servers: "127.0.0.1:5353,..." in place of
 * those of resolv.conf, or NULL. MG_EINVALID: servers cannot be read. */
MG_NODISCARD int mg_ares_open(struct mg_ares **out, struct mg_loop *loop, uint32_t timeout_ms,
                              uint32_t tries, const char *servers);
/* Every ask that is pending fires, before this returns. */
void mg_ares_close(struct mg_ares *ares);
/* Asks the hosts file only, for both families: fn fires before this returns. */
void mg_ares_ask_hosts(struct mg_ares *ares, const char *name, struct mg_ares_ask *ask);
/* Asks the name servers. family: AF_INET or AF_INET6. Unlike other callbacks fn may fire before
 * this returns. */
void mg_ares_ask(struct mg_ares *ares, const char *name, int family, struct mg_ares_ask *ask);
