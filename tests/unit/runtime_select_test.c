/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: select: what Go's own tests of select expect of it.
 */
#include <copper/chan.h>
#include <copper/context.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine_body.h"

#define CHOICES 1000000
#define ROUNDS  3000

COROUTINE_TEST(fair_between_ready_cases)
{
    cu_chan *a = cu_chan_new(sizeof(int), 1), *b = cu_chan_new(sizeof(int), 1);
    int64_t chosen[2] = {0, 0};
    int value = 1;
    cu_send(a, &value);
    cu_send(b, &value);
    for (int i = 0; i < CHOICES; i++) {
        cu_case c[] = {cu_on_recv(a, &value), cu_on_recv(b, &value)};
        int which = cu_select(c, 2);
        expect((which == 0 || which == 1) && c[which].err == 0);
        chosen[which]++;
        cu_send(which ? b : a, &value);
    }
    expect(chosen[0] > CHOICES / 100 * 49 && chosen[0] < CHOICES / 100 * 51);
    cu_chan_unref(a);
    cu_chan_unref(b);
    return 0;
}

COROUTINE_TEST(default_and_bad_arguments)
{
    int value;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_case cases[] = {cu_on_recv(c, &value), cu_on_send(c, &value), cu_on_recv(NULL, &value),
                       cu_on_done(NULL)};
    expect(cu_try_select(cases, 4) == -EAGAIN && cu_try_select(cases, 0) == -EAGAIN);
    expect(cu_select(cases, COPPER_SELECT_MAX + 1) == -EINVAL);
    cu_chan_close(c);
    int which = cu_try_select(cases, 4);
    expect((which == 0 || which == 1) && cases[which].err == -EPIPE);
    cu_chan_unref(c);
    return 0;
}

COROUTINE_TEST(timeouts_and_contexts)
{
    int value, which;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    int64_t before_ns = cu_now();
    cu_case cases[] = {cu_on_recv(c, &value), cu_on_after(3 * COPPER_MS),
                       cu_on_after(100 * COPPER_SEC)};
    expect(cu_select(cases, 3) == 1 && cases[1].err == 0);
    expect(cu_now() - before_ns >= 3 * COPPER_MS);
    cases[1] = cu_on_after(0);
    expect(cu_select(cases, 2) == 1);
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 2 * COPPER_MS);
    cu_case with_ctx[] = {cu_on_recv(c, &value), cu_on_done(ctx), cu_on_after(100 * COPPER_SEC)};
    expect(cu_select(with_ctx, 3) == 1 && with_ctx[1].err == -ETIMEDOUT);
    expect(cu_select(with_ctx, 3) == 1);
    which = cu_try_select(with_ctx, 3);
    expect(which == 1);
    cu_ctx_end(ctx);
    expect(cu_try_send(c, &value) == -EAGAIN); /* nothing of the selects is left in the list */
    cu_chan_unref(c);
    return 0;
}

/* ---- many selects on the same channels: nothing lost, nothing twice ---- */

static cu_chan *channels[3];
static int64_t sent[3], received[3], sum_sent, sum_received; /* atomic */

static void send_by_select(void *number)
{
    for (int64_t i = 0; i < ROUNDS; i++) {
        int64_t v[3] = {(intptr_t)number * ROUNDS + i, (intptr_t)number * ROUNDS + i,
                        (intptr_t)number * ROUNDS + i};
        cu_case c[] = {cu_on_send(channels[0], &v[0]), cu_on_send(channels[1], &v[1]),
                       cu_on_send(channels[2], &v[2])};
        int which = cu_select(c, 3);
        __atomic_fetch_add(&sent[which], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&sum_sent, v[0], __ATOMIC_RELAXED);
    }
}

static void receive_by_select(void *unused)
{
    (void)unused;
    unsigned open = 7;
    while (open) {
        int64_t v[3];
        cu_case c[3];
        for (int i = 0; i < 3; i++) {
            c[i] = cu_on_recv(open & 1u << i ? channels[i] : NULL, &v[i]);
        }
        int which = cu_select(c, 3);
        if (c[which].err) {
            open &= ~(1u << which);
            continue;
        }
        __atomic_fetch_add(&received[which], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&sum_received, v[which], __ATOMIC_RELAXED);
    }
}

static void *receive_in_thread(void *unused)
{
    receive_by_select(unused);
    return NULL;
}

COROUTINE_TEST(nothing_lost_nothing_twice)
{
    cu_wg senders = {0}, receivers = {0};
    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        channels[i] = cu_chan_new(sizeof(int64_t), (size_t)i); /* unbuffered, one, two */
    }
    for (intptr_t i = 0; i < 4; i++) {
        cu_wg_go(&receivers, receive_by_select, NULL);
        cu_wg_go(&senders, send_by_select, (void *)i);
    }
    pthread_create(&thread, NULL, receive_in_thread, NULL);
    cu_wg_wait(&senders);
    for (int i = 0; i < 3; i++) {
        cu_chan_close(channels[i]);
    }
    cu_wg_wait(&receivers);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++) {
        expect(sent[i] == received[i]);
        cu_chan_unref(channels[i]);
    }
    expect(sent[0] + sent[1] + sent[2] == 4 * ROUNDS && sum_sent == sum_received);
    return 0;
}

/* Go's TestSelfSelect: both directions of one channel in one select, by two who meet each other. */
static cu_chan *both_ways;

static void meet(void *count)
{
    for (int i = 0; i < ROUNDS; i++) {
        int64_t out = i, in;
        cu_case c[] = {cu_on_send(both_ways, &out), cu_on_recv(both_ways, &in)};
        int which = cu_select(c, 2);
        if (c[which].err) {
            return;
        }
        __atomic_fetch_add((int64_t *)count, which == 0 ? 1 : -1, __ATOMIC_RELAXED);
    }
}

static void meet_and_close(void *count)
{
    meet(count);
    cu_chan_close(both_ways);
}

COROUTINE_TEST(both_directions_of_one_channel)
{
    for (size_t cap = 0; cap < 3; cap += 2) {
        int64_t balance = 0;
        cu_wg wg = {0};
        both_ways = cu_chan_new(sizeof(int64_t), cap);
        cu_wg_go(&wg, meet_and_close, &balance);
        cu_wg_go(&wg, meet, &balance);
        cu_wg_wait(&wg);
        /* as many sent as received, but for what is left in the buffer */
        expect(balance == (int64_t)cu_chan_len(both_ways));
        cu_chan_unref(both_ways);
    }
    return 0;
}

static void close_later(void *c)
{
    cu_sleep(COPPER_MS);
    cu_chan_close(c);
}

COROUTINE_TEST(close_ends_a_waiting_select)
{
    int value = 7;
    cu_chan *a = cu_chan_new(sizeof(int), 0), *b = cu_chan_new(sizeof(int), 0);
    cu_go(close_later, a);
    cu_case c[] = {cu_on_recv(a, &value), cu_on_recv(b, NULL)};
    expect(cu_select(c, 2) == 0 && c[0].err == -EPIPE && value == 0);
    cu_go(close_later, b);
    cu_case s[] = {cu_on_send(b, &value), cu_on_recv(NULL, NULL)};
    expect(cu_select(s, 2) == 0 && s[0].err == -EPIPE);
    cu_chan_unref(a);
    cu_chan_unref(b);
    return 0;
}

/* Go's TestSelectDuplicateChannel: a channel that is in a select twice is left for good. */
static void select_twice(void *c)
{
    cu_case on[] = {cu_on_recv(((cu_chan **)c)[0], NULL), cu_on_recv(((cu_chan **)c)[0], NULL),
                    cu_on_recv(((cu_chan **)c)[1], NULL)};
    cu_select(on, 3);
}

COROUTINE_TEST(one_channel_twice)
{
    cu_wg wg = {0};
    cu_chan *c[] = {cu_chan_new(0, 0), cu_chan_new(0, 0)};
    cu_wg_go(&wg, select_twice, c);
    cu_quiesce(0, 10 * COPPER_SEC);
    expect(cu_try_send(c[1], NULL) == 0);
    cu_wg_wait(&wg);
    expect(cu_try_send(c[0], NULL) == -EAGAIN);
    cu_chan_unref(c[0]);
    cu_chan_unref(c[1]);
    return 0;
}

/* ---- a channel that is freed under a select ---- */

static int outcomes[2]; /* atomic */

static void select_two(void *c)
{
    int value = 7;
    cu_case on[] = {cu_on_recv(((cu_chan **)c)[0], &value), cu_on_recv(((cu_chan **)c)[1], NULL)};
    int which = cu_select(on, 2);
    if (on[which].err == -EPIPE) {
        __atomic_fetch_add(&outcomes[which], 1, __ATOMIC_RELAXED);
    }
}

static void drop(void *c)
{
    cu_chan_unref(c);
}

/* Two owners drop their channels while a select waits for both: it ends by one of them, and touches
 * the other no more, which may be gone. */
COROUTINE_TEST(channels_dropped_under_a_select)
{
    for (int i = 0; i < 50; i++) {
        cu_wg wg = {0};
        cu_chan *c[] = {cu_chan_new(sizeof(int), 0), cu_chan_new(sizeof(int), 0)};
        cu_wg_go(&wg, select_two, c);
        while (cu_quiesce(0, 10 * COPPER_SEC) != 0) {
        }
        cu_wg_go(&wg, drop, c[i & 1]);
        cu_chan_unref(c[!(i & 1)]);
        cu_wg_wait(&wg);
    }
    expect(outcomes[0] + outcomes[1] == 50);
    return 0;
}

static cu_chan *first_one;

static bool sees_select(const struct cu_g_info *g, void *seen)
{
    if (g->state == COPPER_G_WAITING && g->object.kind == COPPER_OBJECT_SELECT) {
        *(bool *)seen = g->object.cap == 3 && g->object.address == first_one &&
                        strcmp(g->object.name, "first") == 0 && g->object.site != NULL;
    }
    return true;
}

static void select_three(void *second)
{
    cu_case on[] = {cu_on_recv(NULL, NULL), cu_on_recv(first_one, NULL), cu_on_send(second, NULL)};
    cu_select(on, 3);
}

COROUTINE_TEST(inspectors_see_its_cases)
{
    bool seen = false;
    cu_wg wg = {0};
    cu_chan *second = cu_chan_new(0, 0);
    first_one = cu_chan_new(0, 0);
    cu_chan_name(first_one, "first");
    cu_wg_go(&wg, select_three, second);
    cu_quiesce(0, 10 * COPPER_SEC);
    cu_inspect_each(sees_select, &seen);
    expect(seen);
    cu_chan_close(first_one);
    cu_wg_wait(&wg);
    cu_chan_unref(first_one);
    cu_chan_unref(second);
    return 0;
}

static void select_nothing(void *unused)
{
    (void)unused;
    cu_case never[] = {cu_on_recv(NULL, NULL), cu_on_done(NULL)};
    cu_select(never, 2);
}

static bool find_reason(const struct cu_g_info *g, void *count)
{
    *(int *)count += g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_SELECT_NO_CASES;
    return true;
}

COROUTINE_TEST(no_case_waits_for_ever)
{
    int count = 0;
    cu_go_with(select_nothing, NULL, &(struct cu_go_options){COPPER_GO_OPTIONS, .daemon = true});
    cu_quiesce(0, 10 * COPPER_SEC);
    cu_inspect_each(find_reason, &count);
    expect(count == 1);
    return 0;
}

static void send_to(void *c)
{
    int64_t v = 99;
    cu_send(c, &v);
}

/* More cases than are kept on the stack. */
COROUTINE_TEST(many_cases)
{
    enum { N = 300 };
    static cu_chan *c[N];
    static int64_t v[N];
    static cu_case on[N];
    for (int i = 0; i < N; i++) {
        c[i] = cu_chan_new(sizeof(int64_t), 0);
    }
    for (int round = 0; round < 50; round++) {
        int target = (round * 37) % N;
        for (int i = 0; i < N; i++) {
            on[i] = cu_on_recv(c[i], &v[i]);
        }
        cu_go(send_to, c[target]);
        expect(cu_select(on, N) == target && v[target] == 99);
        v[target] = 0;
    }
    for (int i = 0; i < N; i++) {
        cu_chan_unref(c[i]);
    }
    return 0;
}

/* Timers, contexts and channels that all end the same waits at about the same time. */
static void race_to_wake(void *unused)
{
    (void)unused;
    for (int i = 0; i < 300; i++) {
        cu_ctx *ctx = cu_ctx_with_timeout(NULL, (rand() % 40) * COPPER_US);
        int64_t v;
        cu_case c[] = {cu_on_recv(channels[0], &v), cu_on_send(channels[1], &v), cu_on_done(ctx),
                       cu_on_after((rand() % 40) * COPPER_US)};
        v = 5;
        cu_select(c, 4);
        cu_recv_ctx(ctx, channels[0], &v);
        cu_case d[] = {cu_on_send(channels[0], &v), cu_on_recv(channels[1], &v), cu_on_done(ctx)};
        cu_select(d, 3);
        cu_ctx_end(ctx);
    }
}

COROUTINE_TEST(everybody_wakes_at_once)
{
    cu_wg wg = {0};
    channels[0] = cu_chan_new(sizeof(int64_t), 0);
    channels[1] = cu_chan_new(sizeof(int64_t), 1);
    for (int i = 0; i < 16; i++) {
        cu_wg_go(&wg, race_to_wake, NULL);
    }
    cu_wg_wait(&wg);
    cu_chan_unref(channels[0]);
    cu_chan_unref(channels[1]);
    return 0;
}

struct ending {
    cu_ctx *ctx;  /* atomic; NULL: none yet */
    bool is_over; /* atomic */
};

static void *cancel_each(void *arg)
{
    struct ending *e = arg;
    while (!__atomic_load_n(&e->is_over, __ATOMIC_ACQUIRE)) {
        cu_ctx *ctx = __atomic_exchange_n(&e->ctx, NULL, __ATOMIC_ACQ_REL);
        if (ctx) {
            cu_ctx_cancel(ctx);
            cu_ctx_unref(ctx);
        }
    }
    return NULL;
}

/* The select may just be on its way to wait: what it writes then is for the thread sanitizer to
 * see. */
static void context_that_ends_meanwhile(void **state)
{
    struct ending e = {NULL, false};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, cancel_each, &e), 0);
    for (int i = 0; i < ROUNDS; i++) {
        cu_ctx *ctx = cu_ctx_with_cancel(NULL);
        cu_case cases[] = {cu_on_recv(NULL, NULL), cu_on_done(ctx), cu_on_after(60 * COPPER_SEC)};
        __atomic_store_n(&e.ctx, cu_ctx_ref(ctx), __ATOMIC_RELEASE);
        assert_int_equal(cu_select(cases, 3), 1);
        assert_int_equal(cases[1].err, -ECANCELED);
        cu_ctx_end(ctx);
    }
    __atomic_store_n(&e.is_over, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fair_between_ready_cases),
        cmocka_unit_test(default_and_bad_arguments),
        cmocka_unit_test(timeouts_and_contexts),
        cmocka_unit_test(nothing_lost_nothing_twice),
        cmocka_unit_test(both_directions_of_one_channel),
        cmocka_unit_test(close_ends_a_waiting_select),
        cmocka_unit_test(one_channel_twice),
        cmocka_unit_test(channels_dropped_under_a_select),
        cmocka_unit_test(inspectors_see_its_cases),
        cmocka_unit_test(no_case_waits_for_ever),
        cmocka_unit_test(many_cases),
        cmocka_unit_test(everybody_wakes_at_once),
        cmocka_unit_test(context_that_ends_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
