/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that are written straight from the request, beside those that are not. */
#include "script/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define LINE_BYTES 16384

struct fixture {
    struct mg_req req;
    struct mg_config config;
    struct mg_service service;
    struct mg_route routes[2];
    char line[LINE_BYTES + 1];
    size_t length;
};

static struct mg_record *new_record(void)
{
    static const char *const fields[] = {
        "ts",         "request_id",
        "trace_id",   "span_id",
        "client_ip",  "peer_ip",
        "method",     "scheme",
        "host",       "path",
        "query",      "protocol",
        "tls",        "route",
        "service",    "upstream",
        "consumer",   "status",
        "outcome",    "ended_by",
        "ended_in",   "bytes_in",
        "bytes_out",  "body_bytes_out",
        "t",          "tries",
        "retries",    "limit",
        "breaker",    "user_agent",
        "referer",    "worker",
        "generation", "req.header.a-name-that-is-longer-than-most",
    };
    const struct mg_record_options options = {
        .form = MG_RECORD_JSON, .line_bytes = LINE_BYTES, .hash_key = MG_STR("key")};
    struct mg_record *record = mg_record_new(&options);
    assert_int_equal(mg_redact_add(&record->redact, MG_REDACT_NAME, MG_STR("token")), 0);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        assert_int_equal(mg_record_add(record, mg_str_from(fields[i]), MG_STR("")), 0);
    }
    return record;
}

static uint32_t draw(uint32_t below)
{
    static uint64_t seed = 1;
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % below;
}

/* Mostly plain, and some of it not. */
static mg_str draw_text(struct fixture *f, uint32_t longest)
{
    static const char others[] = "\"\\=%: \t\n\x7f\xc3\xa4\x80";
    const uint32_t length = draw(longest);
    const bool is_plain = draw(4) > 0;
    char *text = mg_arena_alloc(&f->req.arena, length + 1);
    for (uint32_t i = 0; i < length; i++) {
        text[i] = is_plain || draw(8) ? (char)('a' + draw(26)) : others[draw(sizeof others - 1)];
    }
    return mg_str_make(text, length);
}

static void draw_request(struct fixture *f)
{
    struct mg_req *req = &f->req;
    mg_req_reset(req);
    req->config = &f->config;
    req->route = draw(8) ? &f->routes[draw(2)] : NULL;
    req->service = draw(8) ? &f->service : NULL;
    f->config.generation = draw(3);
    req->head.minor = draw(4) > 0;
    req->head.method = draw(8) ? MG_STR("GET") : MG_STR("");
    req->up.target_host = draw(8) ? MG_STR("") : MG_STR("chosen.example");
    mg_str *const texts[] = {&req->request_id, &req->client_ip, &req->host.name,
                             &req->uri.path,   &req->consumer,  &req->ended_by};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        *texts[i] = draw_text(f, 50);
    }
    if (draw(2)) {
        mg_headers_init(&req->head.headers, &req->arena);
        mg_headers_add(&req->head.headers, MG_STR("User-Agent"), draw_text(f, 300));
    }
    req->note_limit = draw(2) ? MG_STR("{\"a\":1,\"long\":\"member\"}") : draw_text(f, 60);
    req->note_breaker = draw(2) ? MG_STR("{}") : MG_STR("{\"\n\":1}");
    req->started_wall_ms = 1700000000000 + draw(5000);
    req->started_us = draw(4) * 1000U;
    req->head_us = req->ended_us = draw(5000);
    req->upstream_begin_us = draw(2) * 1000U;
    req->upstream_head_us = draw(5000);
    req->upstream_end_us = draw(100000000);
    req->plugins_us = draw(1000000);
    req->status = (uint16_t)draw(1000);
    req->bytes_out = draw(1000);
    req->bytes_in = draw(10) ? draw(100000) : UINT64_MAX;
    req->delay_us = draw(2) * 1234567U;
    req->queue_us = draw(2) * UINT64_C(12345678901);
    req->try_count = draw(MG_TRIES + 2);
    for (uint32_t i = 0; i < MG_TRIES; i++) {
        req->tries[i] = (struct mg_try){.target = draw_text(f, 60), .connect_us = draw(20000)};
        req->tries[i].status = draw(2) ? 503 : 0;
        req->tries[i].ttfb_us = draw(2) ? draw(3000000) : 0;
        req->tries[i].outcome = (enum mg_outcome)draw(MG_OUTCOME_COUNT);
    }
}

/* Of any request, in any room; and nothing is written behind the room. */
static void what_is_written_straight_from_the_request_is_the_same_line(void **state)
{
    enum { MARK = 64 };
    (void)state;
    static struct fixture fixture;
    static char line[LINE_BYTES + 1];
    struct fixture *f = &fixture;
    mg_arena_init(&f->req.arena, 4096);
    mg_buf_init(&f->req.filter_out, 1024);
    f->service = (struct mg_service){.name = MG_STR("orders"), .host = MG_STR("10.0.0.9")};
    f->routes[0].id = MG_STR("r-1");
    f->routes[1].name = MG_STR("second \"route\"");
    struct mg_record *fast = new_record(), *slow = new_record();
    for (uint32_t i = 0; i < slow->count; i++) {
        slow->items[i].run = NULL;
        slow->items[i].step = i;
        slow->steps[i] = (struct mg_record_step){.item = i};
    }
    for (unsigned round = 0; round < 20000; round++) {
        draw_request(f);
        const size_t room = draw(3) ? 1024 + draw(3000) : LINE_BYTES - MARK;
        const size_t length = mg_record_write(slow, &f->req, 3, MG_STR(""), line, room);
        memset(f->line + room, '#', MARK);
        f->length = mg_record_write(fast, &f->req, 3, MG_STR(""), f->line, room);
        line[length] = f->line[f->length] = '\0';
        assert_string_equal(f->line, line);
        for (unsigned i = 0; f->length < room && i < MARK; i++) {
            assert_int_equal(f->line[room + i], '#');
        }
    }
    mg_record_free(fast);
    mg_record_free(slow);
    mg_arena_deinit(&f->req.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_straight_from_the_request_is_the_same_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
