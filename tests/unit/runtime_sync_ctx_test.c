/* SPDX-License-Identifier: Apache-2.0
 *
 * The twins that take a context: who gives up changes nothing and keeps nobody else waiting.
 */
#include <copper/copper.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine_body.h"

static void settle(void)
{
    cu_quiesce(0, 30 * COPPER_SEC);
}

static struct {
    cu_mutex mu;
    cu_rwmutex rw;
    cu_cond cond;
    cu_sem sem;
    cu_wg wg;
    cu_pool *pool;
    cu_ctx *ctx;
    int result; /* of who uses ctx */
    int others;
} s;

static void lock_it(void *unused)
{
    (void)unused;
    s.result = cu_mutex_lock_ctx(s.ctx, &s.mu);
}

static void write_it(void *unused)
{
    (void)unused;
    s.result = cu_rwmutex_lock_ctx(s.ctx, &s.rw);
}

static void read_it(void *unused)
{
    (void)unused;
    s.result = cu_rwmutex_rlock_ctx(s.ctx, &s.rw);
}

static void await_signal(void *unused)
{
    (void)unused;
    cu_mutex_lock(&s.mu);
    s.result = cu_cond_wait_ctx(s.ctx, &s.cond, &s.mu);
    cu_mutex_unlock(&s.mu);
}

static void ask_for_3(void *unused)
{
    (void)unused;
    s.result = cu_sem_acquire_ctx(s.ctx, &s.sem, 3);
}

static void wait_for_all(void *unused)
{
    (void)unused;
    s.result = cu_wg_wait_ctx(s.ctx, &s.wg);
}

static void no_job(void *unused)
{
    (void)unused;
}

static void submit_it(void *unused)
{
    (void)unused;
    s.result = cu_pool_submit_ctx(s.ctx, s.pool, no_job, NULL);
}

/* fn waits, is cancelled, and says so; `before` runs while it waits. */
static int cancelled(void (*fn)(void *), void (*before)(void))
{
    cu_wg wg = {0};
    s.ctx = cu_ctx_with_cancel(NULL);
    s.result = 1;
    cu_wg_go(&wg, fn, NULL);
    settle();
    if (s.result != 1) {
        return 0;
    }
    if (before) {
        before();
    }
    cu_ctx_cancel(s.ctx);
    cu_wg_wait(&wg);
    cu_ctx_end(s.ctx);
    return s.result;
}

COROUTINE_TEST(mutex)
{
    memset(&s, 0, sizeof(s));
    cu_mutex_lock(&s.mu);
    expect(cancelled(lock_it, NULL) == -ECANCELED);
    s.ctx = cu_ctx_with_timeout(NULL, 2 * COPPER_MS);
    expect(cu_mutex_lock_ctx(s.ctx, &s.mu) == -ETIMEDOUT);
    cu_mutex_unlock(&s.mu);
    expect(cu_mutex_lock_ctx(s.ctx, &s.mu) == 0); /* done, but there is no need to wait */
    cu_mutex_unlock(&s.mu);
    cu_ctx_end(s.ctx);
    expect(cu_mutex_lock_ctx(NULL, &s.mu) == 0);
    cu_mutex_unlock(&s.mu);
    return 0;
}

static void read_too(void *wg)
{
    cu_rwmutex_rlock(&s.rw);
    s.others++;
    cu_rwmutex_runlock(&s.rw);
    cu_wg_done(wg);
}

static cu_wg behind;

static void reader_behind(void)
{
    cu_wg_add(&behind, 1);
    cu_go(read_too, &behind);
    settle();
}

COROUTINE_TEST(rwmutex)
{
    memset(&s, 0, sizeof(s));
    cu_rwmutex_rlock(&s.rw);
    /* a reader that came behind a writer is let in when the writer gives up */
    expect(cancelled(write_it, reader_behind) == -ECANCELED);
    cu_wg_wait(&behind);
    expect(s.others == 1);
    cu_rwmutex_runlock(&s.rw);
    expect(cu_rwmutex_try_lock(&s.rw));
    expect(cancelled(read_it, NULL) == -ECANCELED);
    cu_rwmutex_unlock(&s.rw);
    expect(cu_rwmutex_rlock_ctx(NULL, &s.rw) == 0);
    cu_rwmutex_runlock(&s.rw);
    expect(cu_rwmutex_lock_ctx(NULL, &s.rw) == 0);
    cu_rwmutex_unlock(&s.rw);
    return 0;
}

COROUTINE_TEST(cond)
{
    memset(&s, 0, sizeof(s));
    expect(cancelled(await_signal, NULL) == -ECANCELED);
    expect(cu_mutex_try_lock(&s.mu));
    cu_mutex_unlock(&s.mu);
    cu_cond_signal(&s.cond);
    return 0;
}

static void ask_for_1(void *wg)
{
    s.others += cu_sem_acquire(&s.sem, 1) == 0;
    cu_wg_done(wg);
}

static void small_one_behind(void)
{
    cu_wg_add(&behind, 1);
    cu_go(ask_for_1, &behind);
    settle();
}

COROUTINE_TEST(sem)
{
    memset(&s, 0, sizeof(s));
    cu_sem_release(&s.sem, 2);
    /* one that asks for few is served when the one before it, that asks for many, gives up */
    expect(cancelled(ask_for_3, small_one_behind) == -ECANCELED);
    cu_wg_wait(&behind);
    expect(s.others == 1 && cu_sem_units(&s.sem) == 1);
    return 0;
}

COROUTINE_TEST(wait_group)
{
    memset(&s, 0, sizeof(s));
    cu_wg_add(&s.wg, 1);
    expect(cancelled(wait_for_all, NULL) == -ECANCELED);
    cu_wg_done(&s.wg);
    expect(cu_wg_wait_ctx(NULL, &s.wg) == 0);
    return 0;
}

static void hold(void *unused)
{
    (void)unused;
    cu_sem_acquire(&s.sem, 1);
}

COROUTINE_TEST(pool)
{
    struct cu_pool_stats stats = {.size = sizeof(stats)};
    memset(&s, 0, sizeof(s));
    s.pool = cu_pool_new(1, 0);
    expect(cu_pool_submit_ctx(NULL, s.pool, hold, NULL) == 0);
    expect(cancelled(submit_it, NULL) == -ECANCELED);
    cu_pool_stats_read(s.pool, &stats);
    expect(stats.waiting == 0 && stats.submitted == 1);
    cu_sem_release(&s.sem, 1);
    cu_pool_free(s.pool);
    return 0;
}

static int until_done(void *ctx)
{
    return cu_ctx_wait(ctx);
}

static int fail_late(void *unused)
{
    (void)unused;
    cu_sleep(COPPER_MS);
    return -EIO;
}

COROUTINE_TEST(group)
{
    cu_group group = {0};
    cu_ctx *ctx = cu_group_with_ctx(&group, NULL);
    expect(ctx != NULL);
    cu_ctx_ref(ctx);
    cu_group_go(&group, until_done, ctx);
    cu_group_go(&group, fail_late, NULL);
    expect(cu_group_wait(&group) == -EIO);
    expect(cu_ctx_err(ctx) == -ECANCELED && cu_ctx_cause(ctx) == -EIO);
    cu_ctx_unref(ctx);
    return 0;
}

/* ---- many, some of which give up all the time ---- */

static struct {
    cu_rwmutex rw;
    cu_mutex mu;
    cu_sem sem;
    int64_t writers, counted; /* guarded by rw, mu */
    int64_t locked, held;     /* atomic */
    int wrong;                /* atomic */
} h;

static void hammer_one(void *seed)
{
    uint64_t random = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < 400; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, (int64_t)(random >> 40) % (200 * COPPER_US));
        int64_t n = 1 + (int64_t)(random >> 33) % 3;
        if (cu_mutex_lock_ctx(ctx, &h.mu) == 0) {
            __atomic_fetch_add(&h.locked, 1, __ATOMIC_RELAXED);
            h.counted++;
            cu_yield();
            cu_mutex_unlock(&h.mu);
        }
        if (random >> 62 && cu_rwmutex_rlock_ctx(ctx, &h.rw) == 0) {
            if (h.writers) {
                __atomic_fetch_add(&h.wrong, 1, __ATOMIC_RELAXED);
            }
            cu_yield();
            cu_rwmutex_runlock(&h.rw);
        } else if (cu_rwmutex_lock_ctx(ctx, &h.rw) == 0) {
            h.writers++;
            cu_yield();
            h.writers--;
            cu_rwmutex_unlock(&h.rw);
        }
        if (cu_sem_acquire_ctx(ctx, &h.sem, n) == 0) {
            if (__atomic_add_fetch(&h.held, n, __ATOMIC_RELAXED) > 3) {
                __atomic_fetch_add(&h.wrong, 1, __ATOMIC_RELAXED);
            }
            cu_yield();
            __atomic_sub_fetch(&h.held, n, __ATOMIC_RELAXED);
            cu_sem_release(&h.sem, n);
        }
        cu_ctx_end(ctx);
    }
}

COROUTINE_TEST(hammer)
{
    cu_wg wg = {0};
    cu_sem_init(&h.sem, 3);
    for (intptr_t i = 0; i < 12; i++) {
        cu_wg_go(&wg, hammer_one, (void *)(i * 99991));
    }
    cu_wg_wait(&wg);
    expect(h.wrong == 0 && h.counted == h.locked && cu_sem_units(&h.sem) == 3);
    expect(cu_mutex_try_lock(&h.mu) && cu_rwmutex_try_lock(&h.rw));
    return 0;
}

/* What a plain thread's record lies on is not all zero. */
static __attribute__((noinline)) void use_stack(int byte)
{
    volatile char used[8192];
    for (size_t i = 0; i < sizeof(used); i++) {
        used[i] = (char)byte;
    }
}

static void threads_give_up_on_a_used_stack(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        cu_mutex *mu = calloc(1, sizeof(*mu));
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, i * COPPER_MS); /* over already, or soon */
        cu_mutex_lock(mu);
        use_stack(1);
        assert_int_equal(cu_mutex_lock_ctx(ctx, mu), -ETIMEDOUT);
        cu_mutex_unlock(mu);
        cu_ctx_end(ctx);
        free(mu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex),
        cmocka_unit_test(rwmutex),
        cmocka_unit_test(cond),
        cmocka_unit_test(sem),
        cmocka_unit_test(pool),
        cmocka_unit_test(group),
        cmocka_unit_test(wait_group),
        cmocka_unit_test(hammer),
        cmocka_unit_test(threads_give_up_on_a_used_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
