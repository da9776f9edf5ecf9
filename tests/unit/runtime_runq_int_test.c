/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the run queues in every order of their atomic steps: whatever owners and thieves do,
 * each coroutine is taken exactly once.
 *
 * The real runq.c is compiled in, with a ring of four places and a step before each atomic
 * operation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#include "interleave_atomics.h"

#undef COPPER_RUNQ_SIZE
#define COPPER_RUNQ_SIZE 4u

struct cu__sched cu__sched;
#include "runq.c"

#define COROUTINES 8

static struct cu__p p[3];
static struct cu__g g[COROUTINES];
static unsigned taken[COROUTINES], put;

static void take(struct cu__g *one)
{
    if (one) {
        taken[one - g]++;
    }
}

static void fill(struct cu__p *into, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        cu__runq_put(into, &g[put++]);
    }
}

static void begin_with(unsigned count)
{
    memset(p, 0, sizeof(p));
    memset(g, 0, sizeof(g));
    memset(taken, 0, sizeof(taken));
    memset(&cu__sched, 0, sizeof(cu__sched));
    cu__sched.procs = 3;
    put = 0;
    fill(&p[0], count);
}

/* Whoever is still queued, and whoever was taken: each of the `put` once. */
static bool each_once(void)
{
    for (int i = 0; i < 3; i++) {
        for (struct cu__g *one; (one = cu__runq_get(&p[i]));) {
            take(one);
        }
    }
    for (struct cu__g *one; (one = cu__global_get(&p[0], 1));) {
        take(one);
    }
    for (unsigned i = 0; i < put; i++) {
        if (taken[i] != 1) {
            fprintf(stderr, "coroutine %u was taken %u times\n", i, taken[i]);
            return false;
        }
    }
    return true;
}

static void begin_empty(void)
{
    begin_with(0);
}

static void begin_two(void)
{
    begin_with(2);
}

static void begin_full(void)
{
    begin_with(COPPER_RUNQ_SIZE);
}

/* The thief's own ring has one left to spare. */
static void begin_both_full(void)
{
    begin_with(COPPER_RUNQ_SIZE);
    fill(&p[1], COPPER_RUNQ_SIZE - 1);
}

static void put_and_get(void)
{
    fill(&p[0], 1);
    take(cu__runq_get(&p[0]));
    take(cu__runq_get(&p[0]));
}

static void put_next_twice(void)
{
    cu__runq_put_next(&p[0], &g[put++]);
    cu__runq_put_next(&p[0], &g[put++]);
    take(cu__runq_get(&p[0]));
}

static void put_one(void)
{
    fill(&p[0], 1);
}

static void get_two(void)
{
    take(cu__runq_get(&p[0]));
    take(cu__runq_get(&p[0]));
}

static void steal(void)
{
    uint32_t count;
    take(cu__runq_steal(&p[1], &p[0], true, &count));
}

static void steal_too(void)
{
    uint32_t count;
    take(cu__runq_steal(&p[2], &p[0], true, &count));
}

static void get_global(void)
{
    take(cu__global_get(&p[1], 2));
}

static void explore(const struct interleave_program *program)
{
    uint64_t orders = interleave_explore(program);
    assert_true(orders > 1);
    print_message("%s: %llu orders\n", program->name, (unsigned long long)orders);
}

static void test_owner_and_thief(void **state)
{
    (void)state;
    explore(&(struct interleave_program){
        "put and get, steal", begin_two, {put_and_get, steal}, each_once, 100});
    explore(&(struct interleave_program){
        "get the last two, steal", begin_two, {get_two, steal}, each_once, 100});
}

static void test_runnext(void **state)
{
    (void)state;
    explore(&(struct interleave_program){
        "put next, steal with next", begin_empty, {put_next_twice, steal}, each_once, 100});
}

static void test_overflow(void **state)
{
    (void)state;
    explore(&(struct interleave_program){
        "overflow, steal", begin_full, {put_one, steal}, each_once, 100});
    explore(&(struct interleave_program){
        "overflow, take of the global list", begin_full, {put_one, get_global}, each_once, 100});
}

static void test_two_thieves(void **state)
{
    (void)state;
    explore(&(struct interleave_program){
        "put and get, two steal", begin_two, {put_and_get, steal, steal_too}, each_once, 3});
}

/* Timers that a thief fires fill its own ring before it steals. */
static void test_thief_with_work(void **state)
{
    (void)state;
    explore(&(struct interleave_program){"steal into a ring that is nearly full",
                                         begin_both_full,
                                         {get_two, steal},
                                         each_once,
                                         100});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owner_and_thief), cmocka_unit_test(test_runnext),
        cmocka_unit_test(test_overflow),        cmocka_unit_test(test_two_thieves),
        cmocka_unit_test(test_thief_with_work),
    };
    return INTERLEAVE_IS_POSSIBLE ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
