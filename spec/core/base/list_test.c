/* SPDX-License-Identifier: Apache-2.0 */
/* base/list: the intrusive ring. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct thing {
    char name;
    struct mg_link link;
};

/* The names in order, read forwards; backwards must give the same. */
static void assert_names(const struct mg_link *head, const char *expected)
{
    char names[16] = {0};
    size_t count = 0;
    for (const struct mg_link *at = head->next; at != head; at = at->next) {
        names[count++] = MG_CONTAINER(at, struct thing, link)->name;
        assert_ptr_equal(at->next->prev, at);
    }
    assert_string_equal(names, expected);
    for (const struct mg_link *at = head->prev; at != head; at = at->prev) {
        assert_int_equal(MG_CONTAINER(at, struct thing, link)->name, names[--count]);
    }
    assert_int_equal(count, 0);
    assert_int_equal(mg_list_empty(head), expected[0] == '\0');
}

static void links_stand_where_they_were_put(void **state)
{
    (void)state;
    struct mg_link head;
    struct thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'};
    mg_link_init(&head);
    assert_names(&head, "");
    mg_list_append(&head, &b.link);
    mg_list_append(&head, &d.link);
    mg_list_push(&head, &a.link);
    mg_link_insert_after(&b.link, &c.link);
    assert_names(&head, "abcd");
}

static void removal_closes_the_gap_and_may_be_repeated(void **state)
{
    (void)state;
    struct mg_link head;
    struct thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    mg_link_init(&head);
    mg_list_append(&head, &a.link);
    mg_list_append(&head, &b.link);
    mg_list_append(&head, &c.link);
    mg_link_remove(&b.link);
    assert_names(&head, "ac");
    mg_link_remove(&b.link);
    assert_names(&head, "ac");
    assert_ptr_equal(b.link.next, &b.link);
    mg_link_remove(&a.link);
    mg_link_remove(&c.link);
    assert_names(&head, "");
    mg_list_push(&head, &b.link);
    assert_names(&head, "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_stand_where_they_were_put),
        cmocka_unit_test(removal_closes_the_gap_and_may_be_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
