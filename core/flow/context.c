/* SPDX-License-Identifier: Apache-2.0 */
/* What clients and exchanges have in common: counting, and when a draining worker is done. */
#include "flow/context.h"

void mg_server_check_drained(struct mg_server *server)
{
    if (!server->draining || server->client_count > 0 || server->exchanges_active > 0) {
        return;
    }
    void (*on_drained)(void *) = server->on_drained;
    server->on_drained = NULL;
    if (on_drained) {
        on_drained(server->context);
    }
}

void mg_server_count_chunk_limit(const struct mg_server *server, const struct mg_chunk *chunk)
{
    static const enum mg_stat stats[] = {
        [MG_CHUNK_LIMIT_LINE] = MG_STAT_CHUNK_LINE,
        [MG_CHUNK_LIMIT_EXTENSIONS] = MG_STAT_CHUNK_EXTENSIONS,
        [MG_CHUNK_LIMIT_TRAILERS] = MG_STAT_TRAILERS,
    };
    if (chunk->limit != MG_CHUNK_LIMIT_NONE) {
        mg_stats_add(server->parts.stats, stats[chunk->limit], 1);
    }
}
