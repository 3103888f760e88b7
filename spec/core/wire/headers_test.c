/* SPDX-License-Identifier: Apache-2.0 */
/* wire/headers: names, the table and its index, octet checks. */
#include "wire/headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct mg_arena arena;
    struct mg_headers headers;
};

static int set_up(void **state)
{
    struct fixture *fixture = malloc(sizeof *fixture);
    mg_arena_init(&fixture->arena, 1024);
    mg_headers_init(&fixture->headers, &fixture->arena);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mg_arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

static void add(struct mg_headers *headers, const char *name, const char *value)
{
    mg_headers_add(headers, mg_str_from(name), mg_str_from(value));
}

/* The table as "name=value;" in order. */
static void assert_table(const struct mg_headers *headers, const char *expected)
{
    char text[512];
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < headers->count; i++) {
        const struct mg_header *field = &headers->items[i];
        len += (size_t)snprintf(text + len, sizeof text - len, "%.*s=%.*s;",
                                MG_STR_ARG(field->name), MG_STR_ARG(field->value));
        assert_true(len < sizeof text);
    }
    assert_string_equal(text, expected);
    for (int id = 1; id < MG_HEADER_COUNT; id++) { /* the index agrees with a walk */
        const struct mg_header *first = NULL;
        for (uint32_t i = headers->count; i > 0; i--) {
            first = headers->items[i - 1].id == id ? &headers->items[i - 1] : first;
        }
        assert_ptr_equal(mg_headers_known(headers, (enum mg_header_id)id), first);
    }
}

static const struct {
    enum mg_header_id id;
    const char *name;
} all_known[] = {
#define KNOWN(id, name) {MG_HEADER_##id, name},
    MG_HEADER_MAP(KNOWN)
#undef KNOWN
};

static void every_known_name_has_its_id_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all_known / sizeof all_known[0]; i++) {
        char name[32];
        const size_t len = strlen(all_known[i].name);
        memcpy(name, all_known[i].name, len);
        assert_int_equal(mg_header_id_of(mg_str_make(name, len)), all_known[i].id);
        for (size_t k = 0; k < len; k++) {
            name[k] = (char)(name[k] >= 'a' && name[k] <= 'z' ? name[k] - 0x20 : name[k]);
            assert_int_equal(mg_header_id_of(mg_str_make(name, len)), all_known[i].id);
        }
    }
}

static void a_name_that_differs_in_one_byte_has_no_id_of_ours(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all_known / sizeof all_known[0]; i++) {
        const size_t len = strlen(all_known[i].name);
        for (size_t k = 0; k < len; k++) {
            for (int c = 0; c < 256; c++) {
                char name[32];
                memcpy(name, all_known[i].name, len);
                name[k] = (char)c;
                if (mg_char_lower((char)c) != all_known[i].name[k]) {
                    assert_int_not_equal(mg_header_id_of(mg_str_make(name, len)), all_known[i].id);
                }
            }
        }
    }
    assert_int_equal(mg_header_id_of(MG_STR("")), MG_HEADER_OTHER);
    assert_int_equal(mg_header_id_of(MG_STR("x-a-name-that-is-longer-than-ours")), MG_HEADER_OTHER);
}

static void fields_keep_their_order_and_first_position(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "Host", "a");
    add(headers, "X-One", "1");
    add(headers, "VIA", "v1");
    add(headers, "via", "v2");
    assert_table(headers, "Host=a;X-One=1;VIA=v1;via=v2;");
    assert_int_equal(mg_headers_count(headers, MG_HEADER_VIA), 2);
    assert_int_equal(mg_headers_count(headers, MG_HEADER_DATE), 0);
    assert_null(mg_headers_known(headers, MG_HEADER_DATE));
}

static void a_table_grows_past_its_first_capacity(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    for (int i = 0; i < 1000; i++) {
        add(headers, i == 700 ? "date" : "x", "v");
    }
    assert_int_equal(headers->count, 1000);
    assert_ptr_equal(mg_headers_known(headers, MG_HEADER_DATE), &headers->items[700]);
}

static void find_goes_on_from_a_position(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "x-a", "1");
    add(headers, "Cookie", "c1");
    add(headers, "X-A", "2");
    add(headers, "cookie", "c2");
    assert_ptr_equal(mg_headers_find(headers, MG_STR("X-a"), 0), &headers->items[0]);
    assert_ptr_equal(mg_headers_find(headers, MG_STR("X-a"), 1), &headers->items[2]);
    assert_null(mg_headers_find(headers, MG_STR("X-a"), 3));
    assert_ptr_equal(mg_headers_find(headers, MG_STR("COOKIE"), 0), &headers->items[1]);
    assert_ptr_equal(mg_headers_find(headers, MG_STR("COOKIE"), 2), &headers->items[3]);
    assert_null(mg_headers_find(headers, MG_STR("COOKIE"), 4));
    assert_null(mg_headers_find(headers, MG_STR("date"), 0));
    assert_null(mg_headers_find(headers, MG_STR("x_a"), 0));
}

static void loose_find_takes_underscore_for_hyphen(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "X_User-Id", "1");
    assert_non_null(mg_headers_find_loose(headers, MG_STR("x-user_id"), 0));
    assert_null(mg_headers_find_loose(headers, MG_STR("x-user-ids"), 0));
}

static void remove_takes_all_fields_of_a_name_and_keeps_order(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "a", "1");
    add(headers, "Via", "2");
    add(headers, "b", "3");
    add(headers, "A", "4");
    add(headers, "via", "5");
    add(headers, "date", "6");
    assert_int_equal(mg_headers_remove(headers, MG_STR("a")), 2);
    assert_table(headers, "Via=2;b=3;via=5;date=6;");
    assert_int_equal(mg_headers_remove(headers, MG_STR("VIA")), 2);
    assert_table(headers, "b=3;date=6;");
    assert_int_equal(mg_headers_remove(headers, MG_STR("none")), 0);
    assert_int_equal(mg_headers_remove_known(headers, MG_HEADER_DATE), 1);
    assert_int_equal(mg_headers_remove_known(headers, MG_HEADER_DATE), 0);
    assert_table(headers, "b=3;");
}

static void set_replaces_all_by_one_at_the_first_place(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "a", "1");
    add(headers, "X", "2");
    add(headers, "b", "3");
    add(headers, "x", "4");
    mg_headers_set(headers, MG_STR("x"), MG_STR("new"));
    assert_table(headers, "a=1;x=new;b=3;");
    mg_headers_set(headers, MG_STR("Host"), MG_STR("h"));
    mg_headers_set(headers, MG_STR("host"), MG_STR("i"));
    assert_table(headers, "a=1;x=new;b=3;host=i;");
}

static bool starts_with_x(void *context, const struct mg_header *field)
{
    ++*(int *)context;
    return field->name.ptr[0] == 'x';
}

static void filter_asks_once_for_each_field(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    int asked = 0;
    add(headers, "x-1", "1");
    add(headers, "date", "2");
    add(headers, "x-2", "3");
    assert_int_equal(mg_headers_filter(headers, starts_with_x, &asked), 2);
    assert_int_equal(asked, 3);
    assert_table(headers, "date=2;");
}

static void join_puts_comma_and_blank_between_values(void **state)
{
    struct mg_headers *headers = &((struct fixture *)*state)->headers;
    add(headers, "x", "");
    add(headers, "X", "b");
    add(headers, "via", "1");
    add(headers, "x", "c");
    add(headers, "empty", "");
    assert_true(mg_str_equal(mg_headers_join(headers, MG_STR("x")), MG_STR(", b, c")));
    assert_true(mg_str_equal(mg_headers_join(headers, MG_STR("Via")), MG_STR("1")));
    assert_null(mg_headers_join(headers, MG_STR("none")).ptr);
    const mg_str empty = mg_headers_join(headers, MG_STR("empty"));
    assert_non_null(empty.ptr);
    assert_int_equal(empty.len, 0);
}

static void a_copy_is_independent_of_the_table_it_came_from(void **state)
{
    struct fixture *fixture = *state;
    struct mg_headers copy;
    for (int i = 0; i < 20; i++) {
        add(&fixture->headers, i % 10 ? "x" : "via", "v");
    }
    mg_headers_init(&copy, &fixture->arena);
    mg_headers_copy(&copy, &fixture->headers);
    mg_headers_remove(&fixture->headers, MG_STR("via"));
    assert_int_equal(copy.count, 20);
    assert_int_equal(mg_headers_count(&copy, MG_HEADER_VIA), 2);
}

static void copying_an_empty_table_gives_an_empty_one(void **state)
{
    struct fixture *fixture = *state;
    struct mg_headers copy;
    mg_headers_init(&copy, &fixture->arena);
    mg_headers_copy(&copy, &fixture->headers);
    assert_int_equal(copy.count, 0);
}

static void tokens_are_exactly_the_characters_of_rfc_9110(void **state)
{
    (void)state;
    const char *allowed = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                          "abcdefghijklmnopqrstuvwxyz";
    for (int c = 0; c < 256; c++) {
        const char text[3] = {'a', (char)c, 'b'};
        assert_int_equal(mg_is_token(mg_str_make(text, 3)), c != 0 && strchr(allowed, c) != NULL);
    }
    assert_false(mg_is_token(MG_STR("")));
}

static void field_values_have_no_control_but_the_tab_at_any_place(void **state)
{
    (void)state;
    char text[70];
    for (size_t len = 1; len <= sizeof text; len++) {
        for (size_t place = 0; place < len; place++) {
            for (int c = 0; c < 256; c += c < 0x21 || c > 0x7d ? 1 : 17) {
                memset(text, 'v', len);
                text[place] = (char)c;
                const bool good = c == '\t' || (c >= 0x20 && c != 0x7f);
                assert_int_equal(mg_is_field_value(mg_str_make(text, len)), good);
                const bool control = c < 0x20 || c == 0x7f;
                assert_ptr_equal(mg_find_control(text, text + len), text + (control ? place : len));
                assert_int_equal(mg_count_controls(text, text + len), control);
            }
        }
    }
    assert_true(mg_is_field_value(MG_STR("")));
    assert_true(mg_is_field_value(mg_str_make(NULL, 0)));
    assert_true(mg_is_field_value(MG_STR("\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t")));
}

static void controls_are_counted_in_texts_of_any_length(void **state)
{
    (void)state;
    enum { BYTES = 9000 };
    char *text = malloc(BYTES);
    size_t count = 0;
    for (size_t len = 0; len < BYTES; len++) {
        if (len < 100 || len % 997 == 0) {
            assert_int_equal(mg_count_controls(text, text + len), count);
        }
        const bool control = len % 3 != 0; /* more than 255 in each place of 16 */
        text[len] = control ? (char)(len % 0x20) : 'a';
        count += control;
    }
    free(text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_known_name_has_its_id_in_any_case),
        TEST(a_name_that_differs_in_one_byte_has_no_id_of_ours),
        TEST(fields_keep_their_order_and_first_position),
        TEST(a_table_grows_past_its_first_capacity),
        TEST(find_goes_on_from_a_position),
        TEST(loose_find_takes_underscore_for_hyphen),
        TEST(remove_takes_all_fields_of_a_name_and_keeps_order),
        TEST(set_replaces_all_by_one_at_the_first_place),
        TEST(filter_asks_once_for_each_field),
        TEST(join_puts_comma_and_blank_between_values),
        TEST(a_copy_is_independent_of_the_table_it_came_from),
        TEST(copying_an_empty_table_gives_an_empty_one),
        TEST(tokens_are_exactly_the_characters_of_rfc_9110),
        TEST(field_values_have_no_control_but_the_tab_at_any_place),
        TEST(controls_are_counted_in_texts_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
