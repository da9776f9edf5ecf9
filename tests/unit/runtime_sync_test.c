/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdbool.h>

#include "coroutine_body.h"

#define WORKERS 8
#define ROUNDS  2000

static struct {
    cu_mutex mutex;
    cu_wg wg;
    int64_t count;   /* guarded by mutex */
    uint32_t inside; /* atomic */
    bool overlapped; /* guarded by mutex */
} s;

static void count(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        cu_mutex_lock(&s.mutex);
        s.overlapped |= __atomic_fetch_add(&s.inside, 1, __ATOMIC_RELAXED) != 0;
        s.count++;
        if (i % 50 == 0) {
            cu_yield(); /* the others meet it locked */
        }
        __atomic_fetch_sub(&s.inside, 1, __ATOMIC_RELAXED);
        cu_mutex_unlock(&s.mutex);
    }
}

static void *count_in_thread(void *unused)
{
    count(unused);
    return NULL;
}

static void mutex_excludes(void **state)
{
    (void)state;
    pthread_t thread;
    for (int i = 0; i < WORKERS; i++) {
        assert_true(cu_wg_go(&s.wg, count, NULL) > 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, count_in_thread, NULL), 0);
    cu_wg_wait(&s.wg);
    pthread_join(thread, NULL);
    assert_int_equal(s.count, (WORKERS + 1) * ROUNDS);
    assert_false(s.overlapped);
}

COROUTINE_TEST(try_lock)
{
    cu_mutex mu = {0};
    expect(cu_mutex_try_lock(&mu) && !cu_mutex_try_lock(&mu));
    cu_mutex_unlock(&mu);
    expect(cu_mutex_try_lock(&mu));
    cu_mutex_unlock(&mu);
    return 0;
}

static void lock_a_while(void *mu)
{
    cu_mutex_lock(mu);
    cu_mutex_unlock(mu);
}

/* One that waits for long is handed the mutex, even if its holder locks again at once. */
COROUTINE_TEST(nobody_starves)
{
    cu_mutex mu = {0};
    cu_wg wg = {0};
    cu_mutex_lock(&mu);
    cu_wg_go(&wg, lock_a_while, &mu);
    for (int i = 0; i < 5; i++) {
        cu_sleep(2 * COPPER_MS);
        cu_mutex_unlock(&mu);
        cu_mutex_lock(&mu);
    }
    cu_mutex_unlock(&mu);
    cu_wg_wait(&wg);
    return 0;
}

static void done_late(void *arg)
{
    cu_sleep(5 * COPPER_MS);
    cu_wg_done(arg);
}

static void wait_for(void *arg)
{
    cu_wg_wait(arg);
}

COROUTINE_TEST(wait_group_wakes_all)
{
    cu_wg wg = {0}, waiters = {0};
    cu_wg_wait(&wg);
    cu_wg_add(&wg, 3);
    for (int i = 0; i < 4; i++) {
        cu_wg_go(&waiters, wait_for, &wg);
    }
    for (int i = 0; i < 3; i++) {
        cu_go(done_late, &wg);
    }
    cu_wg_wait(&wg);
    cu_wg_wait(&waiters);
    cu_wg_add(&wg, 1); /* a second use */
    cu_wg_done(&wg);
    cu_wg_wait(&wg);
    return 0;
}

static void leave_early(void *unused)
{
    (void)unused;
    cu_exit();
}

COROUTINE_TEST(exit_counts_as_done)
{
    cu_wg wg = {0};
    for (int i = 0; i < 10; i++) {
        expect(cu_wg_go(&wg, leave_early, NULL) > 0);
    }
    cu_wg_wait(&wg);
    return 0;
}

struct result {
    cu_wg wg;
    int value; /* guarded by wg */
};

static void set_value(void *arg)
{
    struct result *r = arg;
    for (int i = 0; i < r->value % 64; i++) {
        __asm__ volatile("" ::: "memory"); /* ends while the other is about to wait */
    }
    r->value = -1;
}

/* Whether it had to wait, or came too late for that, or just about. */
static void wait_shows_what_was_done(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct result r = {.value = i};
        assert_true(cu_wg_go(&r.wg, set_value, &r) > 0);
        cu_wg_wait(&r.wg);
        assert_int_equal(r.value, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex_excludes),      cmocka_unit_test(try_lock),
        cmocka_unit_test(nobody_starves),      cmocka_unit_test(wait_group_wakes_all),
        cmocka_unit_test(exit_counts_as_done), cmocka_unit_test(wait_shows_what_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
