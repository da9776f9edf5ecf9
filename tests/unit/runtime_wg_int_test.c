/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the wait group, in every order of steps.
 */
#include "explore.h"
#include "waitgroup.c"

cu_id cu__spawn(const struct cu__spawn *spawn)
{
    (void)spawn;
    return -1;
}

static struct {
    cu_wg wg;
    int working;
    const char *roles; /* one letter an actor: works, waits, waits and frees */
} s;

static int count_of(char role)
{
    int count = 0;
    for (const char *at = s.roles; *at; at++) {
        count += *at == role;
    }
    return count;
}

static void reset(void)
{
    const char *roles = s.roles;
    memset(&s, 0, sizeof(s));
    s.roles = roles;
    s.working = count_of('d');
    inside(&s.wg)->word = (uint64_t)s.working << COUNT_SHIFT;
}

static void script(int actor)
{
    if (s.roles[actor] == 'd') {
        s.working--;
        cu_wg_done(&s.wg);
        return;
    }
    cu_wg_wait(&s.wg);
    explore_check(s.working == 0);
    if (s.roles[actor] == 'f') {
        explore_free(&s.wg, sizeof(s.wg));
    }
}

static void verify(void)
{
    explore_check(inside(&s.wg)->word == 0 && inside(&s.wg)->waiters.first == NULL);
}

static void all_orders(void **state)
{
    static const char *const cases[] = {"df", "dw", "ddf", "ddw", "dww"};
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
