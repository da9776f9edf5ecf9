/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: contexts: what Go's own tests of context expect of them, and the waits that they end.
 */
#include <copper/chan.h>
#include <copper/context.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>

#include "coroutine_body.h"

#define MANY 200

COROUTINE_TEST(background_is_never_done)
{
    expect(cu_ctx_err(NULL) == 0 && cu_ctx_cause(NULL) == 0 && cu_ctx_deadline(NULL) == 0);
    expect(cu_ctx_value(NULL, &cu_ctx_err) == NULL);
    cu_ctx_end(NULL);
    return 0;
}

COROUTINE_TEST(cancel_goes_down_and_not_up)
{
    cu_ctx *top = cu_ctx_with_cancel(NULL), *left = cu_ctx_with_cancel(top);
    cu_ctx *right = cu_ctx_with_cancel(top), *leaf = cu_ctx_with_cancel(left);
    cu_ctx_cancel(left);
    expect(cu_ctx_err(left) == -ECANCELED && cu_ctx_err(leaf) == -ECANCELED);
    expect(cu_ctx_err(top) == 0 && cu_ctx_err(right) == 0);
    cu_ctx_cancel(top);
    expect(cu_ctx_err(top) == -ECANCELED && cu_ctx_err(right) == -ECANCELED);
    cu_ctx_end(leaf);
    cu_ctx_end(top);
    cu_ctx_end(left);
    cu_ctx_end(right);
    return 0;
}

COROUTINE_TEST(child_of_a_done_parent_is_done)
{
    cu_ctx *parent = cu_ctx_with_cancel(NULL);
    cu_ctx_cancel_cause(parent, -EIO);
    cu_ctx *child = cu_ctx_with_timeout(parent, COPPER_SEC);
    expect(cu_ctx_err(child) == -ECANCELED && cu_ctx_cause(child) == -EIO);
    cu_ctx_end(parent);
    cu_ctx_end(child);
    return 0;
}

COROUTINE_TEST(first_cause_stays)
{
    cu_ctx *ctx = cu_ctx_with_cancel(NULL), *child = cu_ctx_with_cancel(ctx);
    cu_ctx_cancel_cause(child, -ENOSPC);
    cu_ctx_cancel_cause(ctx, 17);
    cu_ctx_cancel_cause(ctx, -EIO);
    expect(cu_ctx_err(ctx) == -ECANCELED && cu_ctx_cause(ctx) == 17);
    expect(cu_ctx_cause(child) == -ENOSPC);
    cu_ctx_end(child);
    cu_ctx_end(ctx);
    return 0;
}

COROUTINE_TEST(deadlines)
{
    int64_t soon_ns = cu_now() + 5 * COPPER_MS;
    cu_ctx *ctx = cu_ctx_with_deadline(NULL, soon_ns);
    cu_ctx *later = cu_ctx_with_timeout(ctx, 100 * COPPER_SEC);
    cu_ctx *never = cu_ctx_without_cancel(ctx);
    expect(cu_ctx_deadline(ctx) == soon_ns && cu_ctx_deadline(later) == soon_ns);
    expect(cu_ctx_err(ctx) == 0);
    expect(cu_ctx_wait(later) == -ETIMEDOUT && cu_now() >= soon_ns);
    expect(cu_ctx_err(ctx) == -ETIMEDOUT && cu_ctx_cause(ctx) == -ETIMEDOUT);
    expect(cu_ctx_err(never) == 0 && cu_ctx_deadline(never) == 0);
    cu_ctx *past = cu_ctx_with_timeout(NULL, -1);
    expect(cu_ctx_err(past) == -ETIMEDOUT);
    cu_ctx_end(past);
    cu_ctx_end(never);
    cu_ctx_end(later);
    cu_ctx_end(ctx);
    return 0;
}

/* An ended context leaves no timer that would keep the program from being at rest. */
COROUTINE_TEST(end_stops_the_timer)
{
    for (int i = 0; i < MANY; i++) {
        cu_ctx_end(cu_ctx_with_timeout(NULL, 1000 * COPPER_SEC));
    }
    expect(cu_quiesce(0, 10 * COPPER_SEC) == 0);
    return 0;
}

COROUTINE_TEST(values)
{
    static const char name_key, other_key;
    int one = 1, two = 2;
    cu_ctx *top = cu_ctx_with_cancel(NULL);
    cu_ctx *first = cu_ctx_with_value(top, &name_key, &one);
    cu_ctx *inner = cu_ctx_with_cancel(first);
    cu_ctx *second = cu_ctx_with_value(inner, &name_key, &two);
    expect(cu_ctx_value(inner, &name_key) == &one && cu_ctx_value(second, &name_key) == &two);
    expect(cu_ctx_value(second, &other_key) == NULL && cu_ctx_value(second, NULL) == NULL);
    cu_ctx *detached = cu_ctx_without_cancel(second);
    cu_ctx_cancel(top);
    expect(cu_ctx_err(second) == -ECANCELED && cu_ctx_err(first) == -ECANCELED);
    expect(cu_ctx_err(detached) == 0 && cu_ctx_value(detached, &name_key) == &two);
    cu_ctx_end(top); /* those below keep what is above them */
    cu_ctx_end(first);
    cu_ctx_end(inner);
    cu_ctx_end(second);
    expect(cu_ctx_value(detached, &name_key) == &two);
    cu_ctx_end(detached);
    return 0;
}

static cu_ctx *shared;
static cu_chan *silent;
static int64_t woken; /* atomic */

static void wait_in_some_way(void *number)
{
    int value, err;
    switch ((intptr_t)number % 4) {
    case 0:
        err = cu_ctx_wait(shared);
        break;
    case 1:
        err = cu_recv_ctx(shared, silent, &value);
        break;
    case 2:
        err = cu_sleep_ctx(shared, 1000 * COPPER_SEC);
        break;
    default:
        err = cu_recv_ctx(shared, NULL, NULL);
    }
    __atomic_fetch_add(&woken, err == -ECANCELED, __ATOMIC_RELAXED);
}

static void *wait_in_thread(void *number)
{
    wait_in_some_way(number);
    return NULL;
}

COROUTINE_TEST(cancel_ends_every_wait)
{
    cu_wg wg = {0};
    pthread_t threads[4];
    woken = 0;
    shared = cu_ctx_with_cancel(NULL);
    silent = cu_chan_new(sizeof(int), 0);
    for (intptr_t i = 0; i < MANY; i++) {
        cu_wg_go(&wg, wait_in_some_way, (void *)i);
    }
    for (intptr_t i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, wait_in_thread, (void *)i);
    }
    cu_sleep(20 * COPPER_MS);
    expect(woken == 0);
    cu_ctx_cancel(shared);
    cu_wg_wait(&wg);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    expect(woken == MANY + 4);
    /* nothing is left in the channel's list: a sender finds nobody */
    expect(cu_try_send(silent, &(int){1}) == -EAGAIN);
    expect(cu_recv_ctx(shared, silent, NULL) == -ECANCELED);
    cu_chan_unref(silent);
    cu_ctx_end(shared);
    return 0;
}

static void send_soon(void *chan)
{
    cu_sleep(COPPER_MS);
    cu_send(chan, &(int){42});
}

COROUTINE_TEST(waits_that_are_not_ended)
{
    int value = 0;
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 100 * COPPER_SEC);
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_go(send_soon, c);
    expect(cu_recv_ctx(ctx, c, &value) == 0 && value == 42);
    expect(cu_sleep_ctx(ctx, COPPER_MS) == 0 && cu_sleep_ctx(NULL, COPPER_MS) == 0);
    cu_chan_close(c);
    expect(cu_recv_ctx(ctx, c, &value) == -EPIPE && value == 0);
    expect(cu_send_ctx(ctx, c, &value) == -EPIPE);
    cu_chan_unref(c);
    cu_ctx_end(ctx);
    return 0;
}

static void count_up(void *count)
{
    __atomic_fetch_add((int64_t *)count, 1, __ATOMIC_RELAXED);
}

COROUTINE_TEST(functions_afterwards)
{
    int64_t count = 0;
    struct cu_ctx_after a, b, c, d;
    cu_ctx *ctx = cu_ctx_with_cancel(NULL);
    cu_ctx_after_func(ctx, &a, count_up, &count);
    cu_ctx_after_func(ctx, &b, count_up, &count);
    cu_ctx_after_func(ctx, &c, count_up, &count);
    expect(cu_ctx_after_stop(ctx, &b) && !cu_ctx_after_stop(ctx, &b));
    cu_ctx_cancel(ctx);
    expect(!cu_ctx_after_stop(ctx, &a));
    cu_ctx_after_func(ctx, &d, count_up, &count); /* at once */
    expect(cu_quiesce(0, 10 * COPPER_SEC) == 0);
    expect(__atomic_load_n(&count, __ATOMIC_RELAXED) == 3);
    cu_ctx_end(ctx);
    return 0;
}

/* Cancelling goes down without recursion. */
COROUTINE_TEST(deep_trees)
{
    enum { DEPTH = 20000 };
    static cu_ctx *chain[DEPTH];
    cu_ctx *above = NULL;
    for (int i = 0; i < DEPTH; i++) {
        above = chain[i] = cu_ctx_with_cancel(above);
        expect(above != NULL);
    }
    cu_ctx_cancel(chain[0]);
    expect(cu_ctx_err(chain[DEPTH - 1]) == -ECANCELED);
    for (int i = 0; i < DEPTH - 1; i++) {
        cu_ctx_end(chain[i]);
    }
    cu_ctx_end(chain[DEPTH - 1]); /* the last reference to all of them */
    return 0;
}

static void end_late(void *ctx)
{
    cu_yield();
    cu_ctx_end(ctx);
}

/* Children that come and go while their parent is cancelled, and timers that fire meanwhile. */
COROUTINE_TEST(making_and_ending_while_cancelling)
{
    cu_wg wg = {0};
    for (int round = 0; round < MANY; round++) {
        cu_ctx *top = cu_ctx_with_timeout(NULL, round % 3 * 50 * COPPER_US);
        for (int i = 0; i < 10; i++) {
            cu_wg_go(&wg, end_late, cu_ctx_with_timeout(top, i * 20 * COPPER_US));
        }
        cu_ctx_end(top);
    }
    cu_wg_wait(&wg);
    expect(cu_quiesce(0, 10 * COPPER_SEC) == 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(background_is_never_done),
        cmocka_unit_test(cancel_goes_down_and_not_up),
        cmocka_unit_test(child_of_a_done_parent_is_done),
        cmocka_unit_test(first_cause_stays),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(end_stops_the_timer),
        cmocka_unit_test(values),
        cmocka_unit_test(cancel_ends_every_wait),
        cmocka_unit_test(waits_that_are_not_ended),
        cmocka_unit_test(functions_afterwards),
        cmocka_unit_test(deep_trees),
        cmocka_unit_test(making_and_ending_while_cancelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
