/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the semaphore in every order of steps.
 */
#include "explore.h"
#include "sem.c"

#define ALL 3 /* units */

static struct {
    cu_sem sem;
    int64_t held;
    int turns;
    const char *asks; /* one digit an actor: how many units; '+' adds ALL */
} s;

static void reset(void)
{
    const char *asks = s.asks;
    memset(&s, 0, sizeof(s));
    s.asks = asks;
    if (!strchr(asks, '+')) {
        s.sem = (cu_sem)COPPER_SEM_INIT(ALL);
    }
}

static void script(int actor)
{
    if (s.asks[actor] == '+') {
        cu_sem_release(&s.sem, ALL);
        return;
    }
    int64_t n = s.asks[actor] - '0';
    explore_check(cu_sem_acquire(&s.sem, n) == 0);
    s.held += n;
    explore_check(s.held <= ALL);
    explore_step();
    s.held -= n;
    s.turns++;
    cu_sem_release(&s.sem, n);
}

static void verify(void)
{
    const struct cu__sem *sem = inside(&s.sem);
    explore_check(sem->word == UNITS(ALL) && sem->waiters.first == NULL);
    explore_check(s.turns == (int)strcspn(s.asks, "+"));
}

static void all_orders(void **state)
{
    static const char *const cases[] = {"23", "3+", "221", "312", "123", "12+", "33+"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s.asks = cases[i];
        explore(s.asks, (int)strlen(s.asks), reset, script, verify);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
