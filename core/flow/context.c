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

void mg_server_count_head_limit(const struct mg_server *server, int err, enum mg_http1_limit limit)
{
    static const enum mg_stat stats[] = {
        [MG_HTTP1_LIMIT_BYTES] = MG_STAT_HEADER_BYTES,
        [MG_HTTP1_LIMIT_LINE] = MG_STAT_HEADER_LINE,
        [MG_HTTP1_LIMIT_NAME] = MG_STAT_HEADER_NAME,
        [MG_HTTP1_LIMIT_COUNT] = MG_STAT_HEADER_COUNT,
    };
    if (err == MG_ELINE_TOO_LONG) {
        mg_stats_add(server->parts.stats, MG_STAT_REQUEST_LINE, 1);
    }
    if (limit != MG_HTTP1_LIMIT_NONE) {
        mg_stats_add(server->parts.stats, stats[limit], 1);
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
