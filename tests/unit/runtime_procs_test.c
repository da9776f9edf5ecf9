/* SPDX-License-Identifier: Apache-2.0
 *
 * cu_set_maxprocs while coroutines run. Which P are in use is seen through hooks.
 */
#include <copper/chan.h>
#include <copper/context.h>
#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <time.h>

#include "coroutine_body.h"

#define P_MAX 256

/* ---- which P are in use ---- */

static int p_is_used[P_MAX]; /* atomic */

static void on_started(void *tool, int64_t now, int p, int32_t tid)
{
    (void)tool, (void)now, (void)tid;
    __atomic_store_n(&p_is_used[p], 1, __ATOMIC_SEQ_CST);
}

static void on_stopped(void *tool, int64_t now, int p)
{
    (void)tool, (void)now;
    __atomic_store_n(&p_is_used[p], 0, __ATOMIC_SEQ_CST);
}

static void on_handoff(void *tool, int64_t now, int p, cu_id g, int32_t tid,
                       enum cu_handoff_cause cause)
{
    (void)g, (void)tid, (void)cause;
    on_stopped(tool, now, p);
}

static int changes[8], changes_count; /* what was told: one at a time changes it here */

static void on_changed(void *tool, int64_t now, int procs)
{
    (void)tool, (void)now;
    changes[changes_count++ % 8] = procs;
}

static const struct cu_hooks hooks = {
    .version = COPPER_HOOKS_VERSION,
    .size = sizeof(struct cu_hooks),
    .p_started = on_started,
    .p_stopped = on_stopped,
    .handoff = on_handoff,
    .procs_changed = on_changed,
};

static bool is_used(int p)
{
    return __atomic_load_n(&p_is_used[p], __ATOMIC_SEQ_CST) != 0;
}

/* The P from first to last are all in use, or (wanted false) all not. */
static bool are_used(int first, int last, bool wanted)
{
    for (int p = first; p <= last; p++) {
        if (is_used(p) != wanted) {
            return false;
        }
    }
    return true;
}

/* ---- */

/* The first: the runtime does not run yet. */
static void before_the_start(void **state)
{
    (void)state;
    int was = cu_maxprocs();
    assert_true(was >= 1);
    assert_int_equal(cu_set_maxprocs(3), was);
    assert_int_equal(cu_maxprocs(), 3);
}

COROUTINE_TEST(numbers)
{
    struct cu_runtime_stats stats;
    expect(cu_maxprocs() == 3 && cu_set_maxprocs(0) == 3 && cu_set_maxprocs(-7) == 3);
    expect(cu_set_maxprocs(P_MAX + 1) == -EINVAL && cu_maxprocs() == 3);
    changes_count = 0;
    expect(cu_set_maxprocs(P_MAX) == 3 && cu_set_maxprocs(1) == P_MAX && cu_set_maxprocs(1) == 1);
    expect(changes_count == 2 && changes[0] == P_MAX && changes[1] == 1);
    cu_runtime_stats_read(&stats);
    expect(stats.maxprocs == 1);
    expect(cu_set_maxprocs(3) == 1);
    return 0;
}

static int stop; /* atomic */

/* Longer than a slice at a time, so that its P is taken; then it wants another. */
static void compute_on(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        struct timespec t;
        int64_t end_ns = 0, now_ns = 0;
        do {
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
            now_ns = t.tv_sec * COPPER_SEC + t.tv_nsec;
            end_ns = end_ns ? end_ns : now_ns + 15 * COPPER_MS;
        } while (now_ns < end_ns && !__atomic_load_n(&stop, __ATOMIC_ACQUIRE));
        cu_yield();
    }
}

static void yield_on(void *unused)
{
    (void)unused;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        cu_yield();
    }
}

/* Up and down, while the P are kept busy. Waiting sleeps: there is a P for it at some time. */
static int go_up_and_down(void (*fn)(void *))
{
    cu_wg wg = {0};
    __atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
    expect(cu_set_maxprocs(4) > 0);
    for (int i = 0; i < 6; i++) {
        cu_wg_go(&wg, fn, NULL);
    }
    while (!are_used(0, 3, true)) {
        cu_sleep(COPPER_MS);
    }
    expect(cu_set_maxprocs(1) == 4);
    while (!are_used(1, 3, false)) {
        cu_sleep(COPPER_MS);
    }
    expect(cu_set_maxprocs(3) == 1);
    while (!are_used(0, 2, true)) {
        cu_sleep(COPPER_MS);
    }
    expect(!is_used(3));
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    cu_wg_wait(&wg);
    return 0;
}

COROUTINE_TEST(those_who_yield_give_theirs_up)
{
    return go_up_and_down(yield_on);
}

COROUTINE_TEST(from_those_who_compute_it_is_taken)
{
    return go_up_and_down(compute_on);
}

static int64_t woken; /* atomic */

static void sleep_long(void *unused)
{
    (void)unused;
    cu_sleep(60 * COPPER_MS);
    __atomic_fetch_add(&woken, 1, __ATOMIC_RELAXED);
}

COROUTINE_TEST(timers_move)
{
    cu_wg wg = {0};
    woken = 0;
    for (int round = 0; round < 3; round++) {
        cu_set_maxprocs(4);
        for (int i = 0; i < 200; i++) {
            cu_wg_go(&wg, sleep_long, NULL);
            if (i % 10 == 0) {
                cu_sleep(1);
            }
        }
        cu_set_maxprocs(1 + round);
    }
    cu_wg_wait(&wg);
    expect(woken == 600);
    return 0;
}

static cu_chan *numbers_to_come;
static int64_t received; /* atomic */

static void receive_in_time(void *unused)
{
    (void)unused;
    int number = 0;
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 600 * COPPER_SEC);
    int error = cu_recv_ctx(ctx, numbers_to_come, &number);
    cu_ctx_cancel(ctx);
    cu_ctx_unref(ctx);
    __atomic_fetch_add(&received, error == 0 && number == 7, __ATOMIC_RELAXED);
}

/* A deadline that was moved can be taken back: nothing is left of it. */
COROUTINE_TEST(moved_timers_can_be_stopped)
{
    cu_wg wg = {0};
    int seven = 7;
    received = 0;
    numbers_to_come = cu_chan_new(sizeof(int), 0);
    cu_set_maxprocs(4);
    for (int i = 0; i < 200; i++) {
        cu_wg_go(&wg, receive_in_time, NULL);
        if (i % 10 == 0) {
            cu_sleep(1);
        }
    }
    cu_sleep(COPPER_MS);
    for (int i = 0; i < 200; i++) {
        if (i % 20 == 0) {
            cu_set_maxprocs(1 + i / 20 % 4);
        }
        expect(cu_send(numbers_to_come, &seven) == 0);
    }
    cu_wg_wait(&wg);
    cu_chan_unref(numbers_to_come);
    expect(received == 200);
    return 0;
}

/* With no coroutine running, from a plain thread: what is at rest is seen to be. */
static void at_rest_all_the_time(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(cu_quiesce(0, 60 * COPPER_SEC), 0);
        assert_true(cu_set_maxprocs(1 + i * 7 % 5) > 0);
    }
    assert_int_equal(cu_quiesce(0, 60 * COPPER_SEC), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_start),
        cmocka_unit_test(numbers),
        cmocka_unit_test(those_who_yield_give_theirs_up),
        cmocka_unit_test(from_those_who_compute_it_is_taken),
        cmocka_unit_test(timers_move),
        cmocka_unit_test(moved_timers_can_be_stopped),
        cmocka_unit_test(at_rest_all_the_time),
    };
    cu_hooks_attach(&hooks, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
