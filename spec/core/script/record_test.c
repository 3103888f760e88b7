/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the access log: golden ones, attempts to forge them, planted secrets, lines too long. */
#define _GNU_SOURCE /* memmem */
#include "script/record.h"

#include "script/json.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LINE_BYTES 16384

struct fixture {
    struct mg_req req;
    struct mg_config config;
    struct mg_service service;
    struct mg_route route;
    char line[LINE_BYTES + 1];
    size_t length;
};

static void fill_request(struct fixture *f)
{
    struct mg_req *req = &f->req;
    f->config.generation = 7;
    f->service = (struct mg_service){.name = MG_STR("orders"), .host = MG_STR("10.0.0.9")};
    f->route = (struct mg_route){.id = MG_STR("r-1"), .name = MG_STR("all")};
    req->config = &f->config;
    req->route = &f->route;
    req->service = &f->service;
    req->peer_ip = MG_STR("10.1.1.1");
    req->client_ip = MG_STR("203.0.113.77");
    req->head.method = MG_STR("GET");
    req->head.minor = 1;
    req->uri.path = MG_STR("/a/b");
    req->uri.query = MG_STR("x=1");
    req->host.name = MG_STR("api.example");
    req->request_id = MG_STR("id-1");
    req->status = 200;
    req->bytes_in = 100;
    req->bytes_out = 1234;
    req->body_bytes_out = 1000;
    req->started_wall_ms = 1700000000123;
    req->started_us = 5000000;
    req->head_us = 5000250;
    req->plugins_us = 1500;
    req->upstream_begin_us = 5002000;
    req->upstream_head_us = 5010000;
    req->upstream_end_us = 5012001;
    req->ended_us = 5012345;
    req->connect_us = 40;
    req->try_count = 1;
    req->tries[0] = (struct mg_try){
        .target = MG_STR("10.0.0.9:80"), .status = 200, .connect_us = 40, .ttfb_us = 7960};
    mg_headers_add(&req->head.headers, MG_STR("User-Agent"), MG_STR("curl/7.88.1"));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    mg_arena_init(&f->req.arena, 4096);
    mg_buf_init(&f->req.filter_out, 1024);
    mg_req_reset(&f->req);
    fill_request(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    mg_arena_deinit(&f->req.arena);
    free(f);
    return 0;
}

static struct mg_record *new_record(enum mg_record_form form)
{
    const struct mg_record_options options = {
        .form = form, .line_bytes = LINE_BYTES, .hash_key = MG_STR("key")};
    struct mg_record *record = mg_record_new(&options);
    static const char *const headers[] = {"authorization", "cookie", "set-cookie", "x-api-key"};
    static const char *const names[] = {"token", "password", "code"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        assert_int_equal(mg_redact_add(&record->redact, MG_REDACT_HEADER, mg_str_from(headers[i])),
                         0);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(mg_redact_add(&record->redact, MG_REDACT_NAME, mg_str_from(names[i])), 0);
    }
    return record;
}

/* "status outcome" */
static void add_fields(struct mg_record *record, const char *names)
{
    while (*names) {
        const size_t length = strcspn(names, " ");
        if (mg_record_add(record, mg_str_make(names, length), MG_STR("")) != 0) {
            fail_msg("no field %.*s", (int)length, names);
        }
        names += length + strspn(names + length, " ");
    }
}

static void write_line(struct fixture *f, const struct mg_record *record)
{
    f->length = mg_record_write(record, &f->req, 3, MG_STR(""), f->line, LINE_BYTES);
    f->line[f->length] = '\0';
    assert_int_equal(strlen(f->line), f->length);
    assert_ptr_equal(strchr(f->line, '\n'), f->line + f->length - 1); /* one line */
    for (size_t i = 0; i + 1 < f->length; i++) {
        const unsigned char c = (unsigned char)f->line[i];
        assert_true(c >= 0x20 && c != 0x7f);
    }
}

static void expect_json(struct fixture *f, const char *names, const char *wanted)
{
    struct mg_record *record = new_record(MG_RECORD_JSON);
    add_fields(record, names);
    write_line(f, record);
    assert_string_equal(f->line, wanted);
    mg_record_free(record);
}

static const char every_field[] =
    "ts request_id client_ip peer_ip method scheme host path query protocol route service upstream "
    "consumer status outcome ended_by ended_in bytes_in bytes_out body_bytes_out t tries retries "
    "limit breaker user_agent referer worker generation";

/* Seven requests that differ in what the fields of a route say. */
static void fill_variant(struct fixture *f, unsigned variant)
{
    static struct mg_service other = {.id = MG_STR("s-2"), .host = MG_STR("other.internal")};
    f->req.route = variant == 1 ? NULL : &f->route;
    f->req.service = variant == 1 ? NULL : variant == 2 ? &other : &f->service;
    f->route.name = variant == 3 ? MG_STR("") : MG_STR("all");
    f->req.head.minor = variant != 4;
    f->req.head.method = variant == 5 ? MG_STR("") : MG_STR("GET");
    f->req.up.target_host = variant == 6 ? MG_STR("chosen.example") : MG_STR("");
    f->config.generation = variant == 0 ? 8 : 7;
}

static void what_a_line_keeps_is_what_the_next_one_says(void **state)
{
    enum { VARIANTS = 7 };
    struct fixture *f = *state;
    char alone[LINE_BYTES + 1];
    struct mg_record *kept = new_record(MG_RECORD_JSON);
    add_fields(kept, every_field);
    for (unsigned i = 0; i < VARIANTS * VARIANTS * 2; i++) {
        fill_variant(f, i % 2 ? i / 2 % VARIANTS : i / 2 / VARIANTS);
        struct mg_record *fresh = new_record(MG_RECORD_JSON);
        add_fields(fresh, every_field);
        write_line(f, fresh);
        memcpy(alone, f->line, f->length + 1);
        write_line(f, kept);
        assert_string_equal(f->line, alone);
        write_line(f, kept);
        assert_string_equal(f->line, alone);
        mg_record_free(fresh);
    }
    mg_record_free(kept);
}

/* --- golden lines --- */

static void a_plain_request_is_one_json_object(void **state)
{
    expect_json(
        *state, every_field,
        "{\"ts\":\"2023-11-14T22:13:20.123Z\",\"request_id\":\"id-1\",\"client_ip\":\"203.0.113."
        "77\","
        "\"peer_ip\":\"10.1.1.1\",\"method\":\"GET\",\"scheme\":\"http\",\"host\":\"api.example\","
        "\"path\":\"/a/b\",\"query\":\"x=1\",\"protocol\":\"HTTP/1.1\",\"route\":\"all\","
        "\"service\":\"orders\",\"upstream\":\"10.0.0.9\",\"status\":200,\"outcome\":\"ok\","
        "\"bytes_in\":100,\"bytes_out\":1234,\"body_bytes_out\":1000,"
        "\"t\":{\"head\":0.250,\"plugins\":1.500,\"connect\":0.040,\"ttfb\":8.000,"
        "\"upstream\":10.001,\"total\":12.345},"
        "\"tries\":[{\"target\":\"10.0.0.9:80\",\"status\":200,\"outcome\":\"ok\","
        "\"connect\":0.040,\"ttfb\":7.960}],\"retries\":0,\"user_agent\":\"curl/7.88.1\","
        "\"worker\":3,\"generation\":7}\n");
}

static void a_denied_request_says_who_and_why(void **state)
{
    struct fixture *f = *state;
    f->req.status = 429;
    f->req.outcome = MG_OUTCOME_LIMITED;
    f->req.ended_by = MG_STR("rate-limit");
    f->req.ended_in = MG_PHASE_ACCESS;
    f->req.note_limit = MG_STR("{\"name\":\"minute\",\"remaining\":0}");
    f->req.consumer = MG_STR("joe");
    f->req.try_count = 0;
    f->req.upstream_begin_us = f->req.upstream_head_us = f->req.upstream_end_us = 0;
    f->req.delay_us = 20000;
    expect_json(f, "status outcome ended_by ended_in limit breaker consumer t tries retries",
                "{\"status\":429,\"outcome\":\"limited\",\"ended_by\":\"rate-limit\","
                "\"ended_in\":\"access\",\"limit\":{\"name\":\"minute\",\"remaining\":0},"
                "\"consumer\":\"joe\",\"t\":{\"head\":0.250,\"plugins\":1.500,\"delay\":20.000,"
                "\"total\":12.345},\"tries\":[],\"retries\":0}\n");
}

static void a_request_without_route_leaves_out_what_it_has_not(void **state)
{
    struct fixture *f = *state;
    f->req.route = NULL;
    f->req.service = NULL;
    f->req.status = 404;
    f->req.outcome = MG_OUTCOME_NO_ROUTE;
    expect_json(f, "route service upstream status outcome",
                "{\"status\":404,\"outcome\":\"no_route\"}\n");
    expect_json(f, "route", "{}\n");
}

static void retries_are_listed(void **state)
{
    struct fixture *f = *state;
    f->req.try_count = 2;
    f->req.tries[1] = f->req.tries[0];
    f->req.tries[0] =
        (struct mg_try){.target = MG_STR("b:81"), .outcome = MG_OUTCOME_UPSTREAM_REFUSED};
    expect_json(
        f, "tries retries",
        "{\"tries\":[{\"target\":\"b:81\",\"outcome\":\"upstream_refused\",\"connect\":0.000},"
        "{\"target\":\"10.0.0.9:80\",\"status\":200,\"outcome\":\"ok\",\"connect\":0.040,"
        "\"ttfb\":7.960}],\"retries\":1}\n");
}

static void combined_is_apaches_format(void **state)
{
    struct fixture *f = *state;
    struct mg_record *record = new_record(MG_RECORD_COMBINED);
    mg_headers_add(&f->req.head.headers, MG_STR("Referer"), MG_STR("http://h/?code=s&b=1"));
    write_line(f, record);
    assert_string_equal(
        f->line, "203.0.113.77 - - [14/Nov/2023:22:13:20 +0000] \"GET /a/b?x=1 HTTP/1.1\" 200 "
                 "1000 \"http://h/?code=***&b=1\" \"curl/7.88.1\"\n");
    mg_req_reset(&f->req);
    fill_request(f);
    f->req.consumer = MG_STR("joe");
    f->req.body_bytes_out = 0;
    f->req.uri.query = MG_STR("");
    mg_headers_init(&f->req.head.headers, &f->req.arena);
    write_line(f, record);
    assert_string_equal(f->line, "203.0.113.77 - joe [14/Nov/2023:22:13:20 +0000] "
                                 "\"GET /a/b HTTP/1.1\" 200 - \"-\" \"-\"\n");
    mg_record_free(record);
}

static void a_template_shows_fields_and_defaults(void **state)
{
    struct fixture *f = *state;
    struct mg_record *record = new_record(MG_RECORD_TEMPLATE);
    add_fields(record, "ts");
    mg_record_add_literal(record, MG_STR(" <"));
    add_fields(record, "req.header.user-agent");
    mg_record_add_literal(record, MG_STR("> "));
    assert_int_equal(mg_record_add(record, MG_STR("resp.header.x-a"), MG_STR("none")), 0);
    mg_record_add_literal(record, MG_STR(" "));
    add_fields(record, "consumer");
    mg_record_add_literal(record, MG_STR(" "));
    add_fields(record, "t.total");
    mg_record_add_literal(record, MG_STR(" "));
    add_fields(record, "status");
    write_line(f, record);
    assert_string_equal(f->line, "2023-11-14T22:13:20.123Z <curl/7.88.1> none - 12.345 200\n");
    assert_int_equal(mg_record_add(record, MG_STR("nonsense"), MG_STR("")), MG_EINVALID);
    assert_int_equal(mg_record_add(record, MG_STR("tries"), MG_STR("")), MG_EINVALID);
    mg_record_free(record);
}

static void headers_of_each_side_are_one_object(void **state)
{
    struct fixture *f = *state;
    mg_headers_add(&f->req.head.headers, MG_STR("X-A"), MG_STR("1"));
    mg_headers_add(&f->req.head.headers, MG_STR("x-a"), MG_STR("2"));
    mg_headers_add(&f->req.out, MG_STR("Content-Type"), MG_STR("text/plain"));
    expect_json(f,
                "req.header.x-a resp.header.content-type req.header.user-agent status "
                "resp.header.x-none",
                "{\"req_headers\":{\"x-a\":\"1, 2\",\"user-agent\":\"curl/7.88.1\"},"
                "\"resp_headers\":{\"content-type\":\"text/plain\"},\"status\":200}\n");
}

static void constants_stand_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct mg_record *record = new_record(MG_RECORD_JSON);
    add_fields(record, "status");
    mg_record_add_constant(record, MG_STR("env\""), MG_STR("{\"zone\":\"eu\",\"n\":1}"));
    write_line(f, record);
    assert_string_equal(f->line, "{\"status\":200,\"env\\\"\":{\"zone\":\"eu\",\"n\":1}}\n");
    mg_record_free(record);
}

static void the_calendar_is_right(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t wall_ms;
        const char *line;
    } cases[] = {
        {0, "{\"ts\":\"1970-01-01T00:00:00.000Z\"}\n"},
        {951782399999, "{\"ts\":\"2000-02-28T23:59:59.999Z\"}\n"},
        {951782400000, "{\"ts\":\"2000-02-29T00:00:00.000Z\"}\n"},
        {1709164800007, "{\"ts\":\"2024-02-29T00:00:00.007Z\"}\n"},
        {1735689599000, "{\"ts\":\"2024-12-31T23:59:59.000Z\"}\n"},
        {4107542400000, "{\"ts\":\"2100-03-01T00:00:00.000Z\"}\n"}, /* 2100 has no leap day */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        f->req.started_wall_ms = cases[i].wall_ms;
        expect_json(f, "ts", cases[i].line);
    }
}

/* --- forging --- */

static void nothing_a_client_sends_makes_a_second_line(void **state)
{
    struct fixture *f = *state;
    static const char evil[] = "a\"}\r\n{\"status\":200}\n\x1b[2J\\\x00\xff\xc2\x9b\t\x7f";
    const mg_str text = mg_str_make(evil, sizeof evil - 1);
    f->req.head.method = f->req.uri.path = f->req.uri.query = f->req.host.name = text;
    f->req.request_id = f->req.consumer = f->req.ended_by = text;
    f->req.note_limit = text;
    f->req.note_breaker = MG_STR("{\"a\":1\n}");
    mg_headers_set(&f->req.head.headers, MG_STR("User-Agent"), text);
    mg_headers_add(&f->req.head.headers, MG_STR("Referer"), text);
    mg_headers_add(&f->req.head.headers, MG_STR("X-A"), text);
    struct mg_record *record = new_record(MG_RECORD_JSON);
    add_fields(record, every_field);
    add_fields(record, "req.header.x-a");
    write_line(f, record); /* checks for control bytes */
    mg_record_free(record);
    record = new_record(MG_RECORD_COMBINED);
    write_line(f, record);
    assert_non_null(strstr(f->line, "\"a\\x22}\\x0D\\x0A{\\x22status\\x22:200}\\x0A\\x1B[2J\\x5C"
                                    "\\x00\\xFF\\xC2\\x9B\\x09\\x7F\""));
    mg_record_free(record);
    record = new_record(MG_RECORD_TEMPLATE);
    add_fields(record, "path method user_agent req.header.x-a");
    write_line(f, record);
    mg_record_free(record);
}

/* Lines of random bytes are JSON that the gateway's own reader takes. */
static void random_bytes_give_valid_json(void **state)
{
    struct fixture *f = *state;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_pushcfunction(L, mg_json_open);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode");
    struct mg_record *record = new_record(MG_RECORD_JSON);
    add_fields(record, every_field);
    srand(5);
    for (int round = 0; round < 5000; round++) {
        char noise[64];
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (char)rand();
        }
        f->req.uri.path = mg_str_make(noise, (size_t)rand() % sizeof noise);
        f->req.request_id = mg_str_make(noise + 32, (size_t)rand() % 32);
        f->req.uri.query = mg_str_make(noise, sizeof noise);
        write_line(f, record);
        lua_pushvalue(L, -1);
        lua_pushlstring(L, f->line, f->length);
        if (lua_pcall(L, 1, 1, 0) != 0) {
            fail_msg("%s: %s", lua_tostring(L, -1), f->line);
        }
        lua_pop(L, 1);
    }
    mg_record_free(record);
    lua_close(L);
}

/* --- secrets --- */

static void planted_secrets_stay_out_of_every_form(void **state)
{
    struct fixture *f = *state;
    f->req.uri.query = MG_STR("a=1&%54oken=S3CRET&next=%2Fx%3Fcode%3DS3CRET");
    f->req.uri.path = MG_STR("/a;password=S3CRET/b");
    mg_headers_add(&f->req.head.headers, MG_STR("Referer"),
                   MG_STR("https://joe:S3CRET@h/?PASSWORD=S3CRET#code=S3CRET"));
    mg_headers_add(&f->req.head.headers, MG_STR("Authorization"), MG_STR("Basic S3CRET"));
    mg_headers_add(&f->req.head.headers, MG_STR("COOKIE"), MG_STR("sid=S3CRET"));
    mg_headers_add(&f->req.head.headers, MG_STR("X-Original"), MG_STR("/x?token=S3CRET"));
    mg_headers_add(&f->req.out, MG_STR("Location"), MG_STR("/cb?code=S3CRET&state=1"));
    mg_headers_add(&f->req.out, MG_STR("Set-Cookie"), MG_STR("sid=S3CRET; Path=/"));
    static const char fields[] =
        "path query req.header.referer req.header.authorization req.header.cookie "
        "req.header.x-original resp.header.location resp.header.set-cookie";
    static const enum mg_record_form forms[] = {MG_RECORD_JSON, MG_RECORD_TEMPLATE,
                                                MG_RECORD_COMBINED};
    for (size_t i = 0; i < 3; i++) {
        struct mg_record *record = new_record(forms[i]);
        if (forms[i] != MG_RECORD_COMBINED) {
            add_fields(record, fields);
        }
        write_line(f, record);
        assert_null(strstr(f->line, "S3CRET"));
        assert_non_null(strstr(f->line, "***"));
        mg_record_free(record);
    }
    expect_json(f, "resp.header.location req.header.authorization query",
                "{\"resp_headers\":{\"location\":\"/cb?code=***&state=1\"},"
                "\"req_headers\":{\"authorization\":\"***\"},"
                "\"query\":\"a=1&%54oken=***&next=%2Fx%3Fcode%3D***\"}\n");
}

static void a_field_that_is_secret_itself_is_hidden_in_combined_too(void **state)
{
    struct fixture *f = *state;
    struct mg_record *record = new_record(MG_RECORD_COMBINED);
    assert_int_equal(mg_redact_add(&record->redact, MG_REDACT_HEADER, MG_STR("User-Agent")), 0);
    write_line(f, record);
    assert_null(strstr(f->line, "curl"));
    mg_record_free(record);
}

static void the_client_address_is_shown_as_configured(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum mg_record_client_ip how;
        const char *ip, *line;
    } cases[] = {
        {MG_CLIENT_IP_FULL, "203.0.113.77", "{\"client_ip\":\"203.0.113.77\"}\n"},
        {MG_CLIENT_IP_PREFIX, "203.0.113.77", "{\"client_ip\":\"203.0.113.0\"}\n"},
        {MG_CLIENT_IP_PREFIX, "2001:db8:1:2:3::4", "{\"client_ip\":\"2001:db8:1::\"}\n"},
        {MG_CLIENT_IP_PREFIX, "unix:", "{\"client_ip\":\"unix:\"}\n"},
        {MG_CLIENT_IP_NONE, "203.0.113.77", "{}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mg_record *record = new_record(MG_RECORD_JSON);
        record->options.client_ip = cases[i].how;
        f->req.client_ip = mg_str_from(cases[i].ip);
        add_fields(record, "client_ip");
        write_line(f, record);
        assert_string_equal(f->line, cases[i].line);
        mg_record_free(record);
    }
    struct mg_record *record = new_record(MG_RECORD_JSON);
    record->options.client_ip = MG_CLIENT_IP_HASH;
    add_fields(record, "client_ip peer_ip");
    write_line(f, record);
    assert_null(strstr(f->line, "203.0"));
    assert_null(strstr(f->line, "10.1.1.1"));
    assert_int_equal(f->length, strlen("{\"client_ip\":\"\",\"peer_ip\":\"\"}\n") + 32);
    mg_record_free(record);
}

/* --- length --- */

static void long_values_are_cut_and_the_line_says_so(void **state)
{
    struct fixture *f = *state;
    static char agent[30000], path[8000];
    memset(agent, 'u', sizeof agent);
    memset(path, 'p', sizeof path);
    mg_headers_set(&f->req.head.headers, MG_STR("User-Agent"), mg_str_make(agent, sizeof agent));
    f->req.uri.path = mg_str_make(path, sizeof path);
    struct mg_record *record = new_record(MG_RECORD_JSON);
    add_fields(record, every_field);
    write_line(f, record);
    assert_true(f->length <= LINE_BYTES);
    assert_true(f->length > LINE_BYTES / 4);
    assert_non_null(strstr(f->line, ",\"truncated\":true}\n"));
    assert_non_null(strstr(f->line, "\"generation\":7"));
    f->length = mg_record_write(record, &f->req, 3, MG_STR(""), f->line, 4096); /* for a pipe */
    assert_true(f->length <= 4096);
    assert_memory_equal(f->line + f->length - 19, ",\"truncated\":true}\n", 19);
    mg_record_free(record);
}

static void lines_fit_at_every_length(void **state)
{
    struct fixture *f = *state;
    static char agent[20000];
    struct mg_record *record = new_record(MG_RECORD_JSON);
    struct mg_record *combined = new_record(MG_RECORD_COMBINED);
    add_fields(record, every_field);
    for (size_t i = 0; i < sizeof agent; i++) {
        agent[i] = "\x01\xc3\xa4q\""[i % 5]; /* what grows, and what must not be cut in two */
    }
    for (size_t length = 256; length < 3000; length += 7) {
        mg_headers_set(&f->req.head.headers, MG_STR("User-Agent"), mg_str_make(agent, length * 3));
        const size_t written = mg_record_write(record, &f->req, 0, MG_STR(""), f->line, length);
        assert_true(written <= length);
        assert_memory_equal(f->line + written - 2, "}\n", 2);
        assert_null(memmem(f->line, written, "\xef\xbf\xbd", 3));
        assert_true(mg_record_write(combined, &f->req, 0, MG_STR(""), f->line, length) <= length);
    }
    mg_record_free(record);
    mg_record_free(combined);
}

#define WITH_REQUEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_REQUEST(what_a_line_keeps_is_what_the_next_one_says),
        WITH_REQUEST(a_plain_request_is_one_json_object),
        WITH_REQUEST(a_denied_request_says_who_and_why),
        WITH_REQUEST(a_request_without_route_leaves_out_what_it_has_not),
        WITH_REQUEST(retries_are_listed),
        WITH_REQUEST(combined_is_apaches_format),
        WITH_REQUEST(a_template_shows_fields_and_defaults),
        WITH_REQUEST(headers_of_each_side_are_one_object),
        WITH_REQUEST(constants_stand_as_they_are),
        WITH_REQUEST(the_calendar_is_right),
        WITH_REQUEST(nothing_a_client_sends_makes_a_second_line),
        WITH_REQUEST(random_bytes_give_valid_json),
        WITH_REQUEST(planted_secrets_stay_out_of_every_form),
        WITH_REQUEST(a_field_that_is_secret_itself_is_hidden_in_combined_too),
        WITH_REQUEST(the_client_address_is_shown_as_configured),
        WITH_REQUEST(long_values_are_cut_and_the_line_says_so),
        WITH_REQUEST(lines_fit_at_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
