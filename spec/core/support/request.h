/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request for tests of what plugins may do to one: GET /orders/7?x=1&y HTTP/1.1, not yet routed,
 * with a configuration that has one upstream and trusts 10.0.0.0/8.
 *
 *     cmocka_unit_test_setup_teardown(test, request_setup, request_teardown)
 *     struct mg_req *req = *state;
 */
#pragma once

#include "model/req.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static inline int request_read_body(struct mg_req *req)
{
    req->body = MG_STR("read");
    req->body_state = MG_BODY_WHOLE;
    return 0;
}

static const struct mg_req_ops request_ops = {.read_body = request_read_body};

static inline int request_setup(void **state)
{
    static struct mg_config config;
    static struct mg_cidr trusted;
    static struct mg_upstream_config upstream;
    memset(&config, 0, sizeof config);
    upstream.name = MG_STR("pool");
    assert_int_equal(mg_cidr_parse(MG_STR("10.0.0.0/8"), &trusted), 0);
    config.gateway.trusted = &trusted;
    config.gateway.trusted_count = 1;
    config.gateway.limits.response_buffer = 8192;
    config.upstreams = &upstream;
    config.upstream_count = 1;
    struct mg_req *req = calloc(1, sizeof *req);
    mg_arena_init(&req->arena, 4096);
    mg_buf_init(&req->filter_out, 64);
    mg_req_reset(req);
    req->config = &config;
    req->ops = &request_ops;
    req->head.method = MG_STR("GET");
    req->head.target = MG_STR("/orders/%37?x=1&y");
    req->head.minor = 1;
    req->uri.path = MG_STR("/orders/7");
    req->uri.raw_path = MG_STR("/orders/%37");
    req->uri.query = MG_STR("x=1&y");
    req->uri.has_query = true;
    req->host = (struct mg_host){.name = MG_STR("shop.test"), .port = -1};
    req->peer_ip = MG_STR("127.0.0.1");
    req->client_ip = MG_STR("192.0.2.1");
    mg_headers_add(&req->head.headers, MG_STR("X-Tenant"), MG_STR("acme"));
    mg_headers_add(&req->head.headers, MG_STR("Accept"), MG_STR("text/html"));
    mg_headers_add(&req->head.headers, MG_STR("x-tenant"), MG_STR("globex"));
    *state = req;
    return 0;
}

static inline int request_teardown(void **state)
{
    struct mg_req *req = *state;
    mg_arena_deinit(&req->arena);
    mg_buf_deinit(&req->filter_out);
    free(req);
    return 0;
}

/* Compares bytes that have no terminator. */
#define assert_text(actual_ptr, actual_len, wanted)                                                \
    do {                                                                                           \
        assert_int_equal(actual_len, strlen(wanted));                                              \
        assert_memory_equal(actual_ptr, wanted, strlen(wanted));                                   \
    } while (0)
