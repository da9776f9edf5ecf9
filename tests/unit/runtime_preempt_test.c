/* SPDX-License-Identifier: Apache-2.0
 *
 * A preemptible program, with a single P that stays with its thread (COPPER_HANDOFF=0): nothing
 * here would end if a safe point did not give way. One P also means that one coroutine computes at
 * a time: what they share is plain data, also for a race detector.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/preempt.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "coroutine_body.h"

#define HOGS     4
#define SLEEPERS 200

static int stop, started, computing, overlaps;

static uint64_t preempted(void)
{
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    return stats.preempted;
}

/* The compiler is to believe that others may change it. */
static int is_off(const int *word)
{
    __asm__ volatile("" ::: "memory");
    return *word == 0;
}

static void compute(void *unused)
{
    (void)unused;
    while (is_off(&stop)) {
    }
}

static void sleep_some_times(void *woken)
{
    for (int i = 0; i < 3; i++) {
        cu_sleep(COPPER_MS);
    }
    ++*(int *)woken;
}

COROUTINE_TEST(sleepers_go_on_beside_a_hog)
{
    cu_wg hogs = {0}, sleepers = {0};
    uint64_t before = preempted();
    int woken = 0;
    stop = 0;
    cu_wg_go(&hogs, compute, NULL);
    for (int i = 0; i < SLEEPERS; i++) {
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_wg_wait(&sleepers);
    expect(woken == SLEEPERS && preempted() > before);
    stop = 1;
    cu_wg_wait(&hogs);
    return 0;
}

/* Until all have begun: each has to be preempted for the next one. */
static void compute_together(void *unused)
{
    (void)unused;
    started++;
    while (__extension__({
        __asm__ volatile("" ::: "memory");
        started < HOGS;
    })) {
    }
}

COROUTINE_TEST(hogs_take_turns)
{
    cu_wg hogs = {0}, sleepers = {0};
    int woken = 0;
    started = 0;
    for (int i = 0; i < HOGS; i++) {
        cu_wg_go(&hogs, compute_together, NULL);
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_wg_wait(&hogs);
    cu_wg_wait(&sleepers);
    expect(started == HOGS && woken == HOGS);
    return 0;
}

/* Without a safe point in the middle, nobody else gets here. */
static COPPER_NO_SAFE_POINTS void be_alone(void)
{
    overlaps += computing++ != 0;
    for (int i = 0; i < 100; i++) {
        __asm__ volatile("" ::: "memory");
    }
    overlaps += --computing != 0;
}

static void compute_alone(void *unused)
{
    (void)unused;
    while (is_off(&stop)) {
        be_alone();
    }
}

COROUTINE_TEST(one_p_is_one_at_a_time)
{
    cu_wg hogs = {0}, sleepers = {0};
    int woken = 0;
    stop = overlaps = 0;
    for (int i = 0; i < 2; i++) {
        cu_wg_go(&hogs, compute_alone, NULL);
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_wg_wait(&sleepers);
    stop = 1;
    cu_wg_wait(&hogs);
    expect(overlaps == 0 && computing == 0);
    return 0;
}

COROUTINE_TEST(thread_and_errno_stay)
{
    cu_wg sleepers = {0};
    int woken = 0;
    for (int i = 0; i < 3; i++) {
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_yield();
    /* read once: between here and there is no parking call */
    pid_t self = gettid(); /* compilers remember what pthread_self returned */
    int *error = &errno;
    *error = 42;
    uint64_t before = preempted();
    for (int turns = 0; preempted() == before; turns++) {
        expect(*error == 42);
    }
    expect(*error == 42 && error == &errno && gettid() == self);
    cu_wg_wait(&sleepers);
    return 0;
}

static COPPER_NO_SAFE_POINTS void compute_to_checkpoints(void *unused)
{
    (void)unused;
    while (is_off(&stop)) {
        cu_checkpoint();
    }
}

COROUTINE_TEST(checkpoints_let_others_run)
{
    cu_wg hogs = {0}, sleepers = {0};
    int woken = 0;
    stop = 0;
    for (int i = 0; i < HOGS; i++) {
        cu_wg_go(&hogs, compute_to_checkpoints, NULL);
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_wg_wait(&sleepers);
    stop = 1;
    cu_wg_wait(&hogs);
    expect(woken == HOGS);
    return 0;
}

static void compute_locked(void *unused)
{
    cu_lock_thread();
    pid_t self = gettid();
    compute(unused);
    if (gettid() != self) {
        abort();
    }
    cu_unlock_thread();
}

COROUTINE_TEST(a_locked_hog_gives_way_too)
{
    cu_wg hogs = {0}, sleepers = {0};
    int woken = 0;
    stop = 0;
    cu_wg_go(&hogs, compute_locked, NULL);
    cu_wg_go(&hogs, compute, NULL);
    for (int i = 0; i < 10; i++) {
        cu_wg_go(&sleepers, sleep_some_times, &woken);
    }
    cu_wg_wait(&sleepers);
    stop = 1;
    cu_wg_wait(&hogs);
    expect(woken == 10);
    return 0;
}

/* On a plain thread both do nothing. */
static void plain_threads_pass(void **state)
{
    (void)state;
    cu_checkpoint();
    cu_safe_point();
    for (int i = 0; i < 10; i++) {
        __asm__ volatile("" ::: "memory");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_threads_pass),
        cmocka_unit_test(sleepers_go_on_beside_a_hog),
        cmocka_unit_test(hogs_take_turns),
        cmocka_unit_test(one_p_is_one_at_a_time),
        cmocka_unit_test(thread_and_errno_stay),
        cmocka_unit_test(checkpoints_let_others_run),
        cmocka_unit_test(a_locked_hog_gives_way_too),
    };
    setenv("COPPER_MAXPROCS", "1", 1);
    setenv("COPPER_HANDOFF", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
