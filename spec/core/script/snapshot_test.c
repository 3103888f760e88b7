/* SPDX-License-Identifier: Apache-2.0 */
/* From YAML through the loader in lua/moongate/config to struct mg_config, and tables that lie. */
#include "script/snapshot.h"

#include "model/route.h"
#include "script/json.h"
#include "script/yaml.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const char everything[] =
    "_format_version: \"3.0\"\n"
    "services:\n"
    "- name: orders\n"
    "  host: Orders.Example\n"
    "  port: 8443\n"
    "  path: /v1\n"
    "  read_timeout: 1234\n"
    "  retries: 3\n"
    "  routes:\n"
    "  - name: all\n"
    "    methods: [GET, POST]\n"
    "    hosts: [API.Example, '*.shop.example:8443']\n"
    "    paths: [/orders, '~/o/(?<id>\\d+)$']\n"
    "    headers: {x-b: [Two, '~*^\\D$'], x-a: ['1']}\n"
    "    strip_path: false\n"
    "    preserve_host: true\n"
    "    regex_priority: -7\n"
    "    protocols: [https]\n"
    "    https_redirect_status_code: 308\n"
    "    request_buffering: false\n"
    "  - name: plain\n"
    "    paths: [/plain]\n"
    "- name: local\n"
    "  host: unix:/run/App.sock\n"
    "  enabled: false\n"
    "- name: balanced\n"
    "  host: pool.internal\n"
    "  routes:\n"
    "  - {name: pooled, paths: [/pooled]}\n"
    "upstreams:\n"
    "- name: pool.internal\n"
    "  algorithm: consistent-hashing\n"
    "  hash_on: header\n"
    "  hash_on_header: X-User\n"
    "  hash_fallback: cookie\n"
    "  hash_on_cookie: sid\n"
    "  host_header: inner.example\n"
    "  slots: 100\n"
    "  targets:\n"
    "  - {target: '10.0.0.1:81', weight: 7}\n"
    "  - {target: 'B.example'}\n"
    "  - {target: 'unix:/run/B.sock'}\n"
    "  - {target: '[::1]:82'}\n"
    "gateway:\n"
    "  workers: 3\n"
    "  user: nobody\n"
    "  shared_memory: 8MiB\n"
    "  listeners:\n"
    "  - {address: '127.0.0.1:8000', backlog: 5}\n"
    "  - {address: 'unix:/run/g.sock', merge_slashes: false, encoded_slash: keep, utf8: any}\n"
    "  trusted_ips: [10.0.0.0/8, '::1']\n"
    "  limits: {header_timeout: 7s, request_body: 0, header_count: 50, chunk_line: 99,\n"
    "           connections: 77, response_header_bytes: 1KiB, regex_match_limit: 5000}\n"
    "  retry: {attempts: 2}\n"
    "  upstreams:\n"
    "    defaults: {keepalive: 5, limits: {requests: 9}}\n"
    "    settings:\n"
    "      pool.internal: {keepalive_idle: 3s, limits: {requests: 4}}\n"
    "      Orders.Example: {keepalive: 5}\n"
    "  routes:\n"
    "    settings:\n"
    "      all: {websocket: false, limits: {request_body: 1MiB,\n"
    "            upstream_read_timeout: 9s, upstream_write_timeout: 8s}}\n"
    "  dns: {timeout: 3s, tries: 4, stale: 5s, negative: 6s}\n"
    "  log: {level: info, error_log: /var/log/e.log}\n"
    "  headers: {request_id: false, via: gw}\n"
    "  shutdown: {drain_delay: 1s, drain_timeout: 2s}\n"
    "  plugins: {watchdog_ms: 500, init_timeout: 4s, max_generations: 3, drain_timeout: 6s}\n";

static lua_State *new_state(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    static const char *const path =
        "package.path = '" MOONGATE_SOURCE_DIR "/lua/?.lua;" MOONGATE_SOURCE_DIR "/lua/?/init.lua'";
    assert_int_equal(luaL_dostring(L, path), 0);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, mg_yaml_open);
    lua_setfield(L, -2, "moongate.yaml");
    lua_pushcfunction(L, mg_json_open);
    lua_setfield(L, -2, "cjson");
    lua_settop(L, 0);
    return L;
}

/* Leaves the snapshot of the text on the stack. */
static void load(lua_State *L, const char *text)
{
    static const char loader[] =
        "local text = ...\n"
        "local snapshot, findings = require('moongate.config').load{ file = 'test.yml', text = "
        "text }\n"
        "if not snapshot then\n"
        "    local lines = {}\n"
        "    for i, f in ipairs(findings) do lines[i] = (f.line or 0) .. ': ' .. f.message end\n"
        "    error(table.concat(lines, '; '))\n"
        "end\n"
        "return snapshot";
    assert_int_equal(luaL_loadstring(L, loader), 0);
    lua_pushstring(L, text);
    if (lua_pcall(L, 1, 1, 0) != 0) {
        fail_msg("%s", lua_tostring(L, -1));
    }
}

static struct mg_config *build(lua_State *L)
{
    struct mg_config *config = mg_config_new();
    char message[512] = "";
    const int top = lua_gettop(L);
    if (mg_snapshot_build(L, -1, config, message, sizeof message) != 0) {
        fail_msg("%s", message);
    }
    assert_int_equal(lua_gettop(L), top);
    return config;
}

static struct mg_config *build_text(const char *text)
{
    lua_State *L = new_state();
    load(L, text);
    struct mg_config *config = build(L);
    lua_close(L); /* nothing of the configuration may point into it */
    return config;
}

static void expect_text(mg_str got, const char *wanted)
{
    if (!mg_str_equal(got, mg_str_from(wanted))) {
        fail_msg("'%.*s' is not '%s'", MG_STR_ARG(got), wanted);
    }
}

static void the_gateway_section_arrives_whole(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    const struct mg_gateway *gateway = &config->gateway;
    expect_text(config->file, "test.yml");
    assert_int_equal(gateway->workers, 3);
    expect_text(gateway->user, "nobody");
    assert_int_equal(gateway->shared_memory, 8 << 20);
    assert_int_equal(gateway->listener_count, 2);
    expect_text(gateway->listeners[0].address, "127.0.0.1:8000");
    assert_int_equal(gateway->listeners[0].backlog, 5);
    assert_false(gateway->listeners[0].uri.keep_slashes);
    assert_false(gateway->listeners[0].uri.keep_encoded_slash);
    assert_false(gateway->listeners[0].uri.any_utf8);
    expect_text(gateway->listeners[1].address, "unix:/run/g.sock");
    assert_int_equal(gateway->listeners[1].backlog, 1024);
    assert_true(gateway->listeners[1].uri.keep_slashes);
    assert_true(gateway->listeners[1].uri.keep_encoded_slash);
    assert_true(gateway->listeners[1].uri.any_utf8);
    assert_int_equal(gateway->trusted_count, 2);
    assert_true(mg_cidr_match(gateway->trusted, 2, MG_STR("10.9.9.9")));
    assert_true(mg_cidr_match(gateway->trusted, 2, MG_STR("::1")));
    assert_false(mg_cidr_match(gateway->trusted, 2, MG_STR("11.0.0.1")));
    assert_int_equal(gateway->upstream_defaults.retry.attempts, 2);
    assert_int_equal(gateway->dns.timeout, 3000);
    assert_int_equal(gateway->dns.tries, 4);
    assert_int_equal(gateway->dns.stale, 5000);
    assert_int_equal(gateway->dns.negative, 6000);
    expect_text(gateway->log.level, "info");
    expect_text(gateway->log.file, "/var/log/e.log");
    expect_text(gateway->headers.request_id, "");
    expect_text(gateway->headers.via, "gw");
    expect_text(gateway->headers.via_1_1, "1.1 gw");
    expect_text(gateway->headers.server, "moongate");
    assert_false(gateway->headers.kong_names);
    assert_int_equal(gateway->drain_delay, 1000);
    assert_int_equal(gateway->drain_timeout, 2000);
    assert_int_equal(gateway->watchdog_ms, 500);
    assert_int_equal(gateway->init_timeout, 4000);
    assert_int_equal(gateway->max_generations, 3);
    assert_int_equal(gateway->plugins_drain_timeout, 6000);
    mg_config_free(config);
}

static void limits_are_set_or_have_their_defaults(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    const struct mg_limits *limits = &config->gateway.limits;
    assert_int_equal(limits->header_timeout, 7000);
    assert_int_equal(limits->request_body, 0);
    assert_int_equal(limits->request_head.header_count, 50);
    assert_int_equal(limits->chunk.line, 99);
    assert_int_equal(limits->connections, 77);
    assert_int_equal(limits->response_head.header_bytes, 1024);
    assert_int_equal(limits->response_head.header_count, 200);
    assert_int_equal(limits->regex_match_limit, 5000);
    assert_int_equal(limits->body_timeout, 15000);
    assert_int_equal(limits->body_total_timeout, 300000);
    assert_int_equal(limits->body_min_rate, 1024);
    assert_int_equal(limits->send_timeout, 30000);
    assert_int_equal(limits->keepalive_timeout, 65000);
    assert_int_equal(limits->tunnel_timeout, 600000);
    assert_int_equal(limits->connect_timeout, 2000);
    assert_int_equal(limits->read_timeout, 60000);
    assert_int_equal(limits->write_timeout, 60000);
    assert_int_equal(limits->request_timeout, 0);
    assert_int_equal(limits->request_head.request_line, 8192);
    assert_int_equal(limits->request_head.header_bytes, 32768);
    assert_int_equal(limits->request_head.header_line, 8192);
    assert_int_equal(limits->request_head.header_name, 256);
    assert_int_equal(limits->query_args, 100);
    assert_int_equal(limits->cookies, 100);
    assert_int_equal(limits->chunk.extensions, 4096);
    assert_int_equal(limits->chunk.trailers, 20);
    assert_int_equal(limits->chunk.trailer_bytes, 8192);
    assert_int_equal(limits->interim_responses, 8);
    assert_int_equal(limits->request_buffer, 65536);
    assert_int_equal(limits->response_buffer, 8 << 20);
    assert_int_equal(limits->connection_requests, 10000);
    assert_int_equal(limits->lua_memory, 256 << 20);
    mg_config_free(config);
}

static void services_know_their_upstream(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    assert_int_equal(config->service_count, 3);
    const struct mg_service *orders = &config->services[0];
    expect_text(orders->name, "orders");
    assert_int_equal(orders->id.len, 36);
    expect_text(orders->host, "orders.example");
    assert_int_equal(orders->port, 8443);
    expect_text(orders->path, "/v1");
    assert_int_equal(orders->connect_timeout, 2000);
    assert_int_equal(orders->read_timeout, 1234);
    assert_int_equal(orders->retries, 3);
    assert_true(orders->enabled);
    assert_null(orders->upstream);
    assert_int_equal(orders->settings.keepalive, 5);
    assert_int_equal(orders->settings.keepalive, 5);
    assert_int_equal(orders->line, 3);
    const struct mg_service *unix_service = &config->services[1];
    expect_text(unix_service->host, "unix:/run/App.sock");
    assert_int_equal(unix_service->port, 0);
    assert_false(unix_service->enabled);
    const struct mg_service *balanced = &config->services[2];
    assert_ptr_equal(balanced->upstream, &config->upstreams[0]);
    assert_int_equal(balanced->settings.keepalive_idle, 3000);
    mg_config_free(config);
}

static void upstreams_have_targets_and_settings(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    assert_int_equal(config->upstream_count, 1);
    const struct mg_upstream_config *upstream = config->upstreams;
    expect_text(upstream->name, "pool.internal");
    assert_int_equal(upstream->algorithm, MG_BALANCE_CONSISTENT_HASH);
    assert_int_equal(upstream->hash_on, MG_HASH_HEADER);
    expect_text(upstream->hash_name, "X-User");
    assert_int_equal(upstream->hash_fallback, MG_HASH_COOKIE);
    expect_text(upstream->hash_fallback_name, "sid");
    expect_text(upstream->hash_cookie_path, "/");
    expect_text(upstream->host_header, "inner.example");
    assert_int_equal(upstream->slots, 100);
    assert_int_equal(upstream->settings.keepalive, 5);
    assert_int_equal(upstream->settings.keepalive_idle, 3000);
    assert_int_equal(upstream->settings.limits.connections, 1024);
    assert_int_equal(upstream->settings.limits.requests, 4);
    assert_int_equal(upstream->settings.retry.attempts, 2);
    assert_int_equal(upstream->target_count, 4);
    expect_text(upstream->targets[0].host, "10.0.0.1");
    assert_int_equal(upstream->targets[0].port, 81);
    assert_int_equal(upstream->targets[0].weight, 7);
    expect_text(upstream->targets[1].host, "b.example");
    assert_int_equal(upstream->targets[1].port, 8000);
    assert_int_equal(upstream->targets[1].weight, 100);
    expect_text(upstream->targets[2].host, "unix:/run/B.sock");
    expect_text(upstream->targets[3].host, "::1");
    assert_int_equal(upstream->targets[3].port, 82);
    mg_config_free(config);
}

static void routes_have_all_their_fields(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    assert_int_equal(config->route_count, 3);
    const struct mg_route *route = &config->routes[0];
    expect_text(route->name, "all");
    assert_ptr_equal(route->service, &config->services[0]);
    assert_int_equal(route->method_count, 2);
    expect_text(route->methods[1], "POST");
    assert_int_equal(route->host_count, 2);
    expect_text(route->hosts[0], "api.example");
    expect_text(route->hosts[1], "*.shop.example:8443");
    assert_int_equal(route->path_count, 2);
    expect_text(route->paths[0].text, "/orders");
    assert_false(route->paths[0].is_regex);
    expect_text(route->paths[1].text, "/o/(?<id>\\d+)$");
    assert_true(route->paths[1].is_regex);
    assert_int_equal(route->header_count, 2);
    expect_text(route->headers[0].name, "x-a");
    expect_text(route->headers[1].name, "x-b");
    expect_text(route->headers[1].values[0], "two");
    expect_text(route->headers[1].values[1], "~*^\\D$");
    assert_false(route->strip_path);
    assert_true(route->preserve_host);
    assert_int_equal(route->regex_priority, -7);
    assert_true(route->https);
    assert_false(route->http);
    assert_int_equal(route->https_redirect_status, 308);
    assert_false(route->request_buffering);
    assert_true(route->response_buffering);
    assert_int_equal(route->index, 0);
    assert_int_equal(route->line, 10);
    assert_true(config->routes[1].strip_path);
    assert_true(config->routes[1].http && config->routes[1].https);
    mg_config_free(config);
}

static void limits_of_a_route_yield_to_its_service_alone(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    const struct mg_route *all = &config->routes[0];
    assert_false(all->websocket);
    assert_int_equal(all->trailer_count, 0);
    assert_int_equal(all->limits->request_body, 1 << 20);
    assert_int_equal(all->limits->header_timeout, 7000);
    assert_int_equal(all->limits->read_timeout, 1234);  /* the service's own */
    assert_int_equal(all->limits->write_timeout, 8000); /* the route's: the service has none */
    assert_int_equal(all->limits->connect_timeout, 2000);
    assert_int_equal(config->routes[1].limits->read_timeout, 1234);
    assert_true(config->routes[1].websocket);
    assert_ptr_equal(config->routes[2].limits, &config->gateway.limits);
    mg_config_free(config);
}

static void the_router_is_ready(void **state)
{
    (void)state;
    struct mg_config *config = build_text(everything);
    const struct mg_question question = {
        .method = MG_STR("GET"), .host = MG_STR("h"), .port = 80, .path = MG_STR("/plain/x")};
    struct mg_match match;
    assert_true(mg_router_match(config, &question, &match));
    assert_ptr_equal(match.route, &config->routes[1]);
    mg_config_free(config);
}

static void a_bare_file_has_every_default(void **state)
{
    (void)state;
    struct mg_config *config = build_text("_format_version: \"3.0\"\n");
    assert_int_equal(config->gateway.workers, 0);
    assert_int_equal(config->gateway.listener_count, 1);
    expect_text(config->gateway.listeners[0].address, "0.0.0.0:8000");
    expect_text(config->gateway.headers.request_id, "X-Request-ID");
    expect_text(config->gateway.headers.via, "moongate");
    assert_int_equal(config->gateway.limits.connections, 0);
    assert_int_equal(config->route_count, 0);
    assert_int_equal(config->identity_count, 0);
    mg_config_free(config);
}

/* --- tables that no loader makes --- */

static int build_literal(const char *literal, char *message, size_t bytes)
{
    lua_State *L = new_state();
    assert_int_equal(luaL_dostring(L, literal), 0);
    struct mg_config *config = mg_config_new();
    const int err = mg_snapshot_build(L, lua_gettop(L), config, message, bytes);
    assert_int_equal(lua_gettop(L), 1);
    mg_config_free(config); /* the leak check sees what is left */
    lua_close(L);
    return err;
}

static void expect_refusal(const char *literal, const char *wanted)
{
    char message[512] = "";
    assert_int_equal(build_literal(literal, message, sizeof message), MG_ELUA);
    if (!strstr(message, wanted)) {
        fail_msg("'%s' does not say '%s'", message, wanted);
    }
}

static void a_table_of_another_form_is_refused(void **state)
{
    (void)state;
    expect_refusal("return 1", "table expected");
    expect_refusal("return {}", "there is no 'gateway'");
    expect_refusal("return { gateway = 1 }", "'gateway' is number, not a table");
    expect_refusal("return { gateway = { limits = { cookies = 'x' } } }",
                   "'cookies' is string, not a number");
    expect_refusal("return { gateway = { limits = { cookies = 1.5 } } }",
                   "'cookies' is number, not a whole number in range");
    expect_refusal("return { gateway = { limits = { cookies = 2^32 } } }", "in range");
    expect_refusal("return { gateway = { limits = { cookies = -1 } } }", "in range");
    expect_refusal("return { gateway = { limits = { cookies = 0/0 } } }", "in range");
    expect_refusal("return { gateway = { trusted_ips = { 'x' } } }", "'x' is no range");
    expect_refusal("return { gateway = {}, services = { { host = {} } } }",
                   "'host' is table, not text");
    expect_refusal("return { gateway = {}, routes = { { service = {} } } }",
                   "refers to an entity that is not in it");
    expect_refusal("return { gateway = {}, routes = { 7 } }", "table expected");
    expect_refusal("return { gateway = {}, routes = { { strip_path = 'yes' } } }",
                   "'strip_path' is string, not a boolean");
}

static void a_bad_regex_of_a_route_is_named(void **state)
{
    (void)state;
    char message[512] = "";
    assert_int_equal(build_literal("return { gateway = {}, routes = { { name = 'r', "
                                   "paths = { '~/ok', '~/(' } } } }",
                                   message, sizeof message),
                     MG_EINVALID);
    assert_non_null(strstr(message, "route 'r': paths: bad regex '/('"));
}

static void identity_fields_of_plugins_are_collected(void **state)
{
    (void)state;
    lua_State *L = new_state();
    assert_int_equal(
        luaL_dostring(L, "return { gateway = {}, handlers = {"
                         "  a = { handler = { IDENTITY_HEADERS = { 'X-Consumer-ID', 'X-User' } } },"
                         "  b = { handler = {} }, c = { handler = 5 } } }"),
        0);
    struct mg_config *config = build(L);
    assert_int_equal(config->identity_count, 2);
    expect_text(config->identity_names[0], "x-consumer-id");
    expect_text(config->identity_names[1], "x-user");
    mg_config_free(config);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gateway_section_arrives_whole),
        cmocka_unit_test(limits_are_set_or_have_their_defaults),
        cmocka_unit_test(services_know_their_upstream),
        cmocka_unit_test(upstreams_have_targets_and_settings),
        cmocka_unit_test(routes_have_all_their_fields),
        cmocka_unit_test(limits_of_a_route_yield_to_its_service_alone),
        cmocka_unit_test(the_router_is_ready),
        cmocka_unit_test(a_bare_file_has_every_default),
        cmocka_unit_test(a_table_of_another_form_is_refused),
        cmocka_unit_test(a_bad_regex_of_a_route_is_named),
        cmocka_unit_test(identity_fields_of_plugins_are_collected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
