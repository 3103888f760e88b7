/* SPDX-License-Identifier: Apache-2.0 */
/* The kit in a real Lua state, on real requests: what its specs, which run on tables, cannot
 * show. */
#include "support/sockets.h"
#include "support/vm.h"

#include "net/pool.h"

#include <poll.h>
#include <unistd.h>

#include <sys/socket.h>

#define KIT "local moongate, ngx = require 'moongate.pdk', require 'moongate.ngx'\n"

/* A request of a client: POST /a%20b?x=1&y */
static struct mg_req *client_request(struct vm_fixture *f)
{
    struct mg_req *req = vm_request(f, 0);
    req->head.method = MG_STR("POST");
    req->head.minor = 1;
    req->uri.path = MG_STR("/a%20b");
    req->uri.query = MG_STR("x=1&y");
    req->uri.has_query = true;
    req->host.name = MG_STR("shop.test");
    mg_headers_add(&req->head.headers, MG_STR("X-Tenant"), MG_STR("acme"));
    mg_headers_add(&req->head.headers, MG_STR("Content-Type"), MG_STR("application/json"));
    return req;
}

static enum mg_verdict run(struct vm_fixture *f, struct mg_req *req, enum mg_phase phase)
{
    f->done_verdict = -1;
    return mg_hook_run(req, phase);
}

static void expect_field(const struct mg_headers *headers, const char *name, const char *wanted)
{
    const mg_str value = mg_headers_join(headers, mg_str_from(name));
    assert_int_equal(value.len, strlen(wanted));
    assert_memory_equal(value.ptr, wanted, value.len);
}

static void a_handler_reads_and_changes_its_request(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = { a = { access = function()\n"
            "  local request, out = moongate.request, moongate.service.request\n"
            "  seen(request.get_method() .. request.get_path_with_query())\n"
            "  seen(request.get_header('x_tenant') .. tostring(request.get_query_arg('y')))\n"
            "  seen(moongate.router.get_route().name)\n"
            "  out.set_header('X-Checked', 7) out.set_query({ z = 'a b' }) out.set_path('/n')\n"
            "  moongate.response.set_header('X-Later', 'yes')\n"
            "end } } }",
        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "POST/a%20b?x=1&y acmetrue route1");
    expect_field(&req->head.headers, "x-checked", "7");
    assert_true(mg_str_equal(req->up.query, MG_STR("z=a%20b")));
    assert_true(mg_str_equal(req->up.path, MG_STR("/n")));
    req->status = 200;
    mg_req_replay_fields(req);
    expect_field(&req->out, "x-later", "yes");
    vm_fixture_close(f);
}

static void an_exit_makes_the_answer(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = { a = { access = function()\n"
            "  moongate.response.set_header('X-Kept', '1')\n"
            "  pcall(moongate.response.exit, 403, { message = 'no' }, { ['X-A'] = 'b' })\n"
            "  seen('never')\n"
            "end } } }",
        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_string_equal(vm_seen(f), "");
    assert_int_equal(req->status, 403);
    assert_int_equal(req->source, MG_SOURCE_EXIT);
    assert_true(mg_str_equal(req->answer, MG_STR("{\"message\":\"no\"}")));
    expect_field(&req->out, "content-type", "application/json; charset=utf-8");
    expect_field(&req->out, "x-a", "b");
    expect_field(&req->out, "x-kept", "1");
    vm_fixture_close(f);
}

static void printing_answers_and_the_handlers_go_on(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = {\n"
            "  a = { PRIORITY = 2, access = function() ngx.say('one') seen('a') end },\n"
            "  b = { PRIORITY = 1, access = function() ngx.print('two') seen('b') end } } }",
        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_string_equal(vm_seen(f), "a b");
    assert_int_equal(req->status, 200);
    assert_true(mg_str_equal(req->answer, MG_STR("one\ntwo")));
    vm_fixture_close(f);
}

static void a_body_is_waited_for(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open(KIT "return gateway{ handlers = { a = { access = function()\n"
                            "  seen('ask') seen(moongate.request.get_body().a[2])\n"
                            "end } } }",
                        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    req->body = MG_STR("{\"a\":[1,\"got\"]}");
    req->body_state = MG_BODY_WHOLE;
    mg_hook_resume(req, 0);
    assert_int_equal(f->done_verdict, MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "ask got");
    vm_fixture_close(f);
}

static void a_body_that_is_too_large_is_an_error_for_the_plugin(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = { a = { access = function()\n"
            "  local body, err = moongate.request.get_raw_body() seen(tostring(body) .. err)\n"
            "end } } }",
        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    mg_hook_resume(req, MG_EBODY_TOO_LARGE);
    assert_string_equal(vm_seen(f), "nilrequest body is too large");
    vm_fixture_close(f);
}

static void round_of(struct vm_fixture *f, struct mg_req *req, const char *chunk, bool last)
{
    req->chunk = mg_str_from(chunk);
    req->chunk_last = last;
    assert_int_equal(run(f, req, MG_PHASE_BODY_FILTER), MG_VERDICT_CONTINUE);
}

static void two_plugins_take_the_whole_body(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "local function collect(name) return function()\n"
            "  local body = moongate.response.get_raw_body()\n"
            "  if body then seen(body) moongate.response.set_raw_body(body .. name) end\n"
            "end end\n"
            "return gateway{ handlers = { a = { PRIORITY = 2, body_filter = collect('A') },\n"
            "  b = { PRIORITY = 1, body_filter = collect('B') } } }",
        1);
    struct mg_req *req = client_request(f);
    req->status = 200;
    round_of(f, req, "one", false);
    assert_int_equal(req->chunk.len, 0);
    assert_true(req->want_whole_body);
    round_of(f, req, "two", true);
    assert_true(mg_str_equal(req->chunk, MG_STR("onetwoAB")));
    assert_string_equal(vm_seen(f), "onetwo onetwoA");
    vm_fixture_close(f);
}

static void tables_of_a_request_end_with_it(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = { a = { access = function()\n"
            "  local ctx = moongate.ctx\n"
            "  seen(tostring(ctx.shared.x) .. tostring(ctx.plugin.y) .. tostring(ngx.ctx.z))\n"
            "  ctx.shared.x, ctx.plugin.y, ngx.ctx.z = 1, 2, 3\n"
            "end, log = function()\n"
            "  seen(moongate.ctx.shared.x + moongate.ctx.plugin.y + ngx.ctx.z)\n"
            "end } } }",
        1);
    for (int i = 0; i < 2; i++) {
        struct mg_req *req = vm_request_at(f, 0, 0);
        assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
        assert_int_equal(run(f, req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
        assert_string_equal(vm_seen(f), "nilnilnil 6");
        mg_hook_end(req);
    }
    vm_fixture_close(f);
}

static void a_request_is_out_of_reach_after_its_end(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        KIT "return gateway{ handlers = { a = { access = function()\n"
            "  ngx.timer.at(0, function()\n"
            "    seen(tostring(pcall(moongate.request.get_port)))\n"
            "    seen(select(2, pcall(function() return moongate.ctx.shared end)):match('no .*'))\n"
            "  end)\n"
            "end } } }",
        1);
    struct mg_req *req = client_request(f);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    mg_hook_end(req);
    vm_advance(f, 2);
    assert_string_equal(vm_seen(f), "false no request found");
    vm_fixture_close(f);
}

/* What the error log got names the plugin and its line. */
static void the_log_names_plugin_and_line(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open(KIT "return gateway{ handlers = { a = { access = function()\n"
                            "  moongate.log.warn('careful ', 1)\n"
                            "end } } }",
                        1);
    assert_int_equal(run(f, client_request(f), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_non_null(strstr(vm_log_text(f), "warn plugin a: "));
    assert_non_null(strstr(vm_log_text(f), ": careful 1\n"));
    vm_fixture_close(f);
}

static long heap_bytes(lua_State *L)
{
    return lua_gc(L, LUA_GCCOUNT, 0) * 1024L + lua_gc(L, LUA_GCCOUNTB, 0);
}

static long growth_of_a_run(struct vm_fixture *f, struct mg_req *req)
{
    const int runs = 1000;
    lua_gc(f->vm->L, LUA_GCSTOP, 0);
    const long before = heap_bytes(f->vm->L);
    for (int i = 0; i < runs; i++) {
        assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    }
    const long growth = heap_bytes(f->vm->L) - before;
    lua_gc(f->vm->L, LUA_GCRESTART, 0);
    return growth / runs;
}

/* What a usual handler calls is compiled: interpreted FFI calls would box pointers and sizes, so
 * the heap would grow with each run. The strings it reads are interned already. */
static void the_hot_path_makes_no_garbage(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open(KIT "return gateway{ handlers = { a = { access = function()\n"
                            "  local request = moongate.request\n"
                            "  if request.get_header('X-Tenant') ~= 'acme' then seen('wrong') end\n"
                            "  if request.get_query_arg('x') ~= '1' then seen('wrong') end\n"
                            "  if request.get_path() ~= '/a%20b' then seen('wrong') end\n"
                            "  moongate.service.request.set_header('X-Checked', 'yes')\n"
                            "  moongate.response.set_header('X-Later', 'yes')\n"
                            "end } } }",
                        1);
    struct mg_req *req = client_request(f);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    }
    assert_int_equal(growth_of_a_run(f, req), 0);
    assert_string_equal(vm_seen(f), "");
    vm_fixture_close(f);
}

struct peer {
    int listener, fd;
    char got[1024];
    size_t len;
};

static bool is_readable(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, 0) > 0;
}

static bool peer_has_request(void *context)
{
    struct peer *peer = context;
    if (peer->fd < 0 && is_readable(peer->listener)) {
        peer->fd = accept(peer->listener, NULL, NULL);
    }
    if (peer->fd >= 0 && is_readable(peer->fd)) {
        const ssize_t n = read(peer->fd, peer->got + peer->len, sizeof peer->got - 1 - peer->len);
        peer->len += n > 0 ? (size_t)n : 0;
    }
    return strstr(peer->got, "\r\n\r\n{}") != NULL;
}

static bool hook_is_done(void *context)
{
    const struct vm_fixture *f = context;
    return f->done_verdict >= 0;
}

static const char http_handler[] =
    KIT "local http = require 'moongate.http'\n"
        "return gateway{ handlers = { a = { access = function()\n"
        "  local answer, err = http.request{ url = 'http://127.0.0.1:' .. port .. '/q?r',\n"
        "    method = 'POST', body = '{}', headers = { ['X-A'] = 'b' }, keepalive = 0 }\n"
        "  seen(answer and answer.status .. answer.headers.X_B .. answer.body or err)\n"
        "end } } }";

struct http_fixture {
    struct vm_fixture *vm;
    struct mg_dns *dns;
    struct mg_pool *pool;
    struct peer peer;
};

static void http_open(struct http_fixture *h)
{
    uint16_t port;
    h->peer = (struct peer){.listener = sockets_listen(&port), .fd = -1};
    h->vm = vm_fixture_make(0, 1);
    const struct mg_dns_options options = {.timeout_ms = 1000, .tries = 1};
    assert_int_equal(mg_dns_open(&h->dns, &h->vm->loop, &options), 0);
    assert_int_equal(mg_pool_open(&h->pool, &h->vm->loop, h->dns), 0);
    h->vm->vm->options.pool = h->pool;
    lua_pushinteger(h->vm->vm->L, port);
    lua_setglobal(h->vm->vm->L, "port");
    vm_fixture_start(h->vm, http_handler, true);
    struct mg_limits *limits = &h->vm->config->gateway.limits;
    limits->response_head = (struct mg_http1_limits){.request_line = 100,
                                                     .header_bytes = 1000,
                                                     .header_line = 100,
                                                     .header_name = 100,
                                                     .header_count = 10};
}

static void http_close(struct http_fixture *h)
{
    mg_pool_close(h->pool);
    mg_dns_close(h->dns);
    vm_fixture_close(h->vm);
    close(h->peer.listener);
    if (h->peer.fd >= 0) {
        close(h->peer.fd);
    }
}

static void a_handler_asks_another_service(void **state)
{
    (void)state;
    struct http_fixture h;
    http_open(&h);
    assert_int_equal(run(h.vm, client_request(h.vm), MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    sockets_run_until(&h.vm->loop, peer_has_request, &h.peer);
    assert_non_null(strstr(h.peer.got, "POST /q?r HTTP/1.1\r\n"));
    assert_non_null(strstr(h.peer.got, "X-A: b\r\n"));
    const char answer[] = "HTTP/1.1 200 x\r\nX-B: c\r\nContent-Length: 2\r\n\r\nok";
    assert_int_equal(write(h.peer.fd, answer, strlen(answer)), strlen(answer));
    sockets_run_until(&h.vm->loop, hook_is_done, h.vm);
    assert_string_equal(vm_seen(h.vm), "200cok");
    http_close(&h);
}

static void a_request_that_ends_gives_its_call_up(void **state)
{
    (void)state;
    struct http_fixture h;
    http_open(&h);
    struct mg_req *req = client_request(h.vm);
    assert_int_equal(run(h.vm, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    sockets_run_until(&h.vm->loop, peer_has_request, &h.peer);
    mg_hook_end(req);
    while (mg_loop_turn(&h.vm->loop)) {
    }
    char byte;
    assert_int_equal(read(h.peer.fd, &byte, 1), 0);
    assert_string_equal(vm_seen(h.vm), "");
    http_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_reads_and_changes_its_request),
        cmocka_unit_test(an_exit_makes_the_answer),
        cmocka_unit_test(printing_answers_and_the_handlers_go_on),
        cmocka_unit_test(a_body_is_waited_for),
        cmocka_unit_test(a_body_that_is_too_large_is_an_error_for_the_plugin),
        cmocka_unit_test(two_plugins_take_the_whole_body),
        cmocka_unit_test(tables_of_a_request_end_with_it),
        cmocka_unit_test(a_request_is_out_of_reach_after_its_end),
        cmocka_unit_test(the_log_names_plugin_and_line),
        cmocka_unit_test(the_hot_path_makes_no_garbage),
        cmocka_unit_test(a_handler_asks_another_service),
        cmocka_unit_test(a_request_that_ends_gives_its_call_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
