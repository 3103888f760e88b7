/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt to connect to a host: resolves, then tries the addresses in turn, starting at a
 * random one, within one deadline. Each address but the last gets an equal share of what is left of
 * the time, at least 250 ms, so that one dead address does not use it up. net/pool.h is the usual
 * way in.
 */
#pragma once

#include "base/str.h"
#include "net/dns.h"
#include "net/io.h"

#include <sys/un.h>

struct mg_dial {
    /* 0 and a connected stream that the callback owns (not reading, no handler set); or MG_EDNS,
     * MG_ETIMEOUT, MG_ECANCELLED, libuv code (UV_ECONNREFUSED, ...) and NULL. */
    void (*fn)(struct mg_dial *dial, int status, struct mg_io *io);
    void *state; /* private; NULL when nothing is under way: start with a cleared struct */
};

/* Where to; copied but for host, which must live until fn has fired. */
struct mg_dial_place {
    struct mg_loop *loop;
    struct mg_dns *dns;
    mg_str host;
    uint16_t port;
    struct sockaddr_un unix_address;
    socklen_t unix_length; /* 0: TCP, to host and port */
    uint32_t random;       /* which address comes first */
    /* Told before fn, and by mg_dial_cancel, when the attempt is over; may be NULL. */
    void (*on_over)(void *owner);
    void *owner;
};

/* fn fires exactly once, after this call has returned. timeout_ms covers resolving and connecting;
 * 0 = none. The link in list (for mg_dial_cancel_all) is the attempt's. */
MG_NODISCARD int mg_dial_start(struct mg_dial *dial, const struct mg_dial_place *place,
                               uint64_t timeout_ms, struct mg_link *list);
/* fn will not fire; the attempt is closed. Harmless when it has fired. */
void mg_dial_cancel(struct mg_dial *dial);
/* Fires all attempts of a list with MG_ECANCELLED. */
void mg_dial_cancel_all(struct mg_link *list);
