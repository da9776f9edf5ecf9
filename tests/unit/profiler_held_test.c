/* SPDX-License-Identifier: Apache-2.0
 *
 * What profiles of the program's own consist of, against a model and at its limits. Compiles the
 * source in, since a program cannot have so many different stacks in a test.
 */
#include "held.c"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#define MODEL 512
#define STEPS 40000

static void *value(uintptr_t i)
{
    return (void *)(i * 16); /* 0 is a value too */
}

static void release(struct cu__held *h)
{
    for (uintptr_t i = 0; h->n > 0; i++) {
        cu__held_remove(h, value(i));
    }
    assert_int_equal(h->nstacks, 0);
    free(h->values);
    free(h);
}

static struct cu__held *make(void)
{
    return calloc(1, sizeof(struct cu__held));
}

static unsigned next(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16 & 0x7fff;
}

/* Values come and go in any order; each has one of 37 stacks. */
static void like_a_model(void **state)
{
    (void)state;
    struct cu__held *h = make();
    int stack_of_value[MODEL] = {0}; /* 0: not held */
    int64_t counts[38] = {0};
    unsigned seed = 1;
    for (int i = 0; i < STEPS; i++) {
        unsigned v = next(&seed) % MODEL;
        if (next(&seed) % 2) {
            int stack = (int)(next(&seed) % 37) + 1;
            cu_frame frames[2] = {(cu_frame)stack, 7};
            int err = cu__held_add(h, value(v), frames, 2, false);
            assert_int_equal(err, stack_of_value[v] ? -EEXIST : 0);
            if (!err) {
                stack_of_value[v] = stack;
                counts[stack]++;
            }
        } else {
            assert_int_equal(cu__held_remove(h, value(v)), stack_of_value[v] != 0);
            counts[stack_of_value[v]]--;
            stack_of_value[v] = 0;
        }
    }
    struct cu__held_copy *c = cu__held_copy(h);
    int64_t total = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct cu__held_counted *s = &c->stacks[i];
        assert_int_equal(s->nframes, 2);
        assert_int_equal(s->count, counts[c->frames[s->first]]);
        assert_true(i == 0 || s->count <= c->stacks[i - 1].count);
        total += s->count;
    }
    assert_int_equal(total, h->n);
    assert_int_equal(total, c->total);
    free(c);
    release(h);
}

static void values_end_at_their_limit(void **state)
{
    (void)state;
    struct cu__held *h = make();
    cu_frame frame = 1;
    for (uintptr_t i = 0; i < 100; i++) {
        assert_int_equal(cu__held_add(h, value(i), &frame, 1, false), 0);
    }
    h->n += COPPER_HELD_VALUES_MAX - 100; /* as if there were so many: it is only compared */
    assert_int_equal(cu__held_add(h, value(100), &frame, 1, false), -ENOSPC);
    assert_int_equal(cu__held_add(h, value(0), &frame, 1, false), -EEXIST);
    assert_true(cu__held_remove(h, value(17)));
    h->n -= COPPER_HELD_VALUES_MAX - 100;
    assert_int_equal(cu__held_add(h, value(100), &frame, 1, false), 0);
    assert_int_equal(h->n, 100);
    assert_int_equal(h->nstacks, 1);
    release(h);
}

static void stacks_end_at_theirs(void **state)
{
    (void)state;
    struct cu__held *h = make();
    uintptr_t n = COPPER_HELD_STACKS_MAX + 100;
    for (uintptr_t i = 0; i < n; i++) {
        cu_frame frame = i + 1;
        assert_int_equal(cu__held_add(h, value(i), &frame, 1, false), 0);
    }
    struct cu__held_copy *c = cu__held_copy(h);
    assert_int_equal(c->n, COPPER_HELD_STACKS_MAX + 1);
    assert_int_equal(c->stacks[0].count, 100); /* those that are not known, together */
    assert_int_equal(c->stacks[0].nframes, 0);
    assert_int_equal(c->total, n);
    free(c);
    /* a place that is given back is used again */
    assert_true(cu__held_remove(h, value(5)));
    cu_frame frame = n + 1;
    assert_int_equal(cu__held_add(h, value(5), &frame, 1, false), 0);
    assert_int_equal(h->nstacks, COPPER_HELD_STACKS_MAX);
    assert_int_equal(h->unknown.count, 100);
    release(h);
}

static void cut_stacks_are_apart(void **state)
{
    (void)state;
    struct cu__held *h = make();
    cu_frame frame = 1;
    assert_int_equal(cu__held_add(h, value(1), &frame, 1, false), 0);
    assert_int_equal(cu__held_add(h, value(2), &frame, 1, true), 0);
    assert_int_equal(cu__held_add(h, value(3), NULL, 0, true), 0);
    struct cu__held_copy *c = cu__held_copy(h);
    assert_int_equal(c->n, 3);
    free(c);
    release(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_a_model),
        cmocka_unit_test(values_end_at_their_limit),
        cmocka_unit_test(stacks_end_at_theirs),
        cmocka_unit_test(cut_stacks_are_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
