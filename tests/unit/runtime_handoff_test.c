/* SPDX-License-Identifier: Apache-2.0
 *
 * With a single P: nothing here would end if a P stayed with the thread that has it.
 */
#include <copper/blocking.h>
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "coroutine_body.h"

static int stop; /* atomic */

static void compute(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    }
}

static int64_t woken; /* atomic */

static void sleep_ten_times(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10; i++) {
        cu_sleep(2 * COPPER_MS);
    }
    __atomic_fetch_add(&woken, 1, __ATOMIC_RELAXED);
}

COROUTINE_TEST(sleepers_go_on_beside_a_hog)
{
    cu_wg hogs = {0}, sleepers = {0};
    struct cu_runtime_stats stats;
    stop = 0;
    woken = 0;
    cu_wg_go(&hogs, compute, NULL);
    for (int i = 0; i < 1000; i++) {
        cu_wg_go(&sleepers, sleep_ten_times, NULL);
    }
    cu_wg_wait(&sleepers);
    expect(woken == 1000);
    cu_runtime_stats_read(&stats);
    expect(stats.handoffs[COPPER_HANDOFF_HOG] >= 1 && stats.threads >= 2);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    cu_wg_wait(&hogs);
    return 0;
}

static cu_chan *news;

static void park_in_call(void *unused)
{
    (void)unused;
    cu_syscall_enter();
    cu_recv(news, NULL);
    cu_syscall_exit();
}

/* The thread that it was announced on is in no call any more. */
COROUTINE_TEST(who_parks_in_a_call_takes_it_along)
{
    cu_wg hogs = {0}, parked = {0};
    struct cu_runtime_stats before, after;
    stop = 0;
    news = cu_chan_new(0, 0);
    cu_wg_go(&parked, park_in_call, NULL);
    cu_yield();
    cu_runtime_stats_read(&before);
    cu_wg_go(&hogs, compute, NULL);
    cu_sleep(30 * COPPER_MS); /* ends when the hog has lost its P */
    cu_runtime_stats_read(&after);
    expect(after.handoffs[COPPER_HANDOFF_HOG] > before.handoffs[COPPER_HANDOFF_HOG]);
    expect(after.handoffs[COPPER_HANDOFF_SYSCALL] == before.handoffs[COPPER_HANDOFF_SYSCALL]);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    cu_chan_close(news);
    cu_wg_wait(&hogs);
    cu_wg_wait(&parked);
    cu_chan_unref(news);
    return 0;
}

static int pipe_ends[2];

static void answer(void *unused)
{
    (void)unused;
    if (write(pipe_ends[1], "x", 1) != 1) {
        abort();
    }
}

COROUTINE_TEST(others_run_while_one_reads_unannounced)
{
    struct cu_runtime_stats stats;
    char byte = 0;
    expect(pipe(pipe_ends) == 0);
    for (int i = 0; i < 10; i++) {
        cu_go(answer, NULL);
        expect(read(pipe_ends[0], &byte, 1) == 1 && byte == 'x');
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    cu_yield();
    cu_runtime_stats_read(&stats);
    expect(stats.handoffs[COPPER_HANDOFF_BLOCKED] >= 1 && stats.preempted >= 1);
    return 0;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void compute_with_lock(void *unused)
{
    pthread_mutex_lock(&mutex);
    compute(unused);
    pthread_mutex_unlock(&mutex);
}

static void want_lock(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&mutex);
    __atomic_fetch_add(&woken, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&mutex);
}

/* Those that want the lock block their threads; each gets one, and the P goes on. */
COROUTINE_TEST(a_hog_may_hold_a_lock)
{
    cu_wg wg = {0};
    stop = 0;
    woken = 0;
    cu_wg_go(&wg, compute_with_lock, NULL);
    cu_yield();
    for (int i = 0; i < 5; i++) {
        cu_wg_go(&wg, want_lock, NULL);
    }
    cu_sleep(20 * COPPER_MS);
    expect(__atomic_load_n(&woken, __ATOMIC_RELAXED) == 0);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    cu_wg_wait(&wg);
    expect(woken == 5);
    return 0;
}

static void stay_on_a_thread(void *bad)
{
    cu_lock_thread();
    cu_lock_thread();
    pid_t self = gettid(); /* compilers remember what pthread_self returned */
    for (int i = 0; i < 50; i++) {
        if (i % 2) {
            cu_yield();
        } else {
            cu_sleep(100 * COPPER_US);
        }
        if (gettid() != self) {
            __atomic_store_n((int *)bad, 1, __ATOMIC_RELAXED);
        }
    }
    cu_unlock_thread();
    cu_yield();
    if (gettid() != self) {
        __atomic_store_n((int *)bad, 1, __ATOMIC_RELAXED);
    }
    /* the even ones end without unlocking: their threads end with them */
    if (cu_self() % 2) {
        cu_unlock_thread();
    }
}

COROUTINE_TEST(locked_coroutines_stay_on_their_threads)
{
    cu_wg wg = {0};
    int bad = 0;
    for (int i = 0; i < 8; i++) {
        cu_wg_go(&wg, stay_on_a_thread, &bad);
    }
    cu_wg_wait(&wg);
    expect(bad == 0);
    cu_unlock_thread(); /* one too many does no harm */
    return 0;
}

static bool find_locked(const struct cu_g_info *g, void *out)
{
    if (g->locked_tid) {
        *(struct cu_g_info *)out = *g;
    }
    return true;
}

COROUTINE_TEST(locks_to_threads_are_shown)
{
    struct cu_g_info found = {.id = 0};
    cu_lock_thread();
    cu_inspect_each(find_locked, &found);
    expect(found.id == cu_self() && found.locked_tid == gettid());
    cu_unlock_thread();
    found.id = 0;
    cu_inspect_each(find_locked, &found);
    expect(found.id == 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleepers_go_on_beside_a_hog),
        cmocka_unit_test(who_parks_in_a_call_takes_it_along),
        cmocka_unit_test(others_run_while_one_reads_unannounced),
        cmocka_unit_test(a_hog_may_hold_a_lock),
        cmocka_unit_test(locked_coroutines_stay_on_their_threads),
        cmocka_unit_test(locks_to_threads_are_shown),
    };
    setenv("COPPER_MAXPROCS", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
