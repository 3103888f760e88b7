/* SPDX-License-Identifier: Apache-2.0 */
/* Phases of a request: order, look-up of configurations, exits, errors, waits. */
#include "support/vm.h"

static enum mg_verdict run(struct vm_fixture *f, struct mg_req *req, enum mg_phase phase)
{
    f->done_verdict = -1;
    return mg_hook_run(req, phase);
}

static void handlers_run_by_priority_then_name_descending(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = {"
        "  a = { access = function(self, conf) seen('a' .. conf.value) end },"
        "  b = { access = function() seen('b') end },"
        "  z = { PRIORITY = 5, access = function() seen('z') end },"
        "  top = { PRIORITY = 2000, access = function() seen('top') end } },"
        "  entries = { { name = 'a' }, { name = 'b' }, { name = 'z' }, { name = 'top' } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "top b a1 z");
    vm_fixture_close(f);
}

static void a_setting_moves_a_plugin(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ handlers = {"
                        "  a = { access = function() seen('a') end },"
                        "  b = { access = function() seen('b') end } },"
                        "  settings = { first = { priority = 9000 } },"
                        "  entries = { { name = 'a', instance_name = 'first' }, { name = 'b' } } }",
                        1);
    assert_int_equal(run(f, vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "a b");
    vm_fixture_close(f);
}

static void the_most_specific_configuration_wins(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "local function auth() request().consumer = consumer and { id = consumer } end\n"
        "return gateway{ routes = 3, handlers = {"
        "  auth = { PRIORITY = 2000, access = auth },"
        "  p = { access = function(_, conf) seen(conf.scope) end } },"
        "  entries = { { name = 'auth' },"
        "    { name = 'p', config = { scope = 'global' } },"
        "    { name = 'p', route = 1, config = { scope = 'route' } },"
        "    { name = 'p', service = 1, config = { scope = 'service' } },"
        "    { name = 'p', consumer = 'eve', config = { scope = 'consumer' } },"
        "    { name = 'p', route = 1, consumer = 'bob', config = { scope = 'route+consumer' } },"
        "    { name = 'p', service = 1, consumer = 'bob', config = { scope = 'service+consumer' } "
        "},"
        "    { name = 'p', service = 1, route = 2, config = { scope = 'route+service' } } } }",
        3);
    const struct {
        int route;
        const char *consumer, *scope;
    } cases[] = {
        {0, NULL, "route"},           {1, NULL, "route+service"}, {2, NULL, "global"},
        {0, "bob", "route+consumer"}, {0, "eve", "consumer"},     {1, "bob", "service+consumer"},
        {1, "eve", "route+service"},  {2, "eve", "consumer"},     {2, "bob", "global"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lua_pushstring(f->vm->L, cases[i].consumer);
        lua_setglobal(f->vm->L, "consumer");
        struct mg_req *req = vm_request(f, cases[i].route);
        assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
        assert_string_equal(vm_seen(f), cases[i].scope);
    }
    vm_fixture_close(f);
}

static void routes_with_the_same_plugins_share_a_chain(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ routes = 3, handlers = { p = { access = function() end },"
                        "  q = { log = function() end } },"
                        "  entries = { { name = 'p' }, { name = 'q', route = 3 } } }",
                        3);
    const struct mg_route *routes = f->config->routes;
    assert_int_equal(routes[0].chain, routes[1].chain);
    assert_int_not_equal(routes[0].chain, routes[2].chain);
    assert_int_equal(routes[0].phases, MG_PHASE_BIT(MG_PHASE_ACCESS));
    assert_int_equal(routes[2].phases, MG_PHASE_BIT(MG_PHASE_ACCESS) | MG_PHASE_BIT(MG_PHASE_LOG));
    assert_int_equal(f->config->global_chain, routes[0].chain);
    vm_fixture_close(f);
}

static void an_exit_ends_the_handler_and_skips_the_rest_of_access(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ handlers = {"
                        "  a = { PRIORITY = 3, access = function() seen('a') pcall(runtime.exit) "
                        "seen('never') end },"
                        "  b = { PRIORITY = 2, access = function() seen('never') end,"
                        "        header_filter = function() seen('bh') end } } }",
                        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_int_equal(req->outcome, MG_OUTCOME_PLUGIN_ANSWER);
    assert_true(mg_str_equal(req->ended_by, MG_STR("a")));
    assert_int_equal(run(f, req, MG_PHASE_HEADER_FILTER), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "a bh");
    vm_fixture_close(f);
}

static void an_answer_that_was_printed_is_its_plugins_though_later_ones_run(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = {"
        "  a = { PRIORITY = 3, access = function() shared.exited = shared.turn end },"
        "  b = { PRIORITY = 2, access = function() seen('b') end } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_true(mg_str_equal(req->ended_by, MG_STR("a")));
    vm_fixture_close(f);
}

static void an_exit_works_where_nothing_can_wait(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "local function sort() table.sort({ 3, 2, 1 }, function() runtime.exit() end) end\n"
        "return gateway{ handlers = { a = { access = function()"
        "  pcall(sort) seen('never') end } } }",
        1);
    assert_int_equal(run(f, vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_string_equal(vm_seen(f), "");
    vm_fixture_close(f);
}

static void an_exit_in_header_filter_returns(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = {"
        "  a = { PRIORITY = 3, header_filter = function() runtime.exit() seen('on') end },"
        "  b = { PRIORITY = 2, header_filter = function() seen('b') end } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_HEADER_FILTER), MG_VERDICT_EXIT);
    assert_string_equal(vm_seen(f), "on b");
    assert_true(mg_str_equal(req->ended_by, MG_STR("a")));
    vm_fixture_close(f);
}

static void an_exit_in_header_filter_is_its_own_also_when_a_later_plugin_fails(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ settings = { b = { on_error = 'open' } }, handlers = {"
                        "  a = { PRIORITY = 4, header_filter = function() runtime.exit() end },"
                        "  b = { PRIORITY = 3, header_filter = function() error('broken') end },"
                        "  c = { PRIORITY = 2, header_filter = function() seen('c') end } } }",
                        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_HEADER_FILTER), MG_VERDICT_EXIT);
    assert_string_equal(vm_seen(f), "c");
    assert_true(mg_str_equal(req->ended_by, MG_STR("a")));
    vm_fixture_close(f);
}

static void configurations_of_plugins_behind_an_exit_are_collected(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = {"
        "  a = { PRIORITY = 3, access = function() request().consumer = { id = 'bob' }"
        "        runtime.exit() end },"
        "  b = { PRIORITY = 2, access = function() seen('never') end,"
        "        log = function(_, conf) seen(conf.scope) end } },"
        "  entries = { { name = 'a' }, { name = 'b', config = { scope = 'global' } },"
        "    { name = 'b', consumer = 'bob', config = { scope = 'bob' } } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_EXIT);
    assert_int_equal(run(f, req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "bob");
    vm_fixture_close(f);
}

static void requests_without_a_route_meet_global_plugins(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = { a = { rewrite = function() seen('rewrite') end,"
        "  log = function() seen('log') end }, b = { rewrite = function() seen('never') end } },"
        "  entries = { { name = 'a' }, { name = 'b', route = 1 } } }",
        1);
    struct mg_req *req = vm_request(f, -1);
    assert_true(f->config->global_phases & MG_PHASE_BIT(MG_PHASE_REWRITE));
    assert_false(f->config->routes[0].phases & MG_PHASE_BIT(MG_PHASE_REWRITE));
    assert_int_equal(run(f, req, MG_PHASE_REWRITE), MG_VERDICT_CONTINUE);
    assert_int_equal(run(f, req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "rewrite log");
    vm_fixture_close(f);
}

static void an_error_of_a_closed_plugin_fails_the_request(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = { a = { access = function() error('broken') end },"
        "  b = { PRIORITY = 1, access = function() seen('never') end } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_FAILED);
    assert_int_equal(req->status, 500);
    assert_int_equal(req->outcome, MG_OUTCOME_PLUGIN_ERROR);
    assert_int_equal(req->ended_in, MG_PHASE_ACCESS);
    assert_true(mg_str_equal(req->ended_by, MG_STR("a")));
    assert_string_equal(vm_seen(f), "");
    const char *log = vm_log_text(f);
    assert_non_null(strstr(log, "error plugin a: "));
    assert_non_null(strstr(log, "broken phase=access route=route1 request_id=id-1 stack < "));
    vm_fixture_close(f);
}

static void after_an_error_of_an_open_plugin_the_next_one_runs(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ settings = { a = { on_error = 'open' }, b = { on_error = 'open' } },"
        "  handlers = { a = { PRIORITY = 3, access = function() seen('a') error('x') end },"
        "  b = { PRIORITY = 2, access = function() seen('b') error({}) end },"
        "  c = { PRIORITY = 1, access = function() seen('c') sched.sleep(5) seen('d') end } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    assert_string_equal(vm_seen(f), "a b c");
    vm_advance(f, 5);
    assert_string_equal(vm_seen(f), "d");
    assert_int_equal(f->done_verdict, MG_VERDICT_CONTINUE);
    vm_fixture_close(f);
}

static void a_failing_body_filter_is_skipped_for_the_rest_of_the_body(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ settings = { a = { on_error = 'open' } }, handlers = {"
                        "  a = { PRIORITY = 3, body_filter = function() seen('a') error('x') end },"
                        "  b = { PRIORITY = 2, body_filter = function() seen('b') end } } }",
                        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_BODY_FILTER), MG_VERDICT_CONTINUE);
    assert_int_equal(run(f, req, MG_PHASE_BODY_FILTER), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "a b b");
    mg_hook_end(req);
    req = vm_request_at(f, req->slot, 0);
    assert_int_equal(run(f, req, MG_PHASE_BODY_FILTER), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "a b");
    vm_fixture_close(f);
}

static void all_log_handlers_run_whatever_happens(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = { a = { PRIORITY = 3, access = function() end,"
        "  log = function() error('x') end }, b = { log = function() seen('b') end } } }",
        1);
    struct mg_req *req = vm_request(f, 0);
    req->outcome = MG_OUTCOME_OK;
    assert_int_equal(run(f, req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "b");
    assert_int_equal(req->outcome, MG_OUTCOME_OK);
    vm_fixture_close(f);
}

static void a_suspended_request_keeps_its_context(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "return gateway{ handlers = { a = { access = function(_, conf)"
        "  local object = request()\n"
        "  runtime.ctx(object).n = object.number * 10 + shared.slot\n"
        "  sched.sleep(10 - shared.slot)\n"
        "  seen(runtime.ctx(request()).n .. '/' .. runtime.plugin() .. '/' .. runtime.phase())\n"
        "  assert(runtime.conf() == conf)\n"
        "end } } }",
        1);
    struct mg_req *one = vm_request(f, 0), *two = vm_request(f, 0);
    assert_int_equal(run(f, one, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    assert_int_equal(run(f, two, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    assert_true(mg_hook_waiting(one));
    vm_advance(f, 10);
    assert_string_equal(vm_seen(f), "11/a/access 10/a/access");
    assert_false(mg_hook_waiting(one));
    vm_fixture_close(f);
}

static void the_time_of_plugins_is_summed_with_their_waits(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("return gateway{ handlers = { a = { access = function() sched.sleep(7) end,"
                        "  header_filter = function() sched.sleep(2) end, log = function() "
                        "sched.sleep(9) end } } }",
                        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    vm_advance(f, 7);
    assert_int_equal(req->plugins_us, 7000);
    assert_int_equal(run(f, req, MG_PHASE_HEADER_FILTER), MG_VERDICT_WAITING);
    vm_advance(f, 2);
    assert_int_equal(run(f, req, MG_PHASE_LOG), MG_VERDICT_WAITING);
    vm_advance(f, 9);
    assert_int_equal(req->plugins_us, 9000);
    vm_fixture_close(f);
}

static void a_wait_for_the_body_is_resumed_with_its_status(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open("return gateway{ handlers = { a = { access = function()"
                                           "  seen(tostring(sched.wait())) end } } }",
                                           1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    mg_hook_resume(req, -7);
    assert_string_equal(vm_seen(f), "-7");
    assert_int_equal(f->done_verdict, MG_VERDICT_CONTINUE);
    mg_hook_resume(req, 0); /* too late: dropped */
    vm_fixture_close(f);
}

static void a_request_that_ends_takes_its_tables_along(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("kept = setmetatable({}, { __mode = 'v' })\n"
                        "return gateway{ handlers = { a = { access = function()"
                        "  local t = {} kept[1] = t runtime.ctx(request()).t = t end } } }",
                        1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(run(f, req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    mg_hook_end(req);
    lua_gc(f->vm->L, LUA_GCCOLLECT, 0);
    lua_getglobal(f->vm->L, "kept");
    lua_rawgeti(f->vm->L, -1, 1);
    assert_true(lua_isnil(f->vm->L, -1));
    vm_fixture_close(f);
}

static void a_long_chain_runs_too(void **state)
{
    (void)state;
    struct vm_fixture *f =
        vm_fixture_open("local handlers = {}\n"
                        "for i = 1, 70 do handlers['p' .. i] = { PRIORITY = -i, access = function()"
                        "  if i == 1 or i == 70 then seen('p' .. i) end end } end\n"
                        "return gateway{ handlers = handlers }",
                        1);
    assert_int_equal(run(f, vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "p1 p70");
    vm_fixture_close(f);
}

static void hot_chains_are_compiled_and_stay_so(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_open(
        "local n = { aborts = 0, traces = 0 }\n"
        "_G.traces = n\n"
        "jit.attach(function(what) if what == 'abort' then n.aborts = n.aborts + 1\n"
        "  elseif what == 'stop' then n.traces = n.traces + 1 end end, 'trace')\n"
        "local function count(_, conf) local o = request() conf.n = (conf.n or 0) + o.number end\n"
        "return gateway{ handlers = { a = { access = count }, b = { access = count },"
        "  c = { access = count }, d = { access = count } } }",
        1);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(run(f, vm_request_at(f, 0, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    }
    lua_getglobal(f->vm->L, "traces");
    lua_getfield(f->vm->L, -1, "traces");
    assert_true(lua_tointeger(f->vm->L, -1) > 0);
    lua_getfield(f->vm->L, -2, "aborts");
    const lua_Integer aborts = lua_tointeger(f->vm->L, -1);
    lua_settop(f->vm->L, 1);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(run(f, vm_request_at(f, 0, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    }
    lua_getfield(f->vm->L, 1, "aborts");
    assert_int_equal(lua_tointeger(f->vm->L, -1), aborts);
    vm_fixture_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handlers_run_by_priority_then_name_descending),
        cmocka_unit_test(a_setting_moves_a_plugin),
        cmocka_unit_test(the_most_specific_configuration_wins),
        cmocka_unit_test(routes_with_the_same_plugins_share_a_chain),
        cmocka_unit_test(an_exit_ends_the_handler_and_skips_the_rest_of_access),
        cmocka_unit_test(an_answer_that_was_printed_is_its_plugins_though_later_ones_run),
        cmocka_unit_test(an_exit_works_where_nothing_can_wait),
        cmocka_unit_test(an_exit_in_header_filter_returns),
        cmocka_unit_test(an_exit_in_header_filter_is_its_own_also_when_a_later_plugin_fails),
        cmocka_unit_test(configurations_of_plugins_behind_an_exit_are_collected),
        cmocka_unit_test(requests_without_a_route_meet_global_plugins),
        cmocka_unit_test(an_error_of_a_closed_plugin_fails_the_request),
        cmocka_unit_test(after_an_error_of_an_open_plugin_the_next_one_runs),
        cmocka_unit_test(a_failing_body_filter_is_skipped_for_the_rest_of_the_body),
        cmocka_unit_test(all_log_handlers_run_whatever_happens),
        cmocka_unit_test(a_suspended_request_keeps_its_context),
        cmocka_unit_test(the_time_of_plugins_is_summed_with_their_waits),
        cmocka_unit_test(a_wait_for_the_body_is_resumed_with_its_status),
        cmocka_unit_test(a_request_that_ends_takes_its_tables_along),
        cmocka_unit_test(a_long_chain_runs_too),
        cmocka_unit_test(hot_chains_are_compiled_and_stay_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
