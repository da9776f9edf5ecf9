/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "coroutine_body.h"

static void settle(void)
{
    cu_quiesce(0, 30 * COPPER_SEC);
}

COROUTINE_TEST(units_are_counted)
{
    cu_sem sem = COPPER_SEM_INIT(2), plain = {0};
    expect(cu_sem_try_acquire(&sem, 1) == 0 && cu_sem_try_acquire(&sem, 1) == 0);
    expect(cu_sem_try_acquire(&sem, 1) == -EAGAIN && cu_sem_units(&sem) == 0);
    expect(cu_sem_try_acquire(&sem, 3) == -EINVAL && cu_sem_acquire(&sem, 3) == -EINVAL);
    expect(cu_sem_acquire(&sem, -1) == -EINVAL);
    expect(cu_sem_acquire(&sem, 0) == 0);
    cu_sem_release(&sem, 2);
    expect(cu_sem_acquire(&sem, 2) == 0 && cu_sem_units(&sem) == 0);
    cu_sem_release(&sem, 2);
    expect(cu_sem_try_acquire(&plain, 1) == -EAGAIN);
    cu_sem_release(&plain, 5);
    expect(cu_sem_units(&plain) == 5 && cu_sem_acquire(&plain, 5) == 0);
    cu_sem_init(&plain, 1);
    expect(cu_sem_units(&plain) == 1);
    expect(cu_sem_try_acquire(&plain, COPPER_SEM_MAX) == -EINVAL);
    return 0;
}

static struct {
    cu_sem sem;
    int64_t log[8];   /* who was let in, in this order: written under `lock` */
    uint32_t logged;  /* atomic; written under `lock`, released after the entry that it counts */
    cu_mutex lock;
} o;

static uint32_t logged(void)
{
    return __atomic_load_n(&o.logged, __ATOMIC_ACQUIRE);
}

static void ask(void *n)
{
    int64_t units = (int64_t)(intptr_t)n;
    cu_sem_acquire(&o.sem, units);
    cu_mutex_lock(&o.lock);
    o.log[o.logged] = units;
    __atomic_store_n(&o.logged, o.logged + 1, __ATOMIC_RELEASE);
    cu_mutex_unlock(&o.lock);
}

/* Who asks for many is not passed by who asks for few. */
COROUTINE_TEST(first_come_first_served)
{
    static const int64_t asked[] = {3, 1, 2};
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_sem_init(&o.sem, 4);
    expect(cu_sem_acquire(&o.sem, 4) == 0);
    for (size_t i = 0; i < 3; i++) {
        cu_wg_go(&wg, ask, (void *)(intptr_t)asked[i]);
        settle();
    }
    cu_sem_release(&o.sem, 2);
    settle();
    expect(logged() == 0 && cu_sem_units(&o.sem) == 2);
    expect(cu_sem_try_acquire(&o.sem, 1) == -EAGAIN);
    cu_sem_release(&o.sem, 1);
    settle();
    expect(logged() == 1 && o.log[0] == 3);
    cu_sem_release(&o.sem, 1);
    settle();
    expect(logged() == 2 && o.log[1] == 1);
    cu_sem_release(&o.sem, 3);
    cu_wg_wait(&wg);
    expect(o.log[2] == 2 && cu_sem_units(&o.sem) == 1);
    cu_sem_release(&o.sem, 3);
    return 0;
}

/* One release lets several in at once. */
COROUTINE_TEST(release_lets_several_in)
{
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    for (int i = 0; i < 4; i++) {
        cu_wg_go(&wg, ask, (void *)(intptr_t)2);
    }
    settle();
    cu_sem_release(&o.sem, 7);
    settle();
    expect(logged() == 3 && cu_sem_units(&o.sem) == 1);
    cu_sem_release(&o.sem, 1);
    cu_wg_wait(&wg);
    return 0;
}

static bool look_for_sem(const struct cu_g_info *g, void *found)
{
    if (g->reason == COPPER_WAIT_SEM_ACQUIRE) {
        *(struct cu_object_info *)found = g->object;
    }
    return true;
}

COROUTINE_TEST(units_left_are_shown)
{
    struct cu_object_info found = {.kind = COPPER_OBJECT_NONE};
    cu_wg wg = {0};
    memset(&o, 0, sizeof(o));
    cu_sem_release(&o.sem, 3);
    cu_wg_go(&wg, ask, (void *)(intptr_t)4);
    settle();
    cu_inspect_each(look_for_sem, &found);
    expect(found.kind == COPPER_OBJECT_SEM && found.address == &o.sem && found.count == 3);
    cu_sem_release(&o.sem, 1);
    cu_wg_wait(&wg);
    return 0;
}

/* ---- hammer ---- */

#define UNITS      7
#define ITERATIONS 3000

static struct {
    cu_sem sem;
    int64_t held; /* atomic */
    int wrong;    /* atomic */
} h;

static void hammer_one(void *seed)
{
    uint64_t random = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < ITERATIONS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int64_t n = 1 + (int64_t)(random >> 33) % UNITS;
        if (random >> 60 || cu_sem_try_acquire(&h.sem, n)) {
            cu_sem_acquire(&h.sem, n);
        }
        if (__atomic_add_fetch(&h.held, n, __ATOMIC_RELAXED) > UNITS) {
            __atomic_fetch_add(&h.wrong, 1, __ATOMIC_RELAXED);
        }
        if (i % 30 == 0) {
            cu_yield();
        }
        __atomic_fetch_sub(&h.held, n, __ATOMIC_RELAXED);
        cu_sem_release(&h.sem, n);
    }
}

static void *hammer_thread(void *seed)
{
    hammer_one(seed);
    return NULL;
}

static void hammer(void **state)
{
    (void)state;
    cu_wg wg = {0};
    pthread_t thread;
    cu_sem_init(&h.sem, UNITS);
    for (intptr_t i = 0; i < 8; i++) {
        cu_wg_go(&wg, hammer_one, (void *)(i * 77));
    }
    assert_int_equal(pthread_create(&thread, NULL, hammer_thread, (void *)1234), 0);
    cu_wg_wait(&wg);
    pthread_join(thread, NULL);
    assert_int_equal(h.wrong, 0);
    assert_int_equal(cu_sem_units(&h.sem), UNITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_are_counted),
        cmocka_unit_test(first_come_first_served),
        cmocka_unit_test(release_lets_several_in),
        cmocka_unit_test(units_left_are_shown),
        cmocka_unit_test(hammer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
