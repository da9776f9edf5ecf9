/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: timers and tickers: what Go's own tests of time expect of them, in the time of a replay:
 * sleeping takes no time there, and what is compared is exact but for the steps of the clock.
 */
#include <copper/copper.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine_body.h"

#define STEP (10 * COPPER_MS)
#define NEAR (COPPER_MS) /* more than all readings of the clock in a test add to it */

/* Whether it is `ns` after start_ns, or a little later. */
static bool is_about(int64_t now_ns, int64_t start_ns, int64_t ns)
{
    return now_ns >= start_ns + ns && now_ns < start_ns + ns + NEAR;
}

static bool is_at_rest(void)
{
    return cu_quiesce(0, STEP) == 0;
}

/* ---- once ---- */

COROUTINE_TEST(after_gives_the_time_it_was_due)
{
    int64_t due_ns, start_ns = cu_now();
    cu_chan *c = cu_after(STEP);
    expect(cu_recv(c, &due_ns) == 0);
    expect(is_about(due_ns, start_ns, STEP) && is_about(cu_now(), start_ns, STEP));
    cu_chan_unref(c);
    return 0;
}

COROUTINE_TEST(late_receiver_gets_the_time_it_was_due)
{
    int64_t due_ns, start_ns = cu_now();
    cu_chan *c = cu_after(STEP);
    cu_sleep(5 * STEP);
    expect(cu_recv(c, &due_ns) == 0 && is_about(due_ns, start_ns, STEP));
    expect(cu_try_recv(c, &due_ns) == -EAGAIN);
    cu_chan_unref(c);
    return 0;
}

static cu_chan *results;

struct slot {
    cu_chan *after;
    int64_t number;
};

static void await_slot(void *arg)
{
    struct slot *slot = arg;
    cu_recv(slot->after, NULL);
    cu_send(results, &slot->number);
}

COROUTINE_TEST(timers_are_due_in_order_of_their_times)
{
    static const int64_t order[] = {5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};
    enum { COUNT = sizeof(order) / sizeof(order[0]) };
    struct slot slots[COUNT];
    int64_t last = -1, number;
    results = cu_chan_new(sizeof(int64_t), COUNT);
    for (int i = 0; i < COUNT; i++) {
        slots[i] = (struct slot){cu_after((order[i] + 1) * STEP), order[i]};
        cu_go(await_slot, &slots[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        cu_recv(results, &number);
        expect(number >= last);
        last = number;
    }
    for (int i = 0; i < COUNT; i++) {
        cu_chan_unref(slots[i].after);
    }
    cu_chan_unref(results);
    return 0;
}

COROUTINE_TEST(times_that_are_out_of_range)
{
    cu_timer *now = cu_timer_new(0), *before = cu_timer_new(INT64_MIN);
    cu_timer *never = cu_timer_new(INT64_MAX);
    expect(cu_try_recv(cu_timer_chan(now), NULL) == 0);
    expect(cu_recv(cu_timer_chan(before), NULL) == 0);
    cu_sleep(1000 * COPPER_SEC);
    expect(cu_try_recv(cu_timer_chan(never), NULL) == -EAGAIN && cu_timer_stop(never));
    cu_timer_unref(now);
    cu_timer_unref(before);
    cu_timer_unref(never);
    return 0;
}

/* ---- stop and reset ---- */

COROUTINE_TEST(what_stop_says)
{
    cu_timer *t = cu_timer_new(STEP);
    expect(cu_timer_stop(t) && !cu_timer_stop(t));
    cu_sleep(2 * STEP);
    expect(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
    expect(!cu_timer_reset(t, STEP));
    cu_recv(cu_timer_chan(t), NULL);
    expect(!cu_timer_stop(t));
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(reset_moves_it)
{
    int64_t start_ns = cu_now(), due_ns;
    cu_timer *t = cu_timer_new(4 * STEP);
    cu_sleep(2 * STEP);
    expect(cu_timer_reset(t, 4 * STEP));
    cu_sleep(3 * STEP);
    expect(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
    expect(cu_timer_reset(t, 2 * STEP));
    expect(cu_recv(cu_timer_chan(t), &due_ns) == 0 && is_about(due_ns, start_ns, 7 * STEP));
    expect(!cu_timer_reset(t, STEP));
    expect(cu_recv(cu_timer_chan(t), &due_ns) == 0 && is_about(due_ns, start_ns, 8 * STEP));
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(no_stale_time_after_stop_or_reset)
{
    int64_t due_ns;
    cu_timer *t = cu_timer_new(STEP);
    cu_sleep(2 * STEP);
    expect(cu_chan_len(cu_timer_chan(t)) == 0 && cu_chan_cap(cu_timer_chan(t)) == 0);
    expect(cu_timer_stop(t)); /* it was due, but not received: it never will be */
    expect(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
    cu_timer_reset(t, STEP);
    cu_sleep(2 * STEP);
    int64_t start_ns = cu_now();
    expect(cu_timer_reset(t, 3 * STEP));
    expect(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
    expect(cu_recv(cu_timer_chan(t), &due_ns) == 0 && is_about(due_ns, start_ns, 3 * STEP));
    cu_timer_unref(t);
    return 0;
}

static int64_t received_ns[8];
static int received; /* of these */

static void receive_one(void *chan)
{
    int64_t due_ns;
    if (cu_recv(chan, &due_ns) == 0) {
        received_ns[received++] = due_ns;
    }
}

/* Whoever waits goes on waiting while it is stopped, and goes by its new time. */
COROUTINE_TEST(stop_and_reset_under_a_waiter)
{
    cu_wg wg = {0};
    cu_timer *t = cu_timer_new(STEP);
    received = 0;
    cu_wg_go(&wg, receive_one, cu_timer_chan(t));
    cu_yield();
    expect(cu_timer_stop(t));
    cu_sleep(3 * STEP);
    expect(received == 0 && is_at_rest());
    expect(!cu_timer_reset(t, 9 * STEP));
    cu_sleep(STEP);
    int64_t start_ns = cu_now();
    expect(cu_timer_reset(t, 2 * STEP)); /* sooner */
    cu_wg_wait(&wg);
    expect(received == 1 && is_about(received_ns[0], start_ns, 2 * STEP));
    cu_timer_reset(t, STEP);
    cu_wg_go(&wg, receive_one, cu_timer_chan(t));
    cu_yield();
    start_ns = cu_now();
    expect(cu_timer_reset(t, 4 * STEP)); /* later */
    cu_wg_wait(&wg);
    expect(received == 2 && is_about(received_ns[1], start_ns, 4 * STEP));
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(one_time_is_for_one_receiver)
{
    cu_timer *t = cu_timer_new(STEP);
    cu_wg wg = {0};
    received = 0;
    for (int i = 0; i < 3; i++) {
        cu_wg_go(&wg, receive_one, cu_timer_chan(t));
    }
    cu_sleep(5 * STEP);
    expect(received == 1);
    cu_timer_reset(t, 0);
    cu_sleep(STEP);
    expect(received == 2);
    cu_timer_reset(t, STEP);
    cu_wg_wait(&wg);
    expect(received == 3);
    cu_timer_unref(t);
    return 0;
}

/* ---- tickers ---- */

COROUTINE_TEST(ticks_come_at_multiples)
{
    int64_t due_ns, start_ns = cu_now();
    cu_ticker *t = cu_ticker_new(STEP);
    for (int i = 1; i <= 10; i++) {
        expect(cu_recv(cu_ticker_chan(t), &due_ns) == 0 && is_about(due_ns, start_ns, i * STEP));
    }
    cu_ticker_reset(t, 2 * STEP);
    start_ns = cu_now();
    for (int i = 1; i <= 5; i++) {
        expect(cu_recv(cu_ticker_chan(t), &due_ns) == 0);
        expect(is_about(due_ns, start_ns - NEAR / 2, 2 * i * STEP));
    }
    cu_ticker_stop(t);
    cu_sleep(10 * STEP);
    expect(cu_try_recv(cu_ticker_chan(t), NULL) == -EAGAIN);
    cu_ticker_unref(t);
    return 0;
}

COROUTINE_TEST(slow_receiver_misses_ticks)
{
    int64_t first_ns, next_ns;
    cu_ticker *t = cu_ticker_new(STEP);
    cu_sleep(STEP * 7 / 2);
    expect(cu_recv(cu_ticker_chan(t), &first_ns) == 0);
    expect(cu_try_recv(cu_ticker_chan(t), NULL) == -EAGAIN);
    expect(cu_recv(cu_ticker_chan(t), &next_ns) == 0 && next_ns == first_ns + 3 * STEP);
    expect(cu_recv(cu_ticker_chan(t), &next_ns) == 0 && next_ns == first_ns + 4 * STEP);
    cu_ticker_unref(t);
    return 0;
}

COROUTINE_TEST(a_long_period)
{
    int64_t due_ns;
    cu_ticker *t = cu_ticker_new(INT64_MAX);
    cu_sleep(STEP);
    expect(cu_try_recv(cu_ticker_chan(t), NULL) == -EAGAIN);
    cu_ticker_reset(t, 1);
    expect(cu_recv(cu_ticker_chan(t), &due_ns) == 0);
    cu_ticker_unref(t);
    return 0;
}

/* ---- functions ---- */

static int runs;

static void count_run(void *unused)
{
    (void)unused;
    runs++;
}

static cu_timer *chained;

static void run_again(void *unused)
{
    (void)unused;
    if (++runs < 10) {
        cu_timer_reset(chained, STEP);
    }
}

COROUTINE_TEST(function_runs_when_due)
{
    runs = 0;
    cu_timer *t = cu_after_func(STEP, count_run, NULL);
    expect(cu_timer_chan(t) == NULL);
    cu_sleep(STEP / 2);
    expect(runs == 0);
    cu_sleep(STEP);
    expect(runs == 1 && !cu_timer_stop(t));
    expect(!cu_timer_reset(t, STEP) && cu_timer_stop(t) && !cu_timer_stop(t));
    cu_sleep(2 * STEP);
    expect(runs == 1);
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(function_resets_its_own_timer)
{
    runs = 0;
    int64_t start_ns = cu_now();
    chained = cu_after_func(STEP, run_again, NULL);
    expect(cu_quiesce(0, 100 * STEP) == 0);
    expect(runs == 10 && cu_now() >= start_ns + 10 * STEP);
    cu_timer_unref(chained);
    return 0;
}

COROUTINE_TEST(function_runs_though_nobody_refers_to_its_timer)
{
    runs = 0;
    cu_timer_unref(cu_after_func(STEP, count_run, NULL));
    cu_timer *stopped = cu_after_func(STEP, count_run, NULL);
    cu_timer_stop(stopped);
    cu_timer_unref(stopped);
    expect(cu_quiesce(0, 100 * STEP) == 0 && runs == 1);
    return 0;
}

static struct {
    cu_id parent;
    uint64_t scope;
    char label[16], name[32];
} born;

static bool look_at_self(const struct cu_g_info *g, void *arg)
{
    if (g->id == *(cu_id *)arg) {
        born.parent = g->parent;
        born.scope = g->scope;
        memcpy(born.name, g->name, sizeof(born.name));
    }
    return true;
}

static void see_how_born(void *unused)
{
    (void)unused;
    cu_id self = cu_self();
    const char *label = cu_label_get("who");
    memset(&born, 0, sizeof(born));
    strncpy(born.label, label ? label : "", sizeof(born.label) - 1);
    cu_inspect_each(look_at_self, &self);
}

/* Another coroutine resets the timer, and more run when it is due. */
static void reset_and_hang_about(void *t)
{
    cu_label_set("who", "stranger");
    cu_name_set("stranger");
    cu_timer_reset(t, STEP);
    for (int i = 0; i < 30; i++) {
        cu_sleep(STEP / 10);
    }
}

COROUTINE_TEST(function_is_its_maker_s_child)
{
    uint64_t before, scope = cu_scope_enter(&before);
    cu_label_set("who", "maker");
    cu_timer *t = cu_after_func(STEP, see_how_born, NULL);
    cu_scope_leave(before);
    cu_label_set("who", "someone else");
    cu_wg wg = {0};
    cu_wg_go(&wg, reset_and_hang_about, t);
    cu_wg_wait(&wg);
    expect(born.parent == cu_self() && born.scope == scope && scope != 0);
    expect(strcmp(born.label, "maker") == 0 && born.name[0] == 0);
    cu_label_set("who", NULL);
    cu_timer_unref(t);
    return 0;
}

/* ---- with the rest of the runtime ---- */

COROUTINE_TEST(select_takes_whichever_comes_first)
{
    int64_t due_ns, start_ns = cu_now();
    cu_chan *data = cu_chan_new(sizeof(int), 1);
    cu_timer *t = cu_timer_new(2 * STEP), *later = cu_timer_new(5 * STEP);
    cu_case c[] = {cu_on_recv(data, NULL), cu_on_recv(cu_timer_chan(t), &due_ns),
                   cu_on_recv(cu_timer_chan(later), NULL), cu_on_after(9 * STEP)};
    expect(cu_try_select(c, 3) == -EAGAIN);
    expect(cu_select(c, 4) == 1 && c[1].err == 0 && is_about(due_ns, start_ns, 2 * STEP));
    expect(is_at_rest()); /* the other is in no queue */
    expect(cu_select(c, 4) == 2);
    cu_timer_reset(t, STEP);
    cu_send(data, &(int){1});
    expect(cu_select(c, 4) == 0);
    cu_sleep(2 * STEP);
    expect(cu_try_select(c, 3) == 1 && cu_try_select(c, 3) == -EAGAIN);
    start_ns = cu_now();
    expect(cu_select(c, 4) == 3 && is_about(cu_now(), start_ns, 9 * STEP));
    cu_timer_unref(t);
    cu_timer_unref(later);
    cu_chan_unref(data);
    return 0;
}

static void restart_often(void *t)
{
    for (int i = 0; i < 4; i++) {
        cu_sleep(STEP);
        cu_timer_stop(t);
        cu_sleep(STEP);
        cu_timer_reset(t, 100 * STEP);
    }
}

/* A select that begins anew keeps the deadline of its cu_on_after. */
COROUTINE_TEST(select_goes_on_when_its_timer_is_changed)
{
    int64_t start_ns = cu_now();
    cu_timer *t = cu_timer_new(100 * STEP);
    cu_wg wg = {0};
    cu_wg_go(&wg, restart_often, t);
    cu_case c[] = {cu_on_recv(cu_timer_chan(t), NULL), cu_on_after(5 * STEP)};
    expect(cu_select(c, 2) == 1 && is_about(cu_now(), start_ns, 5 * STEP));
    cu_wg_wait(&wg);
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(contexts_end_the_wait_for_a_timer)
{
    int64_t due_ns = 17;
    cu_timer *t = cu_timer_new(3 * STEP);
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, STEP);
    expect(cu_recv_ctx(ctx, cu_timer_chan(t), &due_ns) == -ETIMEDOUT && due_ns == 17);
    expect(is_at_rest());
    cu_ctx_end(ctx);
    ctx = cu_ctx_with_timeout(NULL, 20 * STEP);
    expect(cu_recv_ctx(ctx, cu_timer_chan(t), &due_ns) == 0 && due_ns != 17);
    cu_wg wg = {0};
    cu_wg_go(&wg, restart_often, t);
    expect(cu_recv_ctx(ctx, cu_timer_chan(t), &due_ns) == -ETIMEDOUT);
    cu_wg_wait(&wg);
    cu_ctx_end(ctx);
    cu_timer_unref(t);
    return 0;
}

COROUTINE_TEST(a_timer_nobody_waits_for_keeps_nothing_awake)
{
    cu_timer *t = cu_timer_new(1000 * COPPER_SEC);
    cu_ticker *ticker = cu_ticker_new(1);
    expect(is_at_rest());
    cu_timer_unref(t);
    cu_ticker_unref(ticker);
    for (int i = 0; i < 100; i++) {
        cu_chan_unref(cu_after(i * STEP)); /* needs no stop */
    }
    expect(is_at_rest());
    return 0;
}

COROUTINE_TEST(channel_keeps_its_timer)
{
    cu_timer *t = cu_timer_new(STEP);
    cu_chan *c = cu_chan_ref(cu_timer_chan(t));
    cu_timer_unref(t);
    expect(cu_recv(c, NULL) == 0);
    cu_chan_unref(c);
    return 0;
}

static int result_in_vain;

static void receive_in_vain(void *chan)
{
    result_in_vain = cu_recv(chan, NULL);
}

COROUTINE_TEST(timer_dropped_under_a_waiter)
{
    cu_timer *t = cu_timer_new(STEP);
    cu_wg wg = {0};
    cu_wg_go(&wg, receive_in_vain, cu_timer_chan(t));
    cu_yield();
    cu_timer_unref(t);
    cu_wg_wait(&wg);
    expect(result_in_vain == -EPIPE && is_at_rest());
    return 0;
}

static struct cu_g_info seen;

static bool see_waiter(const struct cu_g_info *g, void *arg)
{
    if (g->id == *(cu_id *)arg) {
        seen = *g;
    }
    return true;
}

COROUTINE_TEST(who_waits_for_a_ticker_has_a_deadline)
{
    uint64_t before, scope = cu_scope_enter(&before);
    received = 0;
    cu_ticker *t = cu_ticker_new(50 * STEP);
    int64_t start_ns = cu_now();
    cu_id id = cu_go(receive_one, cu_ticker_chan(t));
    cu_scope_leave(before);
    cu_yield();
    cu_inspect_each(see_waiter, &id);
    expect(seen.reason == COPPER_WAIT_CHAN_RECV && seen.object.kind == COPPER_OBJECT_CHAN);
    expect(is_about(seen.deadline_ns, start_ns - NEAR / 2, 50 * STEP));
    expect(strcmp(seen.object.name, "ticker") == 0 && seen.object.site != NULL);
    expect(cu_quiesce(scope, STEP) == -ETIMEDOUT);
    cu_ticker_stop(t);
    expect(cu_quiesce(scope, STEP) == 0); /* it waits for another coroutine now */
    cu_inspect_each(see_waiter, &id);
    expect(seen.deadline_ns == 0);
    cu_ticker_reset(t, 50 * STEP);
    expect(cu_quiesce(scope, STEP) == -ETIMEDOUT);
    expect(cu_quiesce(scope, 100 * STEP) == 0);
    cu_ticker_unref(t);
    return 0;
}

COROUTINE_TEST(scope_is_not_at_rest_before_a_function_has_run)
{
    uint64_t before, scope = cu_scope_enter(&before);
    runs = 0;
    cu_timer *t = cu_after_func(5 * STEP, count_run, NULL);
    cu_scope_leave(before);
    expect(cu_quiesce(scope, STEP) == -ETIMEDOUT && runs == 0);
    expect(cu_quiesce(scope, 100 * STEP) == 0 && runs == 1);
    cu_timer_reset(t, 5 * STEP);
    expect(cu_quiesce(scope, STEP) == -ETIMEDOUT);
    cu_timer_stop(t);
    expect(cu_quiesce(scope, STEP) == 0);
    cu_timer_unref(t);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_gives_the_time_it_was_due),
        cmocka_unit_test(late_receiver_gets_the_time_it_was_due),
        cmocka_unit_test(timers_are_due_in_order_of_their_times),
        cmocka_unit_test(times_that_are_out_of_range),
        cmocka_unit_test(what_stop_says),
        cmocka_unit_test(reset_moves_it),
        cmocka_unit_test(no_stale_time_after_stop_or_reset),
        cmocka_unit_test(stop_and_reset_under_a_waiter),
        cmocka_unit_test(one_time_is_for_one_receiver),
        cmocka_unit_test(ticks_come_at_multiples),
        cmocka_unit_test(slow_receiver_misses_ticks),
        cmocka_unit_test(a_long_period),
        cmocka_unit_test(function_runs_when_due),
        cmocka_unit_test(function_resets_its_own_timer),
        cmocka_unit_test(function_runs_though_nobody_refers_to_its_timer),
        cmocka_unit_test(function_is_its_maker_s_child),
        cmocka_unit_test(select_takes_whichever_comes_first),
        cmocka_unit_test(select_goes_on_when_its_timer_is_changed),
        cmocka_unit_test(contexts_end_the_wait_for_a_timer),
        cmocka_unit_test(a_timer_nobody_waits_for_keeps_nothing_awake),
        cmocka_unit_test(channel_keeps_its_timer),
        cmocka_unit_test(timer_dropped_under_a_waiter),
        cmocka_unit_test(who_waits_for_a_ticker_has_a_deadline),
        cmocka_unit_test(scope_is_not_at_rest_before_a_function_has_run),
    };
    setenv("COPPER_SCHED_SEED", "7", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
