/* SPDX-License-Identifier: Apache-2.0 */
/* base/deadline: what fires when, and what may be done meanwhile. Time is a number here. */
#include "base/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct mg_deadlines all;
    char fired[64];
    int earlier; /* calls of on_earlier */
};

struct item {
    struct mg_deadline deadline;
    struct fixture *fixture;
    struct mg_deadline *other; /* for callbacks that touch another one */
    char name;
};

static void count_earlier(void *context)
{
    ((struct fixture *)context)->earlier++;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    mg_deadlines_init(&fixture->all);
    fixture->all.on_earlier = count_earlier;
    fixture->all.context = fixture;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    mg_deadlines_deinit(&fixture->all);
    free(fixture);
    return 0;
}

static struct item make(struct fixture *fixture, char name)
{
    return (struct item){.fixture = fixture, .name = name};
}

static void on_fire(struct mg_deadline *deadline)
{
    struct item *item = MG_CONTAINER(deadline, struct item, deadline);
    item->fixture->fired[strlen(item->fixture->fired)] = item->name;
}

static void on_fire_cancel_other(struct mg_deadline *deadline)
{
    mg_deadline_cancel(MG_CONTAINER(deadline, struct item, deadline)->other);
    on_fire(deadline);
}

static void on_fire_again(struct mg_deadline *deadline)
{
    struct item *item = MG_CONTAINER(deadline, struct item, deadline);
    on_fire(deadline);
    mg_deadline_arm(mg_deadlines_class(&item->fixture->all, 50), deadline, on_fire,
                    deadline->at_ms);
}

static void deadlines_fire_in_the_order_of_their_time(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a'), b = make(fixture, 'b'), c = make(fixture, 'c');
    mg_deadline_init(&a.deadline);
    mg_deadline_init(&b.deadline);
    mg_deadline_init(&c.deadline);
    struct mg_deadline_class *slow = mg_deadlines_class(&fixture->all, 100);
    struct mg_deadline_class *quick = mg_deadlines_class(&fixture->all, 10);
    mg_deadline_arm(slow, &a.deadline, on_fire, 1000);  /* at 1100 */
    mg_deadline_arm(quick, &b.deadline, on_fire, 1085); /* at 1095 */
    mg_deadline_arm(quick, &c.deadline, on_fire, 1095); /* at 1105 */
    assert_true(mg_deadlines_run(&fixture->all, 1094) == 1095);
    assert_string_equal(fixture->fired, "");
    assert_true(mg_deadlines_run(&fixture->all, 2000) == MG_DEADLINE_NEVER);
    assert_string_equal(fixture->fired, "bac");
}

static void a_deadline_fires_at_its_time_and_not_before(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a');
    mg_deadline_init(&a.deadline);
    assert_false(mg_deadline_armed(&a.deadline));
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 100), &a.deadline, on_fire, 1000);
    assert_true(mg_deadline_armed(&a.deadline));
    assert_true(mg_deadlines_next(&fixture->all) == 1100);
    assert_true(mg_deadlines_run(&fixture->all, 1099) == 1100);
    assert_string_equal(fixture->fired, "");
    assert_true(mg_deadlines_run(&fixture->all, 1100) == MG_DEADLINE_NEVER);
    assert_string_equal(fixture->fired, "a");
    assert_false(mg_deadline_armed(&a.deadline));
    mg_deadlines_run(&fixture->all, 9999);
    assert_string_equal(fixture->fired, "a");
}

static void cancelling_is_harmless_and_arming_again_moves(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a');
    struct mg_deadline_class *class = mg_deadlines_class(&fixture->all, 100);
    mg_deadline_init(&a.deadline);
    mg_deadline_cancel(&a.deadline);
    mg_deadline_arm(class, &a.deadline, on_fire, 1000);
    mg_deadline_arm(class, &a.deadline, on_fire, 1050);
    mg_deadlines_run(&fixture->all, 1149);
    assert_string_equal(fixture->fired, "");
    mg_deadline_cancel(&a.deadline);
    mg_deadline_cancel(&a.deadline);
    assert_true(mg_deadlines_run(&fixture->all, 5000) == MG_DEADLINE_NEVER);
    assert_string_equal(fixture->fired, "");
}

static void a_length_of_0_never_fires(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a');
    mg_deadline_init(&a.deadline);
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 5), &a.deadline, on_fire, 1000);
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 0), &a.deadline, on_fire, 1000);
    assert_false(mg_deadline_armed(&a.deadline));
    assert_true(mg_deadlines_run(&fixture->all, 9999) == MG_DEADLINE_NEVER);
    assert_string_equal(fixture->fired, "");
}

static void one_class_stands_for_one_length(void **state)
{
    struct fixture *fixture = *state;
    assert_ptr_equal(mg_deadlines_class(&fixture->all, 7), mg_deadlines_class(&fixture->all, 7));
    assert_ptr_not_equal(mg_deadlines_class(&fixture->all, 7),
                         mg_deadlines_class(&fixture->all, 8));
}

static void odd_times_are_sorted_and_equal_ones_keep_their_order(void **state)
{
    struct fixture *fixture = *state;
    struct item items[4];
    static const uint64_t times[] = {300, 100, 200, 100};
    for (int i = 0; i < 4; i++) {
        items[i] = make(fixture, (char)('a' + i));
        mg_deadline_init(&items[i].deadline);
        mg_deadline_arm_at(&fixture->all, &items[i].deadline, on_fire, times[i]);
    }
    assert_true(mg_deadlines_next(&fixture->all) == 100);
    mg_deadlines_run(&fixture->all, 1000);
    assert_string_equal(fixture->fired, "bdca");
}

static void a_callback_may_cancel_another_that_is_due(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a'), b = make(fixture, 'b');
    struct mg_deadline_class *class = mg_deadlines_class(&fixture->all, 10);
    mg_deadline_init(&a.deadline);
    mg_deadline_init(&b.deadline);
    a.other = &b.deadline;
    mg_deadline_arm(class, &a.deadline, on_fire_cancel_other, 0);
    mg_deadline_arm(class, &b.deadline, on_fire, 0);
    mg_deadlines_run(&fixture->all, 100);
    assert_string_equal(fixture->fired, "a");
}

static void a_callback_may_arm_itself_again(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a');
    mg_deadline_init(&a.deadline);
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 10), &a.deadline, on_fire_again, 0);
    assert_true(mg_deadlines_run(&fixture->all, 10) == 60);
    assert_string_equal(fixture->fired, "a");
    mg_deadlines_run(&fixture->all, 60);
    assert_string_equal(fixture->fired, "aa");
}

static void the_owner_is_told_only_when_the_next_one_comes_earlier(void **state)
{
    struct fixture *fixture = *state;
    struct item a = make(fixture, 'a'), b = make(fixture, 'b'), c = make(fixture, 'c');
    mg_deadline_init(&a.deadline);
    mg_deadline_init(&b.deadline);
    mg_deadline_init(&c.deadline);
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 100), &a.deadline, on_fire, 0);
    assert_int_equal(fixture->earlier, 1);
    mg_deadline_arm(mg_deadlines_class(&fixture->all, 200), &b.deadline, on_fire, 0);
    assert_int_equal(fixture->earlier, 1);
    mg_deadline_arm_at(&fixture->all, &c.deadline, on_fire, 50);
    assert_int_equal(fixture->earlier, 2);
    assert_true(fixture->all.next_ms == 50);
    mg_deadlines_run(&fixture->all, 1000);
    assert_string_equal(fixture->fired, "cab");
}

static void ending_with_armed_deadlines_unlinks_them(void **state)
{
    (void)state;
    struct fixture fixture = {.earlier = 0};
    struct item a = make(&fixture, 'a');
    mg_deadlines_init(&fixture.all);
    mg_deadline_init(&a.deadline);
    mg_deadline_arm(mg_deadlines_class(&fixture.all, 100), &a.deadline, on_fire, 0);
    mg_deadlines_deinit(&fixture.all);
    assert_false(mg_deadline_armed(&a.deadline));
    mg_deadline_cancel(&a.deadline);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(deadlines_fire_in_the_order_of_their_time),
        TEST(a_deadline_fires_at_its_time_and_not_before),
        TEST(cancelling_is_harmless_and_arming_again_moves),
        TEST(a_length_of_0_never_fires),
        TEST(one_class_stands_for_one_length),
        TEST(odd_times_are_sorted_and_equal_ones_keep_their_order),
        TEST(a_callback_may_cancel_another_that_is_due),
        TEST(a_callback_may_arm_itself_again),
        TEST(the_owner_is_told_only_when_the_next_one_comes_earlier),
        cmocka_unit_test(ending_with_armed_deadlines_unlinks_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
