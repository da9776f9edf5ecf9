/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what copper/sync_inline.h compiles into programs means the same as the functions in the
 * library, which are called here through pointers: each locks what the other unlocks. Optimised in
 * every preset, since nothing is inlined otherwise.
 */
#include <copper/inspect.h>
#include <copper/sync.h>
#include <pthread.h>
#include <stdbool.h>

#include "coroutine_body.h"

#define WORKERS 8
#define ROUNDS  4000

static void (*volatile lock_called)(cu_mutex *) = cu_mutex_lock;
static bool (*volatile try_called)(cu_mutex *) = cu_mutex_try_lock;
static void (*volatile unlock_called)(cu_mutex *) = cu_mutex_unlock;
static void (*volatile rlock_called)(cu_rwmutex *) = cu_rwmutex_rlock;
static void (*volatile runlock_called)(cu_rwmutex *) = cu_rwmutex_runlock;

static struct {
    cu_mutex mutex;
    cu_rwmutex rw;
    cu_once once;
    cu_wg wg;
    int64_t count;   /* guarded by mutex */
    int64_t written; /* guarded by rw */
    int done;        /* by once */
    bool is_wrong;   /* atomic */
} s;

static uint64_t word_of_mine(void)
{
    return (uint64_t)cu_self() << COPPER_MUTEX_ID_SHIFT | COPPER_MUTEX_LOCKED;
}

static void check(bool holds)
{
    if (!holds) {
        __atomic_store_n(&s.is_wrong, true, __ATOMIC_RELAXED);
    }
}

/* Says who it is in the word, on whatever thread it is by now. */
static void count_once(int round)
{
    if (round & 1) {
        cu_mutex_lock(&s.mutex);
    } else if (round & 2) {
        lock_called(&s.mutex);
    } else if (!(round & 4 ? cu_mutex_try_lock(&s.mutex) : try_called(&s.mutex))) {
        cu_mutex_lock(&s.mutex);
    }
    uint64_t word = __atomic_load_n(&s.mutex.opaque[0], __ATOMIC_RELAXED);
    check((word & ~(uint64_t)COPPER_MUTEX_WAITERS) == word_of_mine());
    s.count++;
    if (round % 50 == 0) {
        cu_yield(); /* the others meet it locked */
    }
    (round & 8 ? unlock_called : cu_mutex_unlock)(&s.mutex);
}

static void write_or_read(int round)
{
    if (round % 16 == 0) {
        cu_rwmutex_lock(&s.rw);
        s.written++;
        cu_rwmutex_unlock(&s.rw);
        return;
    }
    if (round & 1) {
        cu_rwmutex_rlock(&s.rw);
    } else {
        rlock_called(&s.rw);
    }
    int64_t before = s.written;
    if (round % 50 == 1) {
        cu_yield();
    }
    check(s.written == before);
    if (round & 2) {
        cu_rwmutex_runlock(&s.rw);
    } else {
        runlock_called(&s.rw);
    }
}

static void do_it(void *unused)
{
    (void)unused;
    s.done++;
}

static void work(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        count_once(i);
        write_or_read(i);
        cu_once_do(&s.once, do_it, NULL);
        check(s.done == 1);
    }
}

static void *work_in_thread(void *unused)
{
    work(unused);
    return NULL;
}

static void both_mean_the_same(void **state)
{
    (void)state;
    pthread_t thread;
    for (int i = 0; i < WORKERS; i++) {
        assert_true(cu_wg_go(&s.wg, work, NULL) > 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, work_in_thread, NULL), 0);
    cu_wg_wait(&s.wg);
    pthread_join(thread, NULL);
    assert_false(s.is_wrong);
    assert_int_equal(s.count, (WORKERS + 1) * ROUNDS);
    assert_int_equal(s.written, (WORKERS + 1) * ROUNDS / 16);
    assert_int_equal(s.mutex.opaque[0], 0);
    assert_int_equal(s.rw.opaque[0], 0);
}

static bool find_waiter(const struct cu_g_info *g, void *found)
{
    if (g->reason == COPPER_WAIT_MUTEX_LOCK) {
        *(struct cu_g_info *)found = *g;
    }
    return true;
}

static void lock_and_unlock(void *mu)
{
    cu_mutex_lock(mu);
    cu_mutex_unlock(mu);
}

COROUTINE_TEST(inspectors_see_who_holds_it)
{
    cu_mutex mu = {0};
    cu_wg wg = {0};
    struct cu_g_info found = {0};
    cu_mutex_lock(&mu);
    cu_wg_go(&wg, lock_and_unlock, &mu);
    while (found.id == 0) {
        cu_yield();
        cu_inspect_each(find_waiter, &found);
    }
    expect(found.object.address == &mu && found.object.owner == cu_self());
    cu_mutex_unlock(&mu);
    cu_wg_wait(&wg);
    expect(mu.opaque[0] == 0);
    return 0;
}

static void a_plain_thread_has_no_id(void **state)
{
    cu_mutex mu = {0};
    (void)state;
    cu_mutex_lock(&mu);
    assert_int_equal(mu.opaque[0], COPPER_MUTEX_LOCKED);
    assert_false(try_called(&mu));
    unlock_called(&mu);
    assert_int_equal(mu.opaque[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_mean_the_same),
        cmocka_unit_test(inspectors_see_who_holds_it),
        cmocka_unit_test(a_plain_thread_has_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
