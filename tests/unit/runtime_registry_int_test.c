/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: control blocks whose ids come to an end, which takes hours: the real registry.c is
 * compiled in, and a slot made old.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#include "types.h"

#define cu__lock_take(lock) ((void)(lock))
#define cu__lock_drop(lock) ((void)(lock))
#include "registry.c"

static struct cu__p p;

static struct cu__g *take(void)
{
    int error = 0;
    struct cu__g *g = cu__registry_take(&p, &error);
    assert_non_null(g);
    return g;
}

static void a_slot_is_used_again_with_another_id(void **state)
{
    (void)state;
    struct cu__g *g = take();
    cu_id id = g->id;
    cu__registry_give(&p, g);
    assert_ptr_equal(take(), g);
    assert_int_equal(g->id, id + COPPER_COROUTINES_MAX);
    assert_int_equal(cu__registry_index(g->id), g->slot);
    cu__registry_give(&p, g);
}

static void a_slot_without_ids_is_not_used_again(void **state)
{
    (void)state;
    struct cu__g *old = take();
    cu_id last = LAST_ID / ID_STEP * ID_STEP + old->slot + 1;
    assert_int_equal(cu__registry_index(last), old->slot);
    old->id = last - ID_STEP;
    cu__registry_give(&p, old);
    assert_ptr_equal(take(), old);
    assert_int_equal(old->id, last);
    /* what a mutex keeps of it is still all of it */
    assert_int_equal((cu_id)((uint64_t)last << COPPER_MUTEX_ID_SHIFT) >> COPPER_MUTEX_ID_SHIFT,
                     last);
    cu__registry_give(&p, old);
    struct cu__g *next = take();
    assert_ptr_not_equal(next, old);
    assert_true(next->id > 0);
    cu__registry_give(&p, next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_is_used_again_with_another_id),
        cmocka_unit_test(a_slot_without_ids_is_not_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
