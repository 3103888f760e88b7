/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: what runs in C in place of hooks, and where Lua goes on. */
#include "script/hook_plan.h"

#include "script/chain.h"
#include "support/vm.h"

#include "script/ffi.h"
#include "script/ffi_log.h"
#include "script/ffi_plan.h"

struct fake {
    struct mg_hook_plan plan;
    enum mg_hook_plan_result result;
    int calls;
};

static enum mg_hook_plan_result run_fake(struct mg_hook_plan *plan, struct mg_req *req)
{
    (void)req;
    struct fake *fake = MG_CONTAINER(plan, struct fake, plan);
    fake->calls++;
    return fake->result;
}

/* Three plugins in a row: a, b and c, which say whether they are called as planned. */
static struct vm_fixture *open_three(void)
{
    return vm_fixture_open(
        "local function hook(name)\n"
        "  return function(_, _, planned) seen(name .. (planned and ' planned' or '')) end\n"
        "end\n"
        "return gateway{ handlers = { a = { PRIORITY = 3, access = hook('a'), log = hook('la') },"
        "  b = { PRIORITY = 2, access = hook('b') }, c = { PRIORITY = 1, access = hook('c') } },"
        "  entries = { { name = 'a' }, { name = 'b' }, { name = 'c' } } }",
        1);
}

/* The first `count` places of the access phase have plans; Lua goes on behind them. */
static void plan_first(struct vm_fixture *f, struct fake *fakes, int count)
{
    static const char *const rests[] = {"", "return function() seen('rest of b, c') end",
                                        "return function() seen('rest of c') end", "return nil"};
    struct mg_vm *vm = f->vm;
    const struct mg_req *req = vm_request(f, 0);
    const int chain = (int)req->route->chain;
    mg_ffi_plan_clear(vm, chain, MG_PHASE_ACCESS);
    for (int i = 0; i < count; i++) {
        fakes[i].plan.run = run_fake;
        mg_ffi_plan_step(vm, chain, MG_PHASE_ACCESS, i, &fakes[i].plan);
    }
    assert_int_equal(luaL_dostring(vm->L, rests[count]), 0);
    mg_chain_rest(&vm->chains[chain], MG_PHASE_ACCESS, vm->L);
}

static void a_phase_without_other_hooks_does_not_enter_lua(void **state)
{
    (void)state;
    struct vm_fixture *f = open_three();
    struct fake fakes[3] = {{.result = MG_PLAN_DONE}};
    plan_first(f, fakes, 3);
    struct mg_req *req = vm_request(f, 0);
    assert_int_equal(mg_hook_run(req, MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "");
    assert_false(req->lua_used);
    assert_int_equal(fakes[0].calls + fakes[1].calls + fakes[2].calls, 3);
    assert_int_equal(mg_hook_run(req, MG_PHASE_LOG), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "la");
    vm_fixture_close(f);
}

static void hooks_behind_plans_run_in_lua(void **state)
{
    (void)state;
    struct vm_fixture *f = open_three();
    struct fake fakes[3] = {{.result = MG_PLAN_DONE}};
    plan_first(f, fakes, 2);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "rest of c");
    plan_first(f, fakes, 1);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "rest of b, c");
    vm_fixture_close(f);
}

static void a_plan_that_does_nothing_leaves_all_from_there_on_to_the_hooks(void **state)
{
    (void)state;
    struct vm_fixture *f = open_three();
    struct fake fakes[3] = {{.result = MG_PLAN_DONE}, {.result = MG_PLAN_LUA}};
    plan_first(f, fakes, 3);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "b c");
    assert_int_equal(fakes[2].calls, 0);
    vm_fixture_close(f);
}

static void a_plan_that_has_decided_tells_its_hook_so(void **state)
{
    (void)state;
    struct vm_fixture *f = open_three();
    struct fake fakes[3] = {{.result = MG_PLAN_REST}};
    plan_first(f, fakes, 3);
    assert_int_equal(mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS), MG_VERDICT_CONTINUE);
    assert_string_equal(vm_seen(f), "a planned b c");
    vm_fixture_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_phase_without_other_hooks_does_not_enter_lua),
        cmocka_unit_test(hooks_behind_plans_run_in_lua),
        cmocka_unit_test(a_plan_that_does_nothing_leaves_all_from_there_on_to_the_hooks),
        cmocka_unit_test(a_plan_that_has_decided_tells_its_hook_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
