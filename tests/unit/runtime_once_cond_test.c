/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <string.h>

#include "coroutine_body.h"

static void settle(void)
{
    cu_quiesce(0, 30 * COPPER_SEC);
}

/* ---- condition ---- */

#define SLEEPERS 10

static struct {
    cu_mutex mu;
    cu_cond cond;
    int awake, order[SLEEPERS], next; /* guarded by mu */
    bool may_go;
} c;

static void sleeper(void *index)
{
    cu_mutex_lock(&c.mu);
    cu_cond_wait(&c.cond, &c.mu);
    c.order[c.awake++] = (int)(intptr_t)index;
    cu_mutex_unlock(&c.mu);
}

static void begin_sleepers(cu_wg *wg)
{
    memset(&c, 0, sizeof(c));
    for (intptr_t i = 0; i < SLEEPERS; i++) {
        cu_wg_go(wg, sleeper, (void *)i);
        settle();
    }
}

COROUTINE_TEST(signal_wakes_one_in_order)
{
    cu_wg wg = {0};
    begin_sleepers(&wg);
    for (int i = 0; i < SLEEPERS; i++) {
        expect(c.awake == i);
        if (i % 2) {
            cu_mutex_lock(&c.mu);
        }
        cu_cond_signal(&c.cond);
        if (i % 2) {
            cu_mutex_unlock(&c.mu);
        }
        settle();
        expect(c.awake == i + 1 && c.order[i] == i);
    }
    cu_cond_signal(&c.cond); /* nobody: forgotten */
    cu_wg_wait(&wg);
    return 0;
}

COROUTINE_TEST(broadcast_wakes_all)
{
    cu_wg wg = {0};
    begin_sleepers(&wg);
    cu_cond_broadcast(&c.cond);
    cu_wg_wait(&wg);
    expect(c.awake == SLEEPERS);
    return 0;
}

#define TURNS 2000

/* Two who take turns: a lost signal is a hang. */
static void take_turns(void *parity)
{
    for (int i = 0; i < TURNS; i++) {
        cu_mutex_lock(&c.mu);
        while (c.next % 2 != (int)(intptr_t)parity) {
            cu_cond_wait(&c.cond, &c.mu);
        }
        c.next++;
        cu_mutex_unlock(&c.mu);
        cu_cond_signal(&c.cond);
    }
}

static void *take_turns_in_thread(void *parity)
{
    take_turns(parity);
    return NULL;
}

static void no_signal_is_lost(void **state)
{
    (void)state;
    cu_wg wg = {0};
    pthread_t thread;
    memset(&c, 0, sizeof(c));
    cu_wg_go(&wg, take_turns, (void *)(intptr_t)0);
    cu_wg_go(&wg, take_turns, (void *)(intptr_t)1);
    cu_wg_wait(&wg);
    assert_int_equal(c.next, 2 * TURNS);
    pthread_create(&thread, NULL, take_turns_in_thread, (void *)(intptr_t)0);
    cu_wg_go(&wg, take_turns, (void *)(intptr_t)1);
    cu_wg_wait(&wg);
    pthread_join(thread, NULL);
    assert_int_equal(c.next, 4 * TURNS);
}

/* ---- once ---- */

static struct {
    cu_once once;
    int runs;
    uint32_t returned; /* atomic */
    bool is_over, was_early;
} o;

static void run_once(void *how)
{
    o.runs++;
    cu_sleep(2 * COPPER_MS);
    o.is_over = true;
    if (how) {
        cu_exit();
    }
}

static void call_once(void *how)
{
    cu_once_do(&o.once, run_once, how);
    if (!o.is_over) {
        __atomic_store_n(&o.was_early, true, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&o.returned, 1, __ATOMIC_RELAXED);
}

static void *call_once_in_thread(void *unused)
{
    call_once(unused);
    return NULL;
}

static void once_runs_once(void **state)
{
    (void)state;
    cu_wg wg = {0};
    pthread_t thread;
    memset(&o, 0, sizeof(o));
    for (int i = 0; i < 10; i++) {
        cu_wg_go(&wg, call_once, NULL);
    }
    pthread_create(&thread, NULL, call_once_in_thread, NULL);
    cu_wg_wait(&wg);
    pthread_join(thread, NULL);
    assert_int_equal(o.runs, 1);
    assert_int_equal(o.returned, 11);
    assert_false(o.was_early);
}

/* A function that ends its coroutine is over: the others go on, and it does not run again. */
COROUTINE_TEST(once_is_over_when_its_coroutine_ends)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    for (int i = 0; i < 5; i++) {
        cu_wg_go(&wg, call_once, &o);
    }
    cu_wg_wait(&wg);
    expect(o.runs == 1 && o.returned == 4 && !o.was_early);
    call_once(NULL);
    expect(o.runs == 1);
    return 0;
}

static cu_once inner_once, outer_once;
static int inner_runs;

static void end_here(void *unused)
{
    (void)unused;
    inner_runs++;
    cu_exit();
}

static void nest(void *unused)
{
    (void)unused;
    cu_once_do(&inner_once, end_here, NULL);
}

static void nested_once(void *unused)
{
    cu_once_do(&outer_once, nest, unused);
}

COROUTINE_TEST(nested_onces_are_over)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, nested_once, NULL);
    cu_wg_wait(&wg);
    cu_once_do(&inner_once, end_here, NULL);
    cu_once_do(&outer_once, nest, NULL);
    expect(inner_runs == 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signal_wakes_one_in_order),
        cmocka_unit_test(broadcast_wakes_all),
        cmocka_unit_test(no_signal_is_lost),
        cmocka_unit_test(once_runs_once),
        cmocka_unit_test(once_is_over_when_its_coroutine_ends),
        cmocka_unit_test(nested_onces_are_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
