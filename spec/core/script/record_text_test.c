/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of a log line. */
#include "script/record_text.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void hexadecimal_digits_are_those_of_printf(void **state)
{
    (void)state;
    uint64_t number = 0;
    for (unsigned i = 0; i < 100000;
         i++, number = number * 6364136223846793005U + 1442695040888963407U) {
        char made[17] = "", wanted[17];
        struct mg_record_text text = {.at = made, .end = made + 16, .cap = SIZE_MAX};
        snprintf(wanted, sizeof wanted, "%016" PRIx64, number);
        mg_record_put_hex(&text, number);
        assert_string_equal(made, wanted);
    }
}

static void digits_that_do_not_fit_are_not_written(void **state)
{
    (void)state;
    char made[16] = "";
    struct mg_record_text text = {.at = made, .end = made + 15, .cap = SIZE_MAX};
    mg_record_put_hex(&text, 1);
    assert_true(text.full);
    assert_ptr_equal(text.at, made);
}

static void expect_decimal(uint64_t number)
{
    char made[MG_RECORD_DIGITS + 5], wanted[MG_RECORD_DIGITS + 5];
    memset(made, '#', sizeof made);
    *mg_record_digits(made, number) = '\0';
    snprintf(wanted, sizeof wanted, "%" PRIu64, number);
    assert_string_equal(made, wanted);
    memset(made, '#', sizeof made);
    *mg_record_ms(made, number) = '\0';
    snprintf(wanted, sizeof wanted, "%" PRIu64 ".%03u", number / 1000, (unsigned)(number % 1000));
    assert_string_equal(made, wanted);
}

static void decimal_digits_are_those_of_printf(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < 1100000; number += number < 11000 ? 1 : 97) {
        expect_decimal(number);
    }
    uint64_t random = 1;
    for (uint64_t power = 1; power <= UINT64_MAX / 10; power *= 10) {
        expect_decimal(power - 1);
        expect_decimal(power);
        expect_decimal(power + 1);
        for (unsigned i = 0; i < 100; i++) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            expect_decimal(random % (power * 10));
        }
    }
    expect_decimal(UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimal_digits_are_those_of_printf),
        cmocka_unit_test(hexadecimal_digits_are_those_of_printf),
        cmocka_unit_test(digits_that_do_not_fit_are_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
