/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena: memory of one request, its alignment, its end and its cleanups. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void memory_is_aligned_and_does_not_overlap(void **state)
{
    (void)state;
    struct mg_arena arena;
    char *places[200];
    mg_arena_init(&arena, 256);
    for (size_t i = 1; i < 200; i++) {
        places[i] = mg_arena_alloc(&arena, i);
        assert_int_equal((uintptr_t)places[i] % 16, 0);
        memset(places[i], (int)i, i);
    }
    for (size_t i = 1; i < 200; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_int_equal((unsigned char)places[i][k], i);
        }
    }
    mg_arena_deinit(&arena);
}

static void more_than_a_block_gets_a_block_of_its_own(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 64);
    char *big = mg_arena_alloc(&arena, 10000);
    memset(big, 'x', 10000);
    char *small = mg_arena_alloc(&arena, 8);
    memset(small, 'y', 8);
    assert_int_equal(big[9999], 'x');
    mg_arena_reset(&arena);
    assert_int_equal(arena.used_bytes, 0);
    mg_arena_deinit(&arena);
}

static void the_first_block_stays_over_resets(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 1024);
    const char *first = mg_arena_alloc(&arena, 100);
    mg_arena_alloc(&arena, 1000); /* a second block */
    mg_arena_reset(&arena);
    assert_ptr_equal(mg_arena_alloc(&arena, 100), first);
    mg_arena_reset(&arena);
    assert_ptr_equal(mg_arena_alloc(&arena, 10), first);
    mg_arena_deinit(&arena);
    assert_null(arena.blocks);
    mg_arena_alloc(&arena, 1); /* usable again */
    mg_arena_deinit(&arena);
}

static void an_unused_arena_can_be_reset_and_ended(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 64);
    mg_arena_reset(&arena);
    mg_arena_deinit(&arena);
    mg_arena_deinit(&arena);
}

static void zalloc_clears_memory_that_was_used_before(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 256);
    memset(mg_arena_alloc(&arena, 200), 0xff, 200);
    mg_arena_reset(&arena);
    const char *memory = mg_arena_zalloc(&arena, 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(memory[i], 0);
    }
    mg_arena_deinit(&arena);
}

static void copies_end_with_a_nul(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 64);
    assert_string_equal(mg_arena_copy(&arena, MG_STR("abc")), "abc");
    assert_string_equal(mg_arena_copy(&arena, mg_str_make(NULL, 0)), "");
    const mg_str copy = mg_arena_copy_str(&arena, MG_STR("a\0b"));
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.ptr, "a\0b", 4);
    mg_arena_deinit(&arena);
}

static void format_writes_any_length(void **state)
{
    (void)state;
    struct mg_arena arena;
    mg_arena_init(&arena, 64);
    const mg_str text = mg_arena_format(&arena, "%s-%d-%0500d", "a", 7, 1);
    assert_int_equal(text.len, 504);
    assert_memory_equal(text.ptr, "a-7-000", 7);
    assert_int_equal(text.ptr[504], '\0');
    mg_arena_deinit(&arena);
}

struct note {
    char order[8];
    int count;
};

struct step {
    struct note *note;
    char name;
};

static void write_down(void *context)
{
    const struct step *step = context;
    step->note->order[step->note->count++] = step->name;
}

static void cleanups_run_once_and_the_last_one_first(void **state)
{
    (void)state;
    struct mg_arena arena;
    struct note note = {.count = 0};
    struct step steps[] = {{&note, 'a'}, {&note, 'b'}, {&note, 'c'}};
    mg_arena_init(&arena, 64);
    for (int i = 0; i < 3; i++) {
        mg_arena_defer(&arena, write_down, &steps[i]);
        mg_arena_alloc(&arena, 100); /* cleanups may lie in blocks that go */
    }
    mg_arena_reset(&arena);
    assert_string_equal(note.order, "cba");
    mg_arena_reset(&arena);
    assert_int_equal(note.count, 3);
    mg_arena_defer(&arena, write_down, &steps[0]);
    mg_arena_deinit(&arena);
    assert_string_equal(note.order, "cbaa");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_does_not_overlap),
        cmocka_unit_test(more_than_a_block_gets_a_block_of_its_own),
        cmocka_unit_test(the_first_block_stays_over_resets),
        cmocka_unit_test(an_unused_arena_can_be_reset_and_ended),
        cmocka_unit_test(zalloc_clears_memory_that_was_used_before),
        cmocka_unit_test(copies_end_with_a_nul),
        cmocka_unit_test(format_writes_any_length),
        cmocka_unit_test(cleanups_run_once_and_the_last_one_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
