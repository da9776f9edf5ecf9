/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the table of distinct stacks: equal ones are one, different ones are not, a full table
 * refuses, a reset forgets.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "pages.c"
#include "stack_table.c" /* the library does not show it */

static struct cu__stack_table table;

static int open_table(void **state)
{
    (void)state;
    return cu__stack_table_open(&table);
}

static int reset_table(void **state)
{
    (void)state;
    cu__stack_table_reset(&table);
    return 0;
}

static void equal_stacks_are_one(void **state)
{
    (void)state;
    cu_frame frames[] = {1, 2, 3};
    struct cu__stack key = {.nframes = 3};
    int64_t first = cu__stack_table_add(&table, &key, frames);
    assert_int_equal(first, 0);
    assert_int_equal(cu__stack_table_add(&table, &key, frames), first);
    assert_int_equal(table.nstacks, 1);
    assert_memory_equal(table.frames + table.stacks[0].first, frames, sizeof frames);
}

static void what_differs_is_kept_apart(void **state)
{
    (void)state;
    cu_frame frames[] = {1, 2, 3}, others[] = {1, 2, 4};
    int marker;
    struct cu__stack keys[] = {
        {.nframes = 3},
        {.nframes = 2},
        {.nframes = 3, .is_cut = true},
        {.nframes = 3, .here = 1},
        {.nframes = 3, .name = 1},
        {.nframes = 3, .labels = &marker},
    };
    size_t n = sizeof keys / sizeof *keys;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(cu__stack_table_add(&table, &keys[i], frames), i);
    }
    assert_int_equal(cu__stack_table_add(&table, &keys[0], others), n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(cu__stack_table_add(&table, &keys[i], frames), i);
    }
}

static void full_table_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct cu__stack key = {.nframes = 1};
    cu_frame frame = 0;
    for (; frame < COPPER_STACKS_MAX; frame++) {
        assert_int_equal(cu__stack_table_add(&table, &key, &frame), frame);
    }
    assert_int_equal(cu__stack_table_add(&table, &key, &frame), -1);
    assert_true(cu__stack_table_fullness(&table) == 1);
    frame = 17;
    assert_int_equal(cu__stack_table_add(&table, &key, &frame), 17);
    cu__stack_table_reset(&table);
    assert_int_equal(cu__stack_table_add(&table, &key, &frame), 0);
}

static void frames_are_bounded_too(void **state)
{
    (void)state;
    cu_frame frames[COPPER_STACK_DEPTH_MAX] = {0};
    struct cu__stack key = {.nframes = COPPER_STACK_DEPTH_MAX};
    unsigned n = 0;
    while (frames[0] = n, cu__stack_table_add(&table, &key, frames) >= 0) {
        n++;
    }
    assert_int_equal(n, COPPER_STACK_FRAMES_MAX / COPPER_STACK_DEPTH_MAX);
    assert_true(cu__stack_table_bytes(&table) >= COPPER_STACK_FRAMES_MAX * sizeof(cu_frame));
}

static void names_are_numbered(void **state)
{
    (void)state;
    char a[COPPER_THREAD_NAME] = "worker", b[COPPER_THREAD_NAME] = "writer";
    char none[COPPER_THREAD_NAME] = "";
    assert_int_equal(cu__stack_table_name(&table, none), 0);
    uint32_t first = cu__stack_table_name(&table, a);
    assert_true(first > 0);
    assert_true(cu__stack_table_name(&table, b) != first);
    assert_int_equal(cu__stack_table_name(&table, a), first);
    assert_string_equal(table.names[first], "worker");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(equal_stacks_are_one, reset_table),
        cmocka_unit_test_teardown(what_differs_is_kept_apart, reset_table),
        cmocka_unit_test_teardown(full_table_refuses_and_keeps_what_it_has, reset_table),
        cmocka_unit_test_teardown(frames_are_bounded_too, reset_table),
        cmocka_unit_test_teardown(names_are_numbered, reset_table),
    };
    return cmocka_run_group_tests(tests, open_table, NULL);
}
