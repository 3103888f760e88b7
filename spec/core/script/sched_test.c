/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, coroutines, timers, and the limits that are not of CPU: wall time, memory,
 * quarantine. */
#include "support/vm.h"

/* Runs access of a handler with that body and lets time pass; gives what it saw. */
static const char *run_access(struct vm_fixture *f, uint64_t ms)
{
    struct mg_req *req = vm_request(f, 0);
    f->done_verdict = (int)mg_hook_run(req, MG_PHASE_ACCESS);
    vm_advance(f, ms);
    return vm_seen(f);
}

static struct vm_fixture *open_with(const char *body, const char *settings)
{
    char text[4096];
    snprintf(text, sizeof text,
             "return gateway{ settings = { a = { %s } }, handlers = { a = { access = function()\n"
             "%s\nend } } }",
             settings, body);
    return vm_fixture_open(text, 1);
}

struct place_case {
    const char *name, *body;
};

static const struct place_case allowed[] = {
    {"pcall", "pcall(sched.sleep, 3)"},
    {"xpcall", "xpcall(function() sched.sleep(3) end, debug.traceback)"},
    {"metamethod", "return setmetatable({}, { __add = function() sched.sleep(3) end }) + 1"},
    {"index metamethod", "return setmetatable({}, { __index = function() sched.sleep(3) end }).x"},
    {"tostring", "tostring(setmetatable({}, { __tostring = function()"
                 " sched.sleep(3) return '' end }))"},
    {"iterator", "local n = 0 for _ in function() sched.sleep(3) n = n + 1"
                 " return n < 2 or nil end do end"},
    {"table.foreach", "table.foreach({ 1 }, function() sched.sleep(3) end)"},
    {"loaded chunk", "loadstring('local s = ... s(3)')(sched.sleep)"},
    {"coroutine", "coroutine.wrap(function() sched.sleep(3) end)()"},
    {"coroutine in a coroutine",
     "coroutine.wrap(function() coroutine.wrap(function() sched.sleep(3) end)() end)()"},
};

static void a_wait_is_possible_in_all_these_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        char body[512];
        snprintf(body, sizeof body, "(function() %s end)() seen('end')", allowed[i].body);
        struct vm_fixture *f = open_with(body, "");
        struct mg_req *req = vm_request(f, 0);
        if (mg_hook_run(req, MG_PHASE_ACCESS) != MG_VERDICT_WAITING) {
            fail_msg("%s does not wait: %s", allowed[i].name, vm_log_text(f));
        }
        vm_advance(f, 7);
        if (f->done_verdict != MG_VERDICT_CONTINUE || strcmp(vm_seen(f), "end") != 0) {
            fail_msg("%s: verdict %d, %s", allowed[i].name, f->done_verdict, vm_log_text(f));
        }
        vm_fixture_close(f);
    }
}

static const struct place_case refused[] = {
    {"sort", "table.sort({ 2, 1 }, function() sched.sleep(3) end)"},
    {"gsub", "string.gsub('a', '.', function() sched.sleep(3) end)"},
    {"xpcall handler", "local _, e = xpcall(error, function()"
                       " local _, e = pcall(sched.sleep, 3) return e end) error(e, 0)"},
    {"load reader", "local _, e = load(function() sched.sleep(3) end) error(e, 0)"},
    {"require", "package.preload.m = function() sched.sleep(3) end require 'm'"},
};

static void a_wait_elsewhere_is_an_error_that_says_why(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct vm_fixture *f = open_with(refused[i].body, "");
        const enum mg_verdict verdict = mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS);
        const char *log = vm_log_text(f);
        if (verdict != MG_VERDICT_FAILED ||
            !strstr(log, "attempt to yield across C-call boundary")) {
            fail_msg("%s: verdict %d, %s", refused[i].name, verdict, log);
        }
        vm_fixture_close(f);
    }
}

static void user_coroutines_never_see_a_wait(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("local co\n"
                  "co = coroutine.create(function(x)\n"
                  "  sched.sleep(2) seen('in' .. x) local y = coroutine.yield('out')\n"
                  "  sched.sleep(2) seen('in' .. y) return 'last' end)\n"
                  "local _, v = coroutine.resume(co, 1) seen(v) seen(coroutine.status(co))\n"
                  "_, v = coroutine.resume(co, 2) seen(v) seen(coroutine.status(co))",
                  "");
    assert_string_equal(run_access(f, 10), "in1 out suspended in2 last dead");
    vm_fixture_close(f);
}

static void a_coroutine_whose_wait_is_passed_on_is_normal(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with(
        "local co = coroutine.create(function() sched.sleep(5) end)\n"
        "sched.timer(1, function() seen(coroutine.status(co)) seen(select(2, coroutine.resume(co)))"
        " end)\n"
        "coroutine.resume(co) seen(coroutine.status(co))",
        "");
    assert_string_equal(run_access(f, 10), "normal cannot resume non-suspended coroutine dead");
    vm_fixture_close(f);
}

static void a_plain_yield_gives_way_for_one_turn(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("seen('a') seen('n' .. select('#', coroutine.yield(1, 2))) seen('b')", "");
    assert_string_equal(run_access(f, 0), "a");
    vm_advance(f, 1);
    assert_string_equal(vm_seen(f), "n0 b");
    vm_fixture_close(f);
}

static void a_handler_that_only_yields_does_not_hold_the_loop(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("local n = 0 while n < 5 do n = n + 1 coroutine.yield() end seen('done')", "");
    assert_string_equal(run_access(f, 2), "");
    vm_advance(f, 10);
    assert_string_equal(vm_seen(f), "done");
    vm_fixture_close(f);
}

static void a_wait_is_woken_once_by_its_ticket(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("local task, ticket = sched.ticket()\n"
                                     "sched.timer(2, function()"
                                     "  sched.wake(task, ticket, 7) sched.wake(task, ticket, 8)"
                                     " end)\n"
                                     "seen(tostring(sched.wait()))\n"
                                     "sched.sleep(3)\n"
                                     "sched.wake(task, ticket, 9) seen('end')",
                                     "");
    assert_string_equal(run_access(f, 20), "8 end");
    vm_fixture_close(f);
}

static void timers_run_without_a_request_and_keep_their_plugin(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with(
        "sched.timer(5, function(premature, x)\n"
        "  seen(x .. tostring(premature)) seen(tostring(request())) seen(runtime.phase())\n"
        "  seen(runtime.plugin()) sched.sleep(1) seen(runtime.plugin()) end, 'x')",
        "");
    assert_string_equal(run_access(f, 10), "xfalse nil timer a a");
    vm_fixture_close(f);
}

static void every_runs_on_after_an_error_until_it_is_stopped(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("local n, timer = 0, nil\n"
                  "timer = sched.every(2, function() n = n + 1 seen(tostring(n))\n"
                  "  if n == 2 then error('second') elseif n == 4 then sched.stop(timer) end end)",
                  "");
    assert_string_equal(run_access(f, 30), "1 2 3 4");
    assert_non_null(strstr(vm_log_text(f), "second\nstack traceback"));
    assert_int_equal(mg_sched_busy(f->vm), 0);
    vm_fixture_close(f);
}

static void there_is_a_most_of_timers(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("local n = 0\n"
                                     "while true do local t, err = sched.timer(60000, type)\n"
                                     "  if not t then seen(n .. ' ' .. err) break end\n"
                                     "  n = n + 1 end",
                                     "cpu_ms = 5000");
    assert_string_equal(run_access(f, 0), "16384 too many pending timers");
    vm_fixture_close(f);
}

static void the_wall_limit_ends_a_wait_and_cannot_be_caught(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("pcall(function() pcall(sched.sleep, 1000) seen('never') end)"
                                     " seen('never')",
                                     "wall_ms = 20");
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    vm_advance(f, 19);
    assert_int_equal(f->done_verdict, -1);
    vm_advance(f, 1);
    assert_int_equal(f->done_verdict, MG_VERDICT_FAILED);
    assert_int_equal(req->outcome, MG_OUTCOME_PLUGIN_LIMIT);
    assert_int_equal(req->status, 503);
    assert_string_equal(vm_seen(f), "");
    assert_non_null(strstr(vm_log_text(f), "wall limit of 20 ms reached"));
    vm_fixture_close(f);
}

static void the_wall_limit_counts_all_waits_of_a_handler(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("for i = 1, 10 do sched.sleep(3) seen(tostring(i)) end", "wall_ms = 10");
    assert_string_equal(run_access(f, 40), "1 2 3");
    assert_int_equal(f->done_verdict, MG_VERDICT_FAILED);
    vm_fixture_close(f);
}

static int cancelled;

static void on_cancel(void *context)
{
    assert_ptr_equal(context, &cancelled);
    cancelled++;
}

/* start(): begins an operation that nobody ends */
static int on_start(lua_State *L)
{
    struct vm_fixture *f = lua_touserdata(L, lua_upvalueindex(1));
    struct mg_ticket ticket;
    lua_pushinteger(L, mg_sched_begin(f->vm, on_cancel, &cancelled, &ticket));
    return 1;
}

static void what_is_waited_for_is_cancelled(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("_G.start() sched.wait()", "wall_ms = 10");
    lua_pushlightuserdata(f->vm->L, f);
    lua_pushcclosure(f->vm->L, on_start, 1);
    lua_setglobal(f->vm->L, "start");
    cancelled = 0;
    (void)run_access(f, 10); /* by the wall limit */
    assert_int_equal(cancelled, 1);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    mg_hook_end(req); /* by the end of the request */
    assert_int_equal(cancelled, 2);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_WAITING);
    vm_fixture_close(f); /* by the end of the state */
    assert_int_equal(cancelled, 3);
}

/* forget(): begins the same, and then the operation is gone */
static int on_forget(lua_State *L)
{
    struct vm_fixture *f = lua_touserdata(L, lua_upvalueindex(1));
    struct mg_ticket ticket;
    assert_int_equal(mg_sched_begin(f->vm, on_cancel, &cancelled, &ticket), 0);
    mg_sched_forget(f->vm, ticket, &cancelled);
    assert_int_equal(mg_sched_begin(f->vm, on_cancel, &cancelled, &ticket), 0);
    mg_sched_forget(f->vm, ticket, f); /* of somebody else: no effect */
    if (lua_toboolean(L, 1)) {
        mg_sched_forget(f->vm, ticket, &cancelled);
    }
    return 0;
}

static void what_is_gone_is_not_cancelled(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("_G.forget(_G.wholly)", "");
    lua_pushlightuserdata(f->vm->L, f);
    lua_pushcclosure(f->vm->L, on_forget, 1);
    lua_setglobal(f->vm->L, "forget");
    cancelled = 0;
    (void)run_access(f, 0); /* ends without having waited */
    assert_int_equal(cancelled, 1);
    lua_pushboolean(f->vm->L, 1);
    lua_setglobal(f->vm->L, "wholly");
    (void)run_access(f, 0);
    assert_int_equal(cancelled, 1);
    vm_fixture_close(f);
    assert_int_equal(cancelled, 1);
}

static void three_limits_bring_quarantine_and_a_trial_ends_it(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("seen('ran') if not _G.good then sched.sleep(1000) end", "wall_ms = 5");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(run_access(f, 5), "ran");
    }
    assert_non_null(strstr(vm_log_text(f), "reached three limits in 10 s"));
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_FAILED);
    assert_int_equal(req->status, 503);
    assert_string_equal(vm_seen(f), "");
    vm_advance(f, 10000);
    assert_string_equal(run_access(f, 5), "ran"); /* the trial, which fails */
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_FAILED);
    vm_advance(f, 10000);
    lua_pushboolean(f->vm->L, 1);
    lua_setglobal(f->vm->L, "good");
    assert_string_equal(run_access(f, 0), "ran");
    assert_string_equal(run_access(f, 0), "ran");
    assert_non_null(strstr(vm_log_text(f), "ran on trial: called again"));
    vm_fixture_close(f);
}

static void quarantine_can_be_turned_off(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("seen('ran') sched.sleep(1000)", "wall_ms = 5, quarantine = false");
    for (int i = 0; i < 10; i++) {
        assert_string_equal(run_access(f, 5), "ran");
    }
    vm_fixture_close(f);
}

static void lack_of_memory_fails_one_request_and_leaves_the_state_usable(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_make(16 * 1024 * 1024, 1);
    vm_fixture_start(
        f,
        "return gateway{ settings = { hog = { quarantine = false, cpu_ms = 60000 } }, handlers = {"
        "  hog = { access = function() local t = {} for i = 1, 1e9 do"
        "    t[i] = ('x'):rep(1000) .. i end end },"
        "  other = { log = function() seen('fine') end } } }",
        true);
    for (int i = 0; i < 3; i++) {
        struct mg_req *req = vm_request(f, 0);
        assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_FAILED);
        assert_int_equal(req->outcome, MG_OUTCOME_PLUGIN_LIMIT);
        assert_int_equal(mg_hook_run(req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
    }
    assert_string_equal(vm_seen(f), "fine fine fine");
    assert_non_null(strstr(vm_log_text(f), "not enough memory"));
    assert_false(f->vm->exhausted);
    assert_true(f->vm->alloc.used_bytes < 8 * 1024 * 1024);
    vm_fixture_close(f);
}

static void memory_that_is_kept_exhausts_the_state(void **state)
{
    (void)state;
    struct vm_fixture *f = vm_fixture_make(16 * 1024 * 1024, 1);
    vm_fixture_start(
        f,
        "local kept = {}\n"
        "return gateway{ defaults = { cpu_ms = 60000 }, handlers = { hog = { access = function()"
        "  for i = 1, 1e9 do kept[#kept + 1] = ('x'):rep(1000) .. i end end } } }",
        true);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_FAILED);
    assert_true(f->vm->exhausted);
    vm_fixture_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wait_is_possible_in_all_these_places),
        cmocka_unit_test(a_wait_elsewhere_is_an_error_that_says_why),
        cmocka_unit_test(user_coroutines_never_see_a_wait),
        cmocka_unit_test(a_coroutine_whose_wait_is_passed_on_is_normal),
        cmocka_unit_test(a_plain_yield_gives_way_for_one_turn),
        cmocka_unit_test(a_handler_that_only_yields_does_not_hold_the_loop),
        cmocka_unit_test(a_wait_is_woken_once_by_its_ticket),
        cmocka_unit_test(timers_run_without_a_request_and_keep_their_plugin),
        cmocka_unit_test(every_runs_on_after_an_error_until_it_is_stopped),
        cmocka_unit_test(there_is_a_most_of_timers),
        cmocka_unit_test(the_wall_limit_ends_a_wait_and_cannot_be_caught),
        cmocka_unit_test(the_wall_limit_counts_all_waits_of_a_handler),
        cmocka_unit_test(what_is_waited_for_is_cancelled),
        cmocka_unit_test(what_is_gone_is_not_cancelled),
        cmocka_unit_test(three_limits_bring_quarantine_and_a_trial_ends_it),
        cmocka_unit_test(quarantine_can_be_turned_off),
        cmocka_unit_test(lack_of_memory_fails_one_request_and_leaves_the_state_usable),
        cmocka_unit_test(memory_that_is_kept_exhausts_the_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
