/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the once, in every order of steps.
 */
#include <unistd.h>

#include "explore.h"
#define gettid() (x.current + 1) /* actors are contexts of one thread */
#include "once.c"

#define ACTORS 3

static struct {
    cu_once once;
    int runs, turns;
    bool is_over;
} s;

static void reset(void)
{
    memset(&s, 0, sizeof(s));
}

static void run_once(void *unused)
{
    (void)unused;
    s.runs++;
    explore_step();
    s.is_over = true;
}

static void script(int actor)
{
    (void)actor;
    cu_once_do(&s.once, run_once, NULL);
    explore_check(s.is_over && s.runs == 1);
    s.turns++;
}

static void verify(void)
{
    const struct cu__once *once = (const struct cu__once *)(const void *)&s.once;
    explore_check(s.turns == x.actors && once->word == DONE && once->waiters.first == NULL);
}

static void all_orders(void **state)
{
    (void)state;
    for (int actors = 2; actors <= ACTORS; actors++) {
        explore("once", actors, reset, script, verify);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
