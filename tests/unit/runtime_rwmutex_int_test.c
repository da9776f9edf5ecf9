/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the reader-writer mutex in every order of steps.
 */
#include "explore.h"
#include "rwmutex.c"

static struct {
    cu_rwmutex rw;
    int readers, writers, turns;
    int users;         /* guarded by rw, of who writes; the last frees */
    const char *roles; /* one letter an actor */
} s;

static void reset(void)
{
    const char *roles = s.roles;
    memset(&s, 0, sizeof(s));
    s.roles = roles;
    s.users = (int)strlen(roles);
}

static void read_once(void)
{
    s.readers++;
    explore_step();
    explore_check(s.writers == 0);
    s.readers--;
    s.turns++;
}

static void write_once(void)
{
    s.writers++;
    explore_check(s.writers == 1 && s.readers == 0);
    explore_step();
    explore_check(s.writers == 1 && s.readers == 0);
    s.writers--;
    s.turns++;
}

static void script(int actor)
{
    switch (s.roles[actor]) {
    case 'r':
        cu_rwmutex_rlock(&s.rw);
        read_once();
        cu_rwmutex_runlock(&s.rw);
        break;
    case 'w':
        cu_rwmutex_lock(&s.rw);
        write_once();
        cu_rwmutex_unlock(&s.rw);
        break;
    case 't':
        if (cu_rwmutex_try_rlock(&s.rw)) {
            read_once();
            cu_rwmutex_runlock(&s.rw);
        }
        if (cu_rwmutex_try_lock(&s.rw)) {
            write_once();
            cu_rwmutex_unlock(&s.rw);
        }
        break;
    default: /* the last user of an object frees it, and its lock */
        cu_rwmutex_lock(&s.rw);
        bool is_last = --s.users == 0;
        cu_rwmutex_unlock(&s.rw);
        if (is_last) {
            explore_free(&s.rw, sizeof(s.rw));
        }
    }
}

static void verify(void)
{
    const struct cu__rwmutex *rw = inside(&s.rw);
    explore_check(rw->word == 0 && rw->readers.first == NULL && rw->writers.first == NULL);
    explore_check(rw->owner == 0);
    explore_check(strpbrk(s.roles, "ft") || s.turns == (int)strlen(s.roles));
}

static void all_orders(void **state)
{
    static const char *const cases[] = {"rw", "ww", "tw", "ff", "rrw", "rww", "www", "trw", "fff"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        s.roles = cases[i];
        explore(s.roles, (int)strlen(s.roles), reset, script, verify);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
