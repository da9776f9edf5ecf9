/* SPDX-License-Identifier: Apache-2.0
 *
 * Equal bytes get equal numbers, numbers are dense, and what was stored stays where it is.
 */
#include "interner.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void numbers_are_dense_and_stable(void **state)
{
    struct cu__interner in = {0};
    const void *first = NULL;
    enum { COUNT = 50000 };
    (void)state;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint64_t key[3] = {i, i * 7919u, i % 5};
            size_t n = 8 + 8 * (i % 3), got;
            assert_int_equal(cu__intern(&in, key, n), i);
            const void *stored = cu__interned(&in, i, &got);
            assert_true(got == n && memcmp(stored, key, n) == 0);
            first = i == 0 && round == 0 ? stored : first;
        }
    }
    assert_ptr_equal(cu__interned(&in, 0, NULL), first);
    assert_int_equal(in.nitems, COUNT);
    cu__interner_clear(&in);
    assert_int_equal(in.nitems, 0);
}

static void lengths_count(void **state)
{
    struct cu__interner in = {0};
    static const char zeros[200000];
    (void)state;
    assert_int_equal(cu__intern(&in, zeros, 0), 0);
    assert_int_equal(cu__intern(&in, zeros, 1), 1);
    assert_int_equal(cu__intern(&in, zeros, 8), 2);
    assert_int_equal(cu__intern(&in, zeros, sizeof(zeros)), 3); /* larger than a block */
    assert_int_equal(cu__intern(&in, zeros, 8), 2);
    assert_int_equal(cu__intern_text(&in, ""), 1); /* one zero byte */
    size_t n = 1;
    assert_non_null(cu__interned(&in, 0, &n));
    assert_int_equal(n, 0);
    assert_null(cu__interned(&in, 4, &n));
    assert_null(cu__interned(&in, COPPER_INTERN_NONE, &n));
    cu__interner_clear(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_dense_and_stable),
        cmocka_unit_test(lengths_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
