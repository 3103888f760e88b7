/* SPDX-License-Identifier: Apache-2.0 */
/* A fresh state: the standard library as plugins find it, and what keeps a state from starting. */
#include "support/vm.h"

/* Runs a handler with that body; gives what it saw. */
static const char *run_in(struct vm_fixture *f)
{
    if (mg_hook_run(vm_request(f, 0), MG_PHASE_ACCESS) != MG_VERDICT_CONTINUE) {
        fail_msg("%s", vm_log_text(f));
    }
    return vm_seen(f);
}

static struct vm_fixture *open_with(const char *body)
{
    char text[2048];
    snprintf(text, sizeof text,
             "return gateway{ handlers = { a = { access = function()\n%s\nend } } }", body);
    return vm_fixture_open(text, 1);
}

static void lua_02_bytecode_is_never_loaded(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("local code = string.dump(function() end)\n"
                                     "seen(tostring(loadstring(code))) seen(tostring(load(code)))\n"
                                     "seen(tostring(load(code, 'x', 'b')))\n"
                                     "seen(tostring(load(function() local c = code code = nil"
                                     " return c end)))\n"
                                     "seen(tostring(load('return 7')())"
                                     " .. loadstring('return 8')())");
    assert_string_equal(run_in(f), "nil nil nil nil 78");
    vm_fixture_close(f);
}

/* Counts as large as they come end as errors, or wrap around to small ones (LuaJIT takes them as 32
 * bits), and the state goes on. */
static void lua_02_unpack_and_rep_are_bounded(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with(
        "local function ends(fn, ...) local ok, text = pcall(fn, ...)"
        " seen(not ok and 'error' or (text == nil or #text < 1e6) and 'small' or 'large') end\n"
        "ends(unpack, {}, 1, 1e8) ends(unpack, {}, -2^31, 2^31 - 1) ends(unpack, {}, 1, 2^53)\n"
        "ends(string.rep, 'x', 2^53) ends(string.rep, ('x'):rep(65536), 2^31)\n"
        "ends(string.rep, 'x', 2^62) ends(table.concat, {}, 'x', 1, 2^31)\n"
        "ends(string.format, '%99999999d', 1) ends(string.char, unpack({}, 1, 10))\n"
        "seen(('x'):rep(3) .. select('#', unpack({ 1, 2 }, 1, 5)))");
    assert_string_equal(run_in(f), "error error small small small small small error error xxx5");
    vm_fixture_close(f);
}

static void files_are_loaded_as_text_too(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with(
        "local name = os.tmpname() local function write(text) local file = io.open(name, 'wb')\n"
        "  file:write(text) file:close() end\n"
        "write('#!/usr/bin/lua\\nreturn 5') seen(tostring(dofile(name)))\n"
        "write(string.dump(function() end)) local ok, err = loadfile(name)\n"
        "seen(tostring(ok)) os.remove(name)\n"
        "seen(tostring(select(2, loadfile(name))):match('^cannot open') or 'no')");
    assert_string_equal(run_in(f), "5 nil cannot open");
    vm_fixture_close(f);
}

static void what_would_harm_the_worker_is_absent_or_raises(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with(
        "seen(tostring(debug.sethook)) seen(tostring(pcall(require, 'jit.profile')))\n"
        "seen(tostring(pcall(os.exit, 1)))\n"
        "jit.off() jit.flush() require('jit.opt').start('hotloop=1') seen(tostring(jit.status()))");
    assert_string_equal(run_in(f), "nil false false true");
    vm_fixture_close(f);
}

static void blocking_calls_warn_once_for_each_place(void **state)
{
    (void)state;
    struct vm_fixture *f =
        open_with("for _ = 1, 3 do os.execute('true') end io.popen('true'):close()");
    (void)run_in(f);
    const char *log = vm_log_text(f);
    const char *first = strstr(log, "os.execute at test:");
    assert_non_null(first);
    assert_null(strstr(first + 1, "os.execute at"));
    assert_non_null(strstr(log, "io.popen at test:"));
    vm_fixture_close(f);
}

static void a_new_global_warns_and_is_set(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("for _ = 1, 2 do leaked = nil leaked = 3 end seen(leaked)");
    assert_string_equal(run_in(f), "3");
    assert_non_null(strstr(vm_log_text(f), "global 'leaked' is set at test:"));
    vm_fixture_close(f);
}

static void print_goes_to_the_log_with_the_plugins_name(void **state)
{
    (void)state;
    struct vm_fixture *f = open_with("print('hello', nil, 3)");
    (void)run_in(f);
    assert_non_null(strstr(vm_log_text(f), "notice plugin a: hello\tnil\t3\n"));
    vm_fixture_close(f);
}

static void a_state_without_its_runtime_does_not_start(void **state)
{
    (void)state;
    char message[512];
    const struct mg_vm_options options = {.lua_path = "/nowhere",
                                          .plugins_path = "/nowhere",
                                          .ffi_header = MOONGATE_SOURCE_DIR "/core/script/ffi.h"};
    assert_null(mg_vm_new(&options, message, sizeof message));
    assert_non_null(strstr(message, "/nowhere/moongate/runtime/bootstrap.lua: No such file"));
}

static void a_state_that_may_have_no_memory_does_not_start(void **state)
{
    (void)state;
    char message[512];
    const struct mg_vm_options options = {
        .lua_path = MOONGATE_SOURCE_DIR "/lua",
        .plugins_path = MOONGATE_SOURCE_DIR "/plugins",
        .ffi_header = MOONGATE_SOURCE_DIR "/core/script/ffi.h",
        .memory_bytes = 64 * 1024,
    };
    assert_null(mg_vm_new(&options, message, sizeof message));
    assert_non_null(strstr(message, "not enough memory"));
}

static void a_free_of_nothing_is_fine(void **state)
{
    (void)state;
    mg_vm_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lua_02_bytecode_is_never_loaded),
        cmocka_unit_test(lua_02_unpack_and_rep_are_bounded),
        cmocka_unit_test(files_are_loaded_as_text_too),
        cmocka_unit_test(what_would_harm_the_worker_is_absent_or_raises),
        cmocka_unit_test(blocking_calls_warn_once_for_each_place),
        cmocka_unit_test(a_new_global_warns_and_is_set),
        cmocka_unit_test(print_goes_to_the_log_with_the_plugins_name),
        cmocka_unit_test(a_state_without_its_runtime_does_not_start),
        cmocka_unit_test(a_state_that_may_have_no_memory_does_not_start),
        cmocka_unit_test(a_free_of_nothing_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
