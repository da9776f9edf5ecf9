/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the mutex, and the condition with it, in every order of steps.
 */
#include "explore.h"
#include "mutex.c"
#define inside inside_cond
#include "cond.c"
#undef inside

static struct {
    cu_mutex mu;
    cu_cond cond;
    int inside, turns, users;
    int ready, taken;  /* guarded by mu */
    const char *roles; /* one letter an actor */
} s;

static void reset(void)
{
    const char *roles = s.roles;
    memset(&s, 0, sizeof(s));
    s.roles = roles;
    s.users = (int)strlen(roles);
}

static void exclude(void)
{
    s.inside++;
    explore_check(s.inside == 1);
    explore_step();
    explore_check(s.inside == 1);
    s.inside--;
    s.turns++;
}

/* The last user of an object frees it, and its lock. */
static void count_down(void)
{
    cu_mutex_lock(&s.mu);
    bool is_last = --s.users == 0;
    cu_mutex_unlock(&s.mu);
    if (is_last) {
        explore_free(&s.mu, sizeof(s.mu));
    }
}

static void script(int actor)
{
    switch (s.roles[actor]) {
    case 'l':
        cu_mutex_lock(&s.mu);
        exclude();
        cu_mutex_unlock(&s.mu);
        break;
    case 't':
        if (cu_mutex_try_lock(&s.mu)) {
            exclude();
            cu_mutex_unlock(&s.mu);
        }
        break;
    case 'w': /* waits for one to be ready, and takes it */
        cu_mutex_lock(&s.mu);
        while (s.ready == 0) {
            cu_cond_wait(&s.cond, &s.mu);
        }
        s.ready--;
        s.taken++;
        cu_mutex_unlock(&s.mu);
        break;
    case 's':
        cu_mutex_lock(&s.mu);
        s.ready++;
        cu_mutex_unlock(&s.mu);
        cu_cond_signal(&s.cond);
        break;
    case 'b':
        cu_mutex_lock(&s.mu);
        s.ready += 2;
        cu_cond_broadcast(&s.cond);
        cu_mutex_unlock(&s.mu);
        break;
    default:
        count_down();
    }
}

static void verify(void)
{
    const struct cu__mutex *mu = inside(&s.mu);
    explore_check(mu->word == 0 && mu->waiters.first == NULL);
    explore_check(inside_cond(&s.cond)->waiters.first == NULL);
    explore_check(strpbrk(s.roles, "tfwsb") || s.turns == (int)strlen(s.roles));
    explore_check(!strchr(s.roles, 'w') || (s.ready == 0 && s.taken > 0));
}

static void all_orders(void **state)
{
    static const char *const cases[] = {"ll", "lt", "ff", "ws", "lll", "llt", "fff", "wwb"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s.roles = cases[i];
        x.preemptions_max = strchr(s.roles, 'b') ? 2 : 3;
        explore(s.roles, (int)strlen(s.roles), reset, script, verify);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
