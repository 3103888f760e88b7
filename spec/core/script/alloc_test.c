/* SPDX-License-Identifier: Apache-2.0 */
/* The counting allocator: exact, and a limit that leaves the state usable. */
#include "script/alloc.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

struct state {
    struct mg_alloc alloc;
    lua_State *L;
};

static struct state open_state(void)
{
    struct state s = {.L = luaL_newstate()};
    assert_non_null(s.L);
    luaL_openlibs(s.L);
    return s;
}

static size_t counted(lua_State *L)
{
    return (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
}

static void the_count_is_luas_own(void **state)
{
    (void)state;
    struct state s = open_state();
    mg_alloc_attach(&s.alloc, s.L, 0);
    assert_int_equal(luaL_dostring(s.L, "t = {} for i = 1, 1000 do t[i] = ('x'):rep(i) end"), 0);
    assert_int_equal(s.alloc.used_bytes, counted(s.L));
    assert_int_equal(luaL_dostring(s.L, "t = nil collectgarbage()"), 0);
    assert_int_equal(s.alloc.used_bytes, counted(s.L));
    assert_true(s.alloc.peak_bytes > s.alloc.used_bytes);
    mg_alloc_close(&s.alloc, s.L);
}

static void growth_over_the_limit_is_refused_while_it_is_enforced(void **state)
{
    (void)state;
    struct state s = open_state();
    const uint64_t limit = counted(s.L) + 1024 * 1024;
    mg_alloc_attach(&s.alloc, s.L, limit);
    s.alloc.enforced = true;
    assert_int_equal(luaL_dostring(s.L, "t = {} for i = 1, 1e9 do t[i] = i .. 'x' end"), 1);
    s.alloc.enforced = false;
    assert_string_equal(lua_tostring(s.L, -1), "not enough memory");
    assert_true(s.alloc.refused > 0);
    assert_true(s.alloc.used_bytes <= limit);
    assert_int_equal(luaL_dostring(s.L, "t = nil collectgarbage() u = ('y'):rep(100000)"), 0);
    assert_int_equal(luaL_dostring(s.L, "v = ('z'):rep(2000000)"), 0); /* not enforced */
    assert_true(s.alloc.used_bytes > limit);
    mg_alloc_close(&s.alloc, s.L);
}

static void a_collection_is_wanted_at_four_fifths(void **state)
{
    (void)state;
    struct mg_alloc alloc = {.used_bytes = 0};
    mg_alloc_set_limit(&alloc, 1000);
    alloc.used_bytes = 800;
    assert_false(mg_alloc_wants_collection(&alloc));
    alloc.used_bytes = 801;
    assert_true(mg_alloc_wants_collection(&alloc));
    mg_alloc_set_soft(&alloc); /* all of it is alive: the next one later */
    assert_false(mg_alloc_wants_collection(&alloc));
    alloc.used_bytes = 901;
    assert_true(mg_alloc_wants_collection(&alloc));
    alloc.used_bytes = 100;
    mg_alloc_set_soft(&alloc);
    alloc.used_bytes = 801;
    assert_true(mg_alloc_wants_collection(&alloc));
}

static void a_state_is_exhausted_over_nine_tenths(void **state)
{
    (void)state;
    struct mg_alloc alloc = {.used_bytes = 900};
    mg_alloc_set_limit(&alloc, 1000);
    assert_false(mg_alloc_is_exhausted(&alloc));
    alloc.used_bytes = 901;
    assert_true(mg_alloc_is_exhausted(&alloc));
    mg_alloc_set_limit(&alloc, 0);
    assert_false(mg_alloc_is_exhausted(&alloc));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_count_is_luas_own),
        cmocka_unit_test(growth_over_the_limit_is_refused_while_it_is_enforced),
        cmocka_unit_test(a_collection_is_wanted_at_four_fifths),
        cmocka_unit_test(a_state_is_exhausted_over_nine_tenths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
