/* SPDX-License-Identifier: Apache-2.0 */
/* exposition_text, and what of the statistics is shown. */
#include "exposition_text.h"

#include "exposition_core.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_sample(mg_str value, double number, mg_str line)
{
    struct mg_buf out;
    const struct mg_text_label labels[] = {{"a", value}, {"b", MG_STR("x")}};
    mg_buf_init(&out, 4096);
    mg_text_sample(&out, "m", labels, 2, number);
    assert_int_equal(out.len, line.len);
    assert_memory_equal(mg_buf_view(&out).ptr, line.ptr, line.len);
    mg_buf_deinit(&out);
}

static void no_value_ends_its_quotes_or_its_line(void **state)
{
    (void)state;
    expect_sample(MG_STR("plain"), 1, MG_STR("m{a=\"plain\",b=\"x\"} 1\n"));
    expect_sample(MG_STR("\"} 9\n\\"), 1, MG_STR("m{a=\"\\\"} 9\\n\\\\\",b=\"x\"} 1\n"));
    expect_sample(MG_STR("\r\t\0\x7f"), 1,
                  MG_STR("m{a=\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\",b=\"x\"} 1\n"));
    expect_sample(MG_STR("\xff\xc3"), 1, MG_STR("m{a=\"\xEF\xBF\xBD\xEF\xBF\xBD\",b=\"x\"} 1\n"));
    expect_sample(MG_STR("\xc3\xa4"), 1, MG_STR("m{a=\"\xc3\xa4\",b=\"x\"} 1\n"));
}

static void numbers_are_as_short_as_they_can_be(void **state)
{
    (void)state;
    expect_sample(MG_STR(""), 9007199254740991.0, MG_STR("m{a=\"\",b=\"x\"} 9007199254740991\n"));
    expect_sample(MG_STR(""), 0.25, MG_STR("m{a=\"\",b=\"x\"} 0.25\n"));
    expect_sample(MG_STR(""), -1.5, MG_STR("m{a=\"\",b=\"x\"} -1.5\n"));
    expect_sample(MG_STR(""), NAN, MG_STR("m{a=\"\",b=\"x\"} NaN\n"));
    expect_sample(MG_STR(""), INFINITY, MG_STR("m{a=\"\",b=\"x\"} +Inf\n"));
}

static size_t count_of(mg_str text, const char *word)
{
    size_t count = 0;
    const size_t length = strlen(word);
    for (size_t i = 0; i + length <= text.len; i++) {
        count += memcmp(text.ptr + i, word, length) == 0;
    }
    return count;
}

/* Under one name, or two: the limit of connections is a reason for shedding too. */
static void every_statistic_is_shown(void **state)
{
    (void)state;
    struct mg_shm *shm;
    struct mg_buf out;
    assert_int_equal(mg_shm_create(16 << 20, 1, &shm), 0);
    mg_buf_init(&out, 1 << 20);
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        mg_shm_stats(shm, 0)->value[i] = 0;
    }
    for (unsigned i = 0; i < MG_STAT_COUNT; i++) {
        if (mg_exposition_is_elsewhere((enum mg_stat)i)) {
            continue;
        }
        mg_shm_stats(shm, 0)->value[i] = 7654321;
        mg_buf_clear(&out);
        mg_exposition_core(shm, &out);
        if (count_of(mg_buf_view(&out), " 7654321\n") == 0) {
            print_error("%s is not shown\n", mg_stat_word((enum mg_stat)i));
        }
        assert_int_not_equal(count_of(mg_buf_view(&out), " 7654321\n"), 0);
        mg_shm_stats(shm, 0)->value[i] = 0;
    }
    mg_buf_deinit(&out);
    mg_shm_close(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_value_ends_its_quotes_or_its_line),
        cmocka_unit_test(numbers_are_as_short_as_they_can_be),
        cmocka_unit_test(every_statistic_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
