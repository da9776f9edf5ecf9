/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/errgroup.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "coroutine_body.h"

static int give(void *error)
{
    return (int)(intptr_t)error;
}

static int give_late(void *error)
{
    cu_sleep(20 * COPPER_MS);
    return (int)(intptr_t)error;
}

COROUTINE_TEST(no_error)
{
    cu_group group = {0};
    expect(cu_group_wait(&group) == 0);
    for (int i = 0; i < 5; i++) {
        expect(cu_group_go(&group, give, NULL) == 0);
    }
    expect(cu_group_wait(&group) == 0);
    return 0;
}

COROUTINE_TEST(first_error_counts)
{
    cu_group group = {0};
    expect(cu_group_go(&group, give_late, (void *)(intptr_t)-EPERM) == 0);
    expect(cu_group_go(&group, give, NULL) == 0);
    expect(cu_group_go(&group, give, (void *)(intptr_t)-EIO) == 0);
    expect(cu_group_wait(&group) == -EIO);
    return 0;
}

static void first_error_on_a_thread(void **state)
{
    (void)state;
    cu_group group = {0};
    assert_int_equal(cu_group_go(&group, give, (void *)(intptr_t)-EIO), 0);
    assert_int_equal(cu_group_wait(&group), -EIO);
}

static struct {
    int64_t active, most, ran; /* atomic */
} l;

static int limited(void *unused)
{
    (void)unused;
    int64_t now = __atomic_add_fetch(&l.active, 1, __ATOMIC_SEQ_CST);
    int64_t most = __atomic_load_n(&l.most, __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&l.most, &most, now, false, __ATOMIC_SEQ_CST,
                                                      __ATOMIC_SEQ_CST)) {
    }
    cu_sleep(100 * COPPER_US);
    __atomic_sub_fetch(&l.active, 1, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&l.ran, 1, __ATOMIC_SEQ_CST) % 7 == 0) {
        cu_exit();
    }
    return 0;
}

COROUTINE_TEST(limit_holds)
{
    cu_group group = {0};
    cu_group_set_limit(&group, 3);
    for (int i = 0; i < 100; i++) {
        expect(cu_group_go(&group, limited, NULL) == 0);
    }
    expect(cu_group_wait(&group) == 0);
    expect(l.most <= 3 && l.ran == 100 && l.active == 0);
    return 0;
}

static int wait_at(void *gate)
{
    return cu_sem_acquire(gate, 1);
}

COROUTINE_TEST(try_go)
{
    cu_group group = {0};
    cu_sem gate = {0};
    cu_group_set_limit(&group, 2);
    expect(cu_group_try_go(&group, wait_at, &gate) == 0);
    expect(cu_group_go(&group, wait_at, &gate) == 0);
    expect(cu_group_try_go(&group, wait_at, &gate) == -EAGAIN);
    cu_sem_release(&gate, 2);
    expect(cu_group_wait(&group) == 0);
    expect(cu_group_try_go(&group, give, NULL) == 0);
    expect(cu_group_wait(&group) == 0);
    cu_group_set_limit(&group, 0);
    expect(cu_group_try_go(&group, give, NULL) == -EAGAIN);
    cu_group_set_limit(&group, -1);
    for (int i = 0; i < 50; i++) {
        expect(cu_group_try_go(&group, give, NULL) == 0);
    }
    expect(cu_group_wait(&group) == 0);
    return 0;
}

static void wait_for(void *group)
{
    cu_group_wait(group);
}

static bool look(const struct cu_g_info *g, void *found)
{
    if (g->reason == COPPER_WAIT_GROUP_WAIT) {
        *(struct cu_object_info *)found = g->object;
    }
    return true;
}

COROUTINE_TEST(members_left_are_shown)
{
    cu_group group = {0};
    cu_sem gate = {0};
    cu_wg wg = {0};
    struct cu_object_info found = {.kind = COPPER_OBJECT_NONE};
    cu_group_go(&group, wait_at, &gate);
    cu_group_go(&group, wait_at, &gate);
    cu_wg_go(&wg, wait_for, &group);
    cu_quiesce(0, 30 * COPPER_SEC);
    cu_inspect_each(look, &found);
    expect(found.kind == COPPER_OBJECT_GROUP && found.address == &group && found.count == 2);
    cu_sem_release(&gate, 2);
    cu_wg_wait(&wg);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_error),    cmocka_unit_test(first_error_counts),
        cmocka_unit_test(limit_holds), cmocka_unit_test(first_error_on_a_thread),
        cmocka_unit_test(try_go),      cmocka_unit_test(members_left_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
