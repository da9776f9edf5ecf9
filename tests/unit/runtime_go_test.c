/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stdlib.h>

#include "coroutine_body.h"

#define MANY 5000

static int64_t sum; /* atomic */

static void add(void *arg)
{
    __atomic_fetch_add(&sum, (intptr_t)arg, __ATOMIC_RELAXED);
}

static int by_value(const void *a, const void *b)
{
    cu_id x = *(const cu_id *)a, y = *(const cu_id *)b;
    return x < y ? -1 : x > y;
}

COROUTINE_TEST(each_runs_once_with_an_id_of_its_own)
{
    static cu_id ids[2 * MANY];
    for (int round = 0; round < 2; round++) {
        cu_wg wg = {0};
        sum = 0;
        for (intptr_t i = 0; i < MANY; i++) {
            ids[round * MANY + i] = cu_wg_go(&wg, add, (void *)i);
            expect(ids[round * MANY + i] > 0);
        }
        cu_wg_wait(&wg);
        expect(sum == (int64_t)MANY * (MANY - 1) / 2);
    }
    qsort(ids, 2 * MANY, sizeof(ids[0]), by_value);
    for (int i = 1; i < 2 * MANY; i++) {
        expect(ids[i] != ids[i - 1]);
    }
    return 0;
}

static void sleep_until(void *deadline_ns)
{
    cu_sleep(*(int64_t *)deadline_ns - cu_now());
    if (cu_now() >= *(int64_t *)deadline_ns) {
        __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
    }
}

COROUTINE_TEST(sleeping_is_long_enough)
{
    static int64_t deadlines_ns[500];
    cu_wg wg = {0};
    sum = 0;
    for (int i = 0; i < 500; i++) {
        deadlines_ns[i] = cu_now() + (int64_t)(i * 7919 % 100) * COPPER_MS / 2 + COPPER_US;
        expect(cu_wg_go(&wg, sleep_until, &deadlines_ns[i]) > 0);
    }
    cu_wg_wait(&wg);
    expect(sum == 500);
    cu_sleep(0);
    cu_sleep(-5);
    return 0;
}

static int stop; /* atomic */

static void yield_on(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        cu_yield();
    }
}

/* Timers fire although no P is ever idle, also on one where a single coroutine yields to itself. */
COROUTINE_TEST(sleepers_wake_beside_busy_ones)
{
    for (int yielders = 1; yielders < 6; yielders++) {
        cu_wg wg = {0};
        stop = 0;
        for (int i = 0; i < yielders; i++) {
            cu_wg_go(&wg, yield_on, NULL);
        }
        for (int i = 0; i < 20; i++) {
            cu_sleep(200 * COPPER_US);
        }
        __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
        cu_wg_wait(&wg);
    }
    return 0;
}

static void plain_thread(void **state)
{
    (void)state;
    int64_t before_ns = cu_now();
    assert_int_equal(cu_self(), 0);
    cu_yield();
    cu_sleep(3 * COPPER_MS);
    assert_true(cu_now() - before_ns >= 3 * COPPER_MS);
    cu_name_set("nobody");
    sum = 0;
    assert_true((cu_go)(add, (void *)5) > 0);
    assert_int_equal(cu_quiesce(0, 5 * COPPER_SEC), 0);
    assert_int_equal(sum, 5);
}

static void compute(void *arg)
{
    double x = (double)(intptr_t)arg;
    for (int i = 0; i < 1000; i++) {
        x = x * 1.0000001 + 0.5;
        if (i % 10 == 0) {
            cu_yield();
        }
    }
    double y = (double)(intptr_t)arg;
    for (int i = 0; i < 1000; i++) {
        y = y * 1.0000001 + 0.5;
    }
    if (x - y < 1e-9 && y - x < 1e-9) {
        __atomic_fetch_add(&sum, 1, __ATOMIC_RELAXED);
    }
}

COROUTINE_TEST(registers_survive_switches)
{
    cu_wg wg = {0};
    sum = 0;
    for (intptr_t i = 0; i < 50; i++) {
        cu_wg_go(&wg, compute, (void *)i);
    }
    cu_wg_wait(&wg);
    expect(sum == 50);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_runs_once_with_an_id_of_its_own),
        cmocka_unit_test(sleeping_is_long_enough),
        cmocka_unit_test(sleepers_wake_beside_busy_ones),
        cmocka_unit_test(plain_thread),
        cmocka_unit_test(registers_survive_switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
