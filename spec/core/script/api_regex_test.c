/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions as Lua uses them. */
#include "support/request.h"

#include "script/vm.h"

#include "script/ffi.h"

static void groups_come_back(void **state)
{
    (void)state;
    struct mg_vm vm = {.config = NULL};
    struct mg_ffi_str groups[16];
    char message[80];
    struct mg_regex *regex = mg_ffi_regex_new("^(a)(b)?(c+)", 12, 1, message, sizeof message);
    assert_non_null(regex);
    assert_int_equal(mg_ffi_regex_exec(&vm, regex, "Accx", 4, groups), 4);
    assert_text(groups[0].ptr, groups[0].len, "Acc");
    assert_text(groups[1].ptr, groups[1].len, "A");
    assert_null(groups[2].ptr);
    assert_text(groups[3].ptr, groups[3].len, "cc");
    assert_int_equal(mg_ffi_regex_exec(&vm, regex, "b", 1, groups), 0);
    mg_ffi_regex_free(regex);
}

static void a_bad_pattern_is_explained(void **state)
{
    (void)state;
    char message[80] = "";
    assert_null(mg_ffi_regex_new("(a", 2, 0, message, sizeof message));
    assert_true(strlen(message) > 0);
}

static void the_configured_limit_holds(void **state)
{
    struct mg_req *req = *state;
    struct mg_vm vm = {.config = req->config};
    req->config->gateway.limits.regex_match_limit = 100;
    struct mg_ffi_str groups[16];
    char message[80], subject[41];
    memset(subject, 'a', 40);
    subject[40] = '!';
    struct mg_regex *regex = mg_ffi_regex_new("^(a+)+$", 7, 0, message, sizeof message);
    assert_int_equal(mg_ffi_regex_exec(&vm, regex, subject, sizeof subject, groups), MG_EFULL);
    mg_ffi_regex_free(regex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_come_back),
        cmocka_unit_test(a_bad_pattern_is_explained),
        cmocka_unit_test_setup_teardown(the_configured_limit_holds, request_setup,
                                        request_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
