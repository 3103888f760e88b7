/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream behind the gateway: takes requests, checks them against their plans, answers as
 * planned.
 */
#pragma once

#include "base/list.h"
#include "ledger.h"

struct upstream {
    uv_tcp_t listener;
    struct ledger *ledger;
    struct mg_link peers; /* open connections */
    uint64_t count;       /* of connections so far */
};

/* Listens on ledger->upstream_port of 127.0.0.1; 0 or a code of libuv. */
int upstream_open(struct upstream *upstream, struct ledger *ledger);
/* Closes everything; the loop has to run until it is done. */
void upstream_close(struct upstream *upstream);
