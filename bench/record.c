/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an access-log line costs in user space: a proxied request with the default fields, made and
 * queued; nothing is written.
 *
 *     bench_record json 1000000         (or combined)
 *     valgrind --tool=callgrind bench_record json 20000
 *
 * Prints nanoseconds and bytes a line. Two totals of callgrind, for different counts, give the
 * instructions of one line by their difference.
 */
#include "net/sink_queue.h"
#include "script/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM 4096

static const char *const fields[] = {
    "ts",       "request_id", "client_ip", "method",     "scheme",         "host",   "path",
    "protocol", "route",      "service",   "upstream",   "consumer",       "status", "outcome",
    "ended_by", "ended_in",   "bytes_in",  "bytes_out",  "body_bytes_out", "t",      "tries",
    "retries",  "limit",      "breaker",   "user_agent", "referer",        "worker", "generation"};

static const char *const secrets[] = {"token",   "access_token", "refresh_token", "id_token",
                                      "api_key", "apikey",       "key",           "password",
                                      "passwd",  "secret",       "signature",     "code"};

static struct mg_record *new_record(enum mg_record_form form)
{
    const struct mg_record_options options = {.form = form, .line_bytes = 16384};
    struct mg_record *record = mg_record_new(&options);
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        mg_require(mg_redact_add(&record->redact, MG_REDACT_NAME, mg_str_from(secrets[i])) == 0);
    }
    for (size_t i = 0; form == MG_RECORD_JSON && i < sizeof fields / sizeof *fields; i++) {
        mg_require(mg_record_add(record, mg_str_from(fields[i]), MG_STR("")) == 0);
    }
    return record;
}

static void fill(struct mg_req *req, struct mg_config *config, struct mg_service *service,
                 struct mg_route *route)
{
    config->generation = 1;
    service->name = MG_STR("orders");
    service->host = MG_STR("orders.internal");
    route->name = MG_STR("orders");
    req->config = config;
    req->service = service;
    req->route = route;
    req->client_ip = req->peer_ip = MG_STR("203.0.113.77");
    req->head.method = MG_STR("GET");
    req->head.minor = 1;
    req->uri.path = MG_STR("/api/orders/12345");
    req->uri.query = MG_STR("page=2&limit=50");
    req->host.name = MG_STR("api.example.com");
    req->request_id = MG_STR("3b1c0f6e2a7d4c5e9f80112233445566");
    req->status = 200;
    req->bytes_in = 412;
    req->bytes_out = 1234;
    req->body_bytes_out = 1024;
    req->started_wall_ms = 1700000000123;
    req->started_us = 5000000;
    req->head_us = 5000050;
    req->plugins_us = 12;
    req->upstream_begin_us = 5000070;
    req->upstream_head_us = 5001000;
    req->upstream_end_us = 5001040;
    req->ended_us = 5001050;
    req->try_count = 1;
    req->tries[0] = (struct mg_try){.target = MG_STR("10.0.0.9:80"), .status = 200, .ttfb_us = 930};
    mg_headers_add(&req->head.headers, MG_STR("User-Agent"),
                   MG_STR("Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101"));
    mg_headers_add(&req->head.headers, MG_STR("Referer"),
                   MG_STR("https://example.com/orders?page=1"));
}

int main(int argc, char **argv)
{
    const bool combined = argc > 1 && strcmp(argv[1], "combined") == 0;
    const long count = argc > 2 ? strtol(argv[2], NULL, 10) : 1000000;
    static struct mg_req req;
    static struct mg_config config;
    static struct mg_service service;
    static struct mg_route route;
    char room[ROOM];
    size_t length = 0;
    struct mg_sink_queue queue;
    struct mg_sink_part part = {0};
    struct timespec begin, end;
    mg_arena_init(&req.arena, 4096);
    mg_buf_init(&req.filter_out, 1024);
    mg_req_reset(&req);
    fill(&req, &config, &service, &route);
    struct mg_record *record = new_record(combined ? MG_RECORD_COMBINED : MG_RECORD_JSON);
    mg_sink_queue_init(&queue, 1 << 20, 8192, false, &part, 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long i = 0; i < count; i++) {
        req.started_wall_ms++;
        length = mg_record_write(record, &req, 0, MG_STR(""), room, sizeof room);
        mg_sink_queue_put(&queue, mg_str_make(room, length), req.started_wall_ms);
        mg_sink_queue_wrote(&queue, &queue.bytes, length);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ns =
        (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    printf("%.1f ns a line of %zu bytes\n", ns / (double)count, length);
    mg_sink_queue_deinit(&queue);
    mg_record_free(record);
    mg_arena_deinit(&req.arena);
    return 0;
}
