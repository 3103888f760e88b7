/* SPDX-License-Identifier: Apache-2.0 */
/* Asking for memory: harmless, whatever lies there. */
#include "base/prefetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static void any_address_may_be_asked_for(void **state)
{
    (void)state;
    char *pages = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    mg_prefetch(pages, 8192);
    munmap(pages, 8192);
    mg_prefetch(pages, 8192);
    mg_prefetch(NULL, 4096);
    mg_prefetch((const void *)UINTPTR_MAX, 200);
}

static void what_is_asked_for_stays_as_it_is(void **state)
{
    (void)state;
    char bytes[1000], before[1000];
    memset(bytes, 'x', sizeof bytes);
    memcpy(before, bytes, sizeof bytes);
    mg_prefetch(bytes, sizeof bytes);
    mg_prefetch(bytes, 0);
    assert_memory_equal(bytes, before, sizeof bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_address_may_be_asked_for),
        cmocka_unit_test(what_is_asked_for_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
