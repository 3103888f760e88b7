/* SPDX-License-Identifier: Apache-2.0 */
/* Refusing connections that are too many. */
#include "flow/shed.h"

#define LEAST_ANSWERED 16

bool mg_shed_is_full(const struct mg_server *server)
{
    return server->client_count + server->linger_count >= server->parts.connection_limit;
}

static void on_closed(void *context)
{
    struct mg_server *server = context;
    server->shed_count--;
}

void mg_shed(struct mg_server *server, struct mg_io *io)
{
    static const struct mg_io_handler handler = {.on_closed = on_closed};
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                                 "Connection: close\r\nContent-Length: 0\r\n\r\n";
    const mg_str part = mg_str_make(answer, sizeof answer - 1);
    const uint32_t most = server->parts.connection_limit / 20;
    mg_stats_add(server->parts.stats, MG_STAT_SHED, 1);
    if (server->shed_count >= (most > LEAST_ANSWERED ? most : LEAST_ANSWERED)) {
        mg_io_close(io);
        return;
    }
    server->shed_count++;
    mg_io_set_handler(io, &handler, server);
    if (mg_io_write(io, &part, 1) != 0) {
        mg_io_close(io);
        return;
    }
    mg_io_close_lingering(io, MG_LINGER_MS);
}
