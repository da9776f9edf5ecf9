/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what Go's own tests expect of its locks and rendezvous, where the other tests here do
 * not ask it yet.
 *
 *     sync/mutex_test.go           here, or in the file named
 *       HammerSemaphore            mutex_as_semaphore
 *       TestMutex                  hammer_with_tries
 *       TestMutexMisuse            tests/behaviour/runtime_cases.py
 *       TestMutexFairness          mutex_is_fair
 *     sync/rwmutex_test.go
 *       TestParallelReaders        readers_run_in_parallel
 *       TestRWMutex                readers_and_writers_exclude
 *       TestRLocker, misuse        the former is the language's; tests/behaviour/runtime_cases.py
 *     sync/cond_test.go
 *       TestCondSignal             runtime_once_cond_test.c: signal_wakes_one_in_order
 *       TestCondSignalGenerations  signals_in_generations
 *       TestCondBroadcast          broadcasts_until_exit
 *       TestRace                   three_steps_by_one_condition
 *       TestCondSignalStealing     signal_is_not_stolen
 *     sync/once_test.go
 *       TestOnce                   runtime_once_cond_test.c: once_runs_once
 *       TestOncePanic              runtime_once_cond_test.c: once_is_over_when_its_coroutine_ends
 *     sync/waitgroup_test.go
 *       TestWaitGroup              wait_group_used_again
 *       TestWaitGroupMisuse        tests/behaviour/runtime_cases.py
 *       TestWaitGroupRace          done_counts_before_wait_returns
 *       TestWaitGroupGo            runtime_sync_test.c: exit_counts_as_done, ...
 *     runtime/sema_test.go
 *       TestSemaHandoff            release_lets_the_waiter_in_first
 *     golang.org/x/sync/semaphore
 *       TestWeighted, TryAcquire   runtime_sem_test.c: hammer, units_are_counted
 *       TestWeightedPanic          tests/behaviour/runtime_cases.py
 *       DoesntBlockIfTooBig        too_many_units_keep_nobody
 *       LargeAcquireDoesntStarve   large_request_is_served
 *       AllocCancelDoesntStarve    cancelled_request_lets_others_in
 */
#include <copper/context.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stdbool.h>

#include "coroutine_body.h"

static void settle(void)
{
    cu_quiesce(0, 60 * COPPER_SEC);
}

/* ---- mutex ---- */

#define USERS  10
#define ROUNDS 500

static struct {
    cu_mutex mu;
    cu_sem sem;
    int inside; /* atomic */
    bool overlapped;
} m;

static void enter_and_leave(void)
{
    if (__atomic_fetch_add(&m.inside, 1, __ATOMIC_RELAXED) != 0) {
        __atomic_store_n(&m.overlapped, true, __ATOMIC_RELAXED);
    }
    __atomic_fetch_sub(&m.inside, 1, __ATOMIC_RELAXED);
}

static void hammer_semaphore(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        cu_sem_acquire(&m.sem, 1);
        enter_and_leave();
        cu_sem_release(&m.sem, 1);
    }
}

COROUTINE_TEST(mutex_as_semaphore)
{
    cu_wg wg = {0};
    cu_sem_release(&m.sem, 1);
    for (int i = 0; i < USERS; i++) {
        cu_wg_go(&wg, hammer_semaphore, NULL);
    }
    cu_wg_wait(&wg);
    expect(!m.overlapped && cu_sem_units(&m.sem) == 1);
    return 0;
}

static void hammer_mutex(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 3 == 0) {
            if (cu_mutex_try_lock(&m.mu)) {
                enter_and_leave();
                cu_mutex_unlock(&m.mu);
            }
            continue;
        }
        cu_mutex_lock(&m.mu);
        enter_and_leave();
        cu_mutex_unlock(&m.mu);
    }
}

COROUTINE_TEST(hammer_with_tries)
{
    cu_wg wg = {0};
    cu_mutex_lock(&m.mu);
    expect(!cu_mutex_try_lock(&m.mu));
    cu_mutex_unlock(&m.mu);
    for (int i = 0; i < USERS; i++) {
        cu_wg_go(&wg, hammer_mutex, NULL);
    }
    cu_wg_wait(&wg);
    expect(!m.overlapped && cu_mutex_try_lock(&m.mu));
    cu_mutex_unlock(&m.mu);
    return 0;
}

struct fairness {
    cu_mutex mu;
    cu_wg wg;
    bool is_over; /* atomic */
};

/* Wants the mutex nearly all the time. */
static void hold_and_hold(void *arg)
{
    struct fairness *f = arg;
    while (!__atomic_load_n(&f->is_over, __ATOMIC_ACQUIRE)) {
        cu_mutex_lock(&f->mu);
        cu_sleep(100 * COPPER_US);
        cu_mutex_unlock(&f->mu);
    }
}

static void get_ten_times(void *arg)
{
    struct fairness *f = arg;
    for (int i = 0; i < 10; i++) {
        cu_sleep(100 * COPPER_US);
        cu_mutex_lock(&f->mu);
        cu_mutex_unlock(&f->mu);
    }
    __atomic_store_n(&f->is_over, true, __ATOMIC_RELEASE);
}

COROUTINE_TEST(mutex_is_fair)
{
    struct fairness f = {.is_over = false};
    cu_wg_go(&f.wg, hold_and_hold, &f);
    cu_wg_go(&f.wg, get_ten_times, &f);
    cu_wg_wait(&f.wg); /* or for ever */
    return 0;
}

/* ---- reader-writer mutex ---- */

struct readers {
    cu_rwmutex rw;
    cu_sem in, out; /* each reader is in; may go out */
    cu_wg wg;
};

static void read_until_told(void *arg)
{
    struct readers *r = arg;
    cu_rwmutex_rlock(&r->rw);
    cu_sem_release(&r->in, 1);
    cu_sem_acquire(&r->out, 1);
    cu_rwmutex_runlock(&r->rw);
}

/* All are in before any leaves. */
COROUTINE_TEST(readers_run_in_parallel)
{
    for (int count = 1; count <= 4; count++) {
        struct readers r = {.wg = {{0}}};
        for (int i = 0; i < count; i++) {
            cu_wg_go(&r.wg, read_until_told, &r);
        }
        cu_sem_acquire(&r.in, count);
        cu_sem_release(&r.out, count);
        cu_wg_wait(&r.wg);
    }
    return 0;
}

static struct {
    cu_rwmutex rw;
    int activity; /* atomic: a reader counts 1, a writer 10000 */
    bool is_wrong;
} rw;

static void take_part(int weight, int most)
{
    int now = __atomic_add_fetch(&rw.activity, weight, __ATOMIC_RELAXED);
    if (now < weight || now > most) {
        __atomic_store_n(&rw.is_wrong, true, __ATOMIC_RELAXED);
    }
    for (volatile int i = 0; i < 100; i++) {
    }
    __atomic_sub_fetch(&rw.activity, weight, __ATOMIC_RELAXED);
}

static void read_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        cu_rwmutex_rlock(&rw.rw);
        take_part(1, 9999);
        cu_rwmutex_runlock(&rw.rw);
    }
}

static void write_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        cu_rwmutex_lock(&rw.rw);
        take_part(10000, 10000);
        cu_rwmutex_unlock(&rw.rw);
    }
}

COROUTINE_TEST(readers_and_writers_exclude)
{
    static const int readers[] = {1, 3, 10};
    for (int k = 0; k < 3; k++) {
        cu_wg wg = {0};
        cu_wg_go(&wg, write_often, NULL);
        for (int i = 0; i < readers[k]; i++) {
            cu_wg_go(&wg, read_often, NULL);
            if (i == readers[k] / 2) {
                cu_wg_go(&wg, write_often, NULL);
            }
        }
        cu_wg_wait(&wg);
        expect(!rw.is_wrong && rw.activity == 0);
    }
    return 0;
}

/* ---- condition ---- */

#define GENERATIONS 100

static struct {
    cu_mutex mu;
    cu_cond cond;
    int awake[GENERATIONS + 1], count; /* guarded by mu */
    bool must_end;                     /* guarded by mu */
    int x;                             /* guarded by mu */
} c;

static void wait_in_generation(void *number)
{
    cu_mutex_lock(&c.mu);
    cu_cond_wait(&c.cond, &c.mu);
    c.awake[c.count++] = (int)(intptr_t)number;
    cu_mutex_unlock(&c.mu);
}

/* A signal is for one that waits already, not for one that comes just after: order of arrival. */
COROUTINE_TEST(signals_in_generations)
{
    cu_wg wg = {0};
    c.count = 0;
    for (intptr_t i = 0; i < GENERATIONS; i++) {
        cu_wg_go(&wg, wait_in_generation, (void *)i);
        settle();
        if (i > 0) {
            cu_mutex_lock(&c.mu);
            cu_cond_signal(&c.cond);
            cu_mutex_unlock(&c.mu);
            settle();
            expect(c.count == i && c.awake[i - 1] == i - 1);
        }
    }
    cu_cond_signal(&c.cond);
    cu_wg_wait(&wg);
    return 0;
}

static void sleep_until_end(void *unused)
{
    (void)unused;
    cu_mutex_lock(&c.mu);
    while (!c.must_end) {
        c.count++;
        cu_cond_wait(&c.cond, &c.mu);
    }
    c.count++;
    cu_mutex_unlock(&c.mu);
}

COROUTINE_TEST(broadcasts_until_exit)
{
    enum { SLEEPERS = 50 };
    cu_wg wg = {0};
    c.count = 0;
    c.must_end = false;
    for (int i = 0; i < SLEEPERS; i++) {
        cu_wg_go(&wg, sleep_until_end, NULL);
    }
    for (int round = 0; round < 20; round++) {
        settle();
        cu_mutex_lock(&c.mu);
        int count = c.count;
        c.count = 0;
        c.must_end = round == 19;
        cu_mutex_unlock(&c.mu);
        expect(count == SLEEPERS);
        cu_cond_broadcast(&c.cond);
    }
    cu_wg_wait(&wg);
    expect(c.count == SLEEPERS);
    return 0;
}

static void wait_for_two(void *unused)
{
    (void)unused;
    cu_mutex_lock(&c.mu);
    c.x = 1;
    cu_cond_wait(&c.cond, &c.mu);
    c.count += c.x == 2;
    c.x = 3;
    cu_cond_signal(&c.cond);
    cu_mutex_unlock(&c.mu);
}

static void make_two(void *unused)
{
    (void)unused;
    cu_mutex_lock(&c.mu);
    while (c.x != 1) {
        cu_mutex_unlock(&c.mu);
        cu_yield();
        cu_mutex_lock(&c.mu);
    }
    c.x = 2;
    cu_cond_signal(&c.cond);
    cu_mutex_unlock(&c.mu);
}

static void await_three(void *unused)
{
    (void)unused;
    cu_mutex_lock(&c.mu);
    while (c.x != 2 && c.x != 3) {
        cu_mutex_unlock(&c.mu);
        cu_yield();
        cu_mutex_lock(&c.mu);
    }
    while (c.x != 3) {
        cu_cond_wait(&c.cond, &c.mu);
    }
    cu_mutex_unlock(&c.mu);
}

COROUTINE_TEST(three_steps_by_one_condition)
{
    for (int i = 0; i < 50; i++) {
        cu_wg wg = {0};
        c.x = c.count = 0;
        cu_wg_go(&wg, wait_for_two, NULL);
        cu_wg_go(&wg, make_two, NULL);
        cu_wg_go(&wg, await_three, NULL);
        cu_wg_wait(&wg);
        expect(c.count == 1 && c.x == 3);
    }
    return 0;
}

struct stealing {
    cu_mutex mu;
    cu_cond cond;
    cu_wg wg;
    int waiting, woken; /* guarded by mu */
};

static void wait_first(void *arg)
{
    struct stealing *s = arg;
    cu_mutex_lock(&s->mu);
    s->waiting = 1;
    cu_cond_wait(&s->cond, &s->mu);
    s->woken = 1;
    cu_mutex_unlock(&s->mu);
}

static void wait_until_woken(void *arg)
{
    struct stealing *s = arg;
    cu_mutex_lock(&s->mu);
    while (!s->woken) {
        s->waiting = 2;
        cu_cond_wait(&s->cond, &s->mu);
    }
    cu_mutex_unlock(&s->mu);
}

static void await_waiting(struct stealing *s, int count)
{
    for (bool is_so = false; !is_so; cu_yield()) {
        cu_mutex_lock(&s->mu);
        is_so = s->waiting >= count;
        cu_mutex_unlock(&s->mu);
    }
}

/* The signal is the first waiter's, even if the second comes to wait at the same time. */
COROUTINE_TEST(signal_is_not_stolen)
{
    for (int i = 0; i < 200; i++) {
        struct stealing s = {.waiting = 0};
        cu_wg_go(&s.wg, wait_first, &s);
        await_waiting(&s, 1);
        cu_wg_go(&s.wg, wait_until_woken, &s);
        cu_cond_signal(&s.cond);
        for (bool is_woken = false; !is_woken; cu_yield()) {
            cu_mutex_lock(&s.mu);
            is_woken = s.woken;
            cu_mutex_unlock(&s.mu);
        }
        cu_cond_broadcast(&s.cond);
        cu_wg_wait(&s.wg);
    }
    return 0;
}

/* ---- wait group ---- */

struct meeting {
    cu_wg *first, *second;
    int left; /* atomic */
};

static void pass_both(void *arg)
{
    struct meeting *b = arg;
    cu_wg_done(b->first);
    cu_wg_wait(b->second);
    __atomic_fetch_add(&b->left, 1, __ATOMIC_RELAXED);
}

COROUTINE_TEST(wait_group_used_again)
{
    enum { MEMBERS = 16 };
    cu_wg first = {0}, second = {0};
    for (int i = 0; i < 8; i++) {
        struct meeting b = {&first, &second, 0};
        cu_wg all = {0};
        cu_wg_add(&first, MEMBERS);
        cu_wg_add(&second, MEMBERS);
        for (int k = 0; k < MEMBERS; k++) {
            cu_wg_go(&all, pass_both, &b);
        }
        cu_wg_wait(&first);
        for (int k = 0; k < MEMBERS; k++) {
            expect(__atomic_load_n(&b.left, __ATOMIC_RELAXED) == 0); /* not one too early */
            cu_wg_done(&second);
        }
        cu_wg_wait(&all);
        expect(b.left == MEMBERS);
    }
    return 0;
}

struct race {
    cu_wg wg;
    int count; /* atomic */
};

static void count_and_done(void *arg)
{
    struct race *r = arg;
    __atomic_fetch_add(&r->count, 1, __ATOMIC_RELAXED);
    cu_wg_done(&r->wg);
}

COROUTINE_TEST(done_counts_before_wait_returns)
{
    for (int i = 0; i < 1000; i++) {
        struct race r = {.count = 0};
        cu_wg_add(&r.wg, 1);
        cu_go(count_and_done, &r);
        cu_wg_add(&r.wg, 1); /* while the first may end */
        cu_go(count_and_done, &r);
        cu_wg_wait(&r.wg);
        expect(r.count == 2);
    }
    return 0;
}

/* ---- semaphore ---- */

struct handoff {
    cu_sem sem;
    cu_wg wg;
    bool had_it; /* atomic */
};

static void acquire_once(void *arg)
{
    struct handoff *h = arg;
    cu_sem_acquire(&h->sem, 1);
    __atomic_store_n(&h->had_it, true, __ATOMIC_RELAXED);
    cu_sem_release(&h->sem, 1);
}

/* Who waits gets the unit before the one that gave it back gets it again. */
COROUTINE_TEST(release_lets_the_waiter_in_first)
{
    for (int i = 0; i < 100; i++) {
        struct handoff h = {.had_it = false};
        cu_sem_init(&h.sem, 1);
        cu_sem_acquire(&h.sem, 1);
        cu_wg_go(&h.wg, acquire_once, &h);
        settle();
        cu_sem_release(&h.sem, 1);
        cu_sem_acquire(&h.sem, 1);
        expect(__atomic_load_n(&h.had_it, __ATOMIC_RELAXED));
        cu_wg_wait(&h.wg);
    }
    return 0;
}

COROUTINE_TEST(too_many_units_keep_nobody)
{
    cu_sem sem = COPPER_SEM_INIT(2);
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 60 * COPPER_SEC);
    expect(cu_sem_acquire_ctx(ctx, &sem, 3) == -EINVAL); /* at once */
    expect(cu_sem_acquire(&sem, 2) == 0 && cu_ctx_err(ctx) == 0);
    cu_ctx_end(ctx);
    return 0;
}

static void take_one_often(void *arg)
{
    struct handoff *h = arg;
    while (!__atomic_load_n(&h->had_it, __ATOMIC_RELAXED)) {
        cu_sem_acquire(&h->sem, 1);
        cu_yield();
        cu_sem_release(&h->sem, 1);
    }
}

/* One that wants all, beside many that want one each, over and over. */
COROUTINE_TEST(large_request_is_served)
{
    struct handoff h = {.had_it = false};
    cu_sem_init(&h.sem, 4);
    for (int i = 0; i < 8; i++) {
        cu_wg_go(&h.wg, take_one_often, &h);
    }
    expect(cu_sem_acquire(&h.sem, 4) == 0); /* or never */
    cu_sem_release(&h.sem, 4);
    __atomic_store_n(&h.had_it, true, __ATOMIC_RELAXED);
    cu_wg_wait(&h.wg);
    return 0;
}

struct request {
    struct handoff *h;
    cu_ctx *ctx;
    int error;
};

static void want_all(void *arg)
{
    struct request *r = arg;
    r->error = cu_sem_acquire_ctx(r->ctx, &r->h->sem, 4);
}

/* Behind a large request waits a small one that could be served: when the large one gives up. */
COROUTINE_TEST(cancelled_request_lets_others_in)
{
    struct handoff h = {.had_it = false};
    struct request large = {&h, cu_ctx_with_cancel(NULL), 0};
    cu_sem_init(&h.sem, 4);
    cu_sem_acquire(&h.sem, 1);
    cu_wg_go(&h.wg, want_all, &large);
    settle();
    cu_wg_go(&h.wg, acquire_once, &h);
    settle();
    expect(!__atomic_load_n(&h.had_it, __ATOMIC_RELAXED));
    cu_ctx_cancel(large.ctx);
    cu_wg_wait(&h.wg);
    expect(h.had_it && large.error == -ECANCELED && cu_sem_units(&h.sem) == 3);
    cu_ctx_end(large.ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex_as_semaphore),
        cmocka_unit_test(hammer_with_tries),
        cmocka_unit_test(mutex_is_fair),
        cmocka_unit_test(readers_run_in_parallel),
        cmocka_unit_test(readers_and_writers_exclude),
        cmocka_unit_test(signals_in_generations),
        cmocka_unit_test(broadcasts_until_exit),
        cmocka_unit_test(three_steps_by_one_condition),
        cmocka_unit_test(signal_is_not_stolen),
        cmocka_unit_test(wait_group_used_again),
        cmocka_unit_test(done_counts_before_wait_returns),
        cmocka_unit_test(release_lets_the_waiter_in_first),
        cmocka_unit_test(too_many_units_keep_nobody),
        cmocka_unit_test(large_request_is_served),
        cmocka_unit_test(cancelled_request_lets_others_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
