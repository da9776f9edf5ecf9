/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what Go's own tests expect of contexts, where runtime_context_test.c (c) and
 * runtime_select_test.c (s) do not ask it yet.
 *
 *     context/x_test.go, context_test.go
 *       TestBackground, TestTODO             c: background_is_never_done
 *       TestWithCancel                       c: cancel_goes_down_and_not_up
 *       TestParentFinishesChild              parent_ends_children_of_all_kinds
 *       TestChildFinishesFirst               child_ends_alone
 *       TestDeadline, TestTimeout            c: deadlines; deadline_of_the_nearest
 *       TestCanceledTimeout                  cancelled_before_its_time
 *       TestValues                           c: values
 *       TestSimultaneousCancels              many_cancels_at_once
 *       TestInterlockedCancels               interlocked_cancels
 *       TestLayersCancel, TestLayersTimeout  layers_cancelled, layers_timed_out
 *       TestCancelRemoves                    ended_children_are_let_go
 *       TestWithCancelCanceledParent         c: child_of_a_done_parent_is_done
 *       TestWithValueChecksKey, ...String    keys are addresses here, contexts have no text
 *       TestCause                            c: first_cause_stays; causes
 *       TestWithoutCancel                    c: values
 *       TestAfterFunc...                     c: functions_afterwards
 */
#include <copper/context.h>
#include <copper/inspect.h>
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>

#include "coroutine_body.h"

/* Whether ctx counts as done everywhere, or nowhere. */
static bool is_done(cu_ctx *ctx, int error)
{
    cu_case c[] = {cu_on_done(ctx)};
    bool is_selected = cu_try_select(c, 1) == 0;
    return cu_ctx_err(ctx) == error && is_selected == (error != 0) &&
           (error == 0 || (cu_ctx_wait(ctx) == error && c[0].err == error));
}

COROUTINE_TEST(parent_ends_children_of_all_kinds)
{
    static const int key;
    cu_ctx *parent = cu_ctx_with_cancel(NULL);
    cu_ctx *cancel = cu_ctx_with_cancel(parent);
    cu_ctx *value = cu_ctx_with_value(parent, &key, parent);
    cu_ctx *below_value = cu_ctx_with_cancel(value);
    cu_ctx *timer = cu_ctx_with_timeout(below_value, 1000 * COPPER_SEC);
    cu_ctx *all[] = {parent, cancel, value, below_value, timer};
    for (int i = 0; i < 5; i++) {
        expect(is_done(all[i], 0));
    }
    cu_ctx_cancel(parent);
    for (int i = 0; i < 5; i++) {
        expect(is_done(all[i], -ECANCELED));
    }
    cu_ctx *late = cu_ctx_with_value(parent, &key, value);
    expect(is_done(late, -ECANCELED) && cu_ctx_value(late, &key) == value);
    cu_ctx_end(late);
    for (int i = 5; i-- > 0;) {
        cu_ctx_end(all[i]);
    }
    return 0;
}

COROUTINE_TEST(child_ends_alone)
{
    cu_ctx *tops[] = {NULL, cu_ctx_with_cancel(NULL)};
    for (int i = 0; i < 2; i++) {
        cu_ctx *child = cu_ctx_with_cancel(tops[i]);
        cu_ctx_cancel(child);
        expect(is_done(child, -ECANCELED) && cu_ctx_err(tops[i]) == 0);
        cu_ctx_end(child);
    }
    cu_ctx_end(tops[1]);
    return 0;
}

COROUTINE_TEST(deadline_of_the_nearest)
{
    int64_t soon_ns = cu_now() + 2 * COPPER_MS;
    cu_ctx *far = cu_ctx_with_timeout(NULL, 1000 * COPPER_SEC);
    cu_ctx *near = cu_ctx_with_deadline(far, soon_ns);
    cu_ctx *farther = cu_ctx_with_timeout(near, 2000 * COPPER_SEC); /* cannot outlive its parent */
    expect(cu_ctx_deadline(near) == soon_ns && cu_ctx_deadline(farther) == soon_ns);
    expect(cu_ctx_wait(farther) == -ETIMEDOUT && cu_now() >= soon_ns);
    expect(is_done(near, -ETIMEDOUT) && is_done(far, 0));
    cu_ctx *past = cu_ctx_with_deadline(far, soon_ns);
    expect(is_done(past, -ETIMEDOUT));
    cu_ctx_end(past);
    cu_ctx_end(farther);
    cu_ctx_end(near);
    cu_ctx_end(far);
    return 0;
}

COROUTINE_TEST(cancelled_before_its_time)
{
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 1000 * COPPER_SEC);
    cu_ctx *child = cu_ctx_with_timeout(ctx, 2000 * COPPER_SEC);
    cu_ctx_cancel(ctx);
    expect(is_done(ctx, -ECANCELED) && is_done(child, -ECANCELED));
    cu_ctx_end(child);
    cu_ctx_end(ctx);
    return 0;
}

/* ---- many at once ---- */

struct job {
    cu_ctx *ctx, *other;
    cu_wg *ready;
};

static void cancel_one(void *arg)
{
    cu_ctx_cancel(((struct job *)arg)->ctx);
}

static void await_one(void *arg)
{
    cu_ctx_wait(((struct job *)arg)->ctx);
}

COROUTINE_TEST(many_cancels_at_once)
{
    enum { MANY = 200 };
    static struct job jobs[MANY];
    cu_wg wg = {0};
    cu_ctx *root = cu_ctx_with_cancel(NULL);
    for (int i = 0; i < MANY; i++) { /* a binary tree */
        jobs[i].ctx = cu_ctx_with_cancel(i ? jobs[(i - 1) / 2].ctx : root);
    }
    for (int i = 0; i < MANY; i++) {
        cu_wg_go(&wg, await_one, &jobs[i]);
        cu_wg_go(&wg, cancel_one, &jobs[MANY - 1 - i]);
    }
    cu_wg_wait(&wg);
    expect(cu_ctx_err(root) == 0);
    for (int i = MANY; i-- > 0;) {
        expect(is_done(jobs[i].ctx, -ECANCELED));
        cu_ctx_end(jobs[i].ctx);
    }
    cu_ctx_end(root);
    return 0;
}

static void cancel_parent_when_child_is_done(void *arg)
{
    struct job *j = arg;
    cu_wg_done(j->ready);
    cu_ctx_wait(j->other);
    cu_ctx_cancel(j->ctx);
}

COROUTINE_TEST(interlocked_cancels)
{
    cu_wg wg = {0}, ready = {0};
    cu_ctx *parent = cu_ctx_with_cancel(NULL), *child = cu_ctx_with_cancel(parent);
    struct job j = {parent, child, &ready};
    cu_wg_add(&ready, 1);
    cu_wg_go(&wg, cancel_parent_when_child_is_done, &j);
    cu_wg_wait(&ready);
    cu_ctx_cancel(parent);
    expect(cu_ctx_wait(child) == -ECANCELED);
    cu_wg_wait(&wg);
    cu_ctx_end(child);
    cu_ctx_end(parent);
    return 0;
}

/* ---- random layers of the three kinds ---- */

static bool check_layers(uint64_t seed, bool times_out)
{
    enum { LAYERS = 30 };
    cu_ctx *layers[LAYERS];
    int values[LAYERS];
    static char keys[LAYERS];
    cu_ctx *ctx = NULL;
    int last_timer = -1, first_cancellable = -1;
    bool is_right = true;
    for (int i = 0; i < LAYERS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned kind = (unsigned)(seed >> 40) % 3;
        if (kind == 0) {
            ctx = cu_ctx_with_cancel(ctx);
        } else if (kind == 1) {
            ctx = cu_ctx_with_timeout(ctx, times_out ? 5 * COPPER_MS : 1000 * COPPER_SEC);
            last_timer = i;
        } else {
            values[i] = i;
            ctx = cu_ctx_with_value(ctx, &keys[i], &values[i]);
        }
        values[i] = kind == 2 ? i : -1;
        first_cancellable = first_cancellable < 0 && kind != 2 ? i : first_cancellable;
        layers[i] = ctx;
    }
    is_right &= cu_ctx_err(ctx) == 0 || times_out;
    for (int i = 0; i < LAYERS; i++) {
        is_right &= cu_ctx_value(ctx, &keys[i]) == (values[i] < 0 ? NULL : &values[i]);
    }
    is_right &= (cu_ctx_deadline(ctx) != 0) == (last_timer >= 0);
    if (times_out && last_timer >= 0) {
        is_right &= is_done(ctx, cu_ctx_wait(ctx)) && cu_ctx_err(ctx) == -ETIMEDOUT;
    } else if (first_cancellable >= 0) {
        cu_ctx_cancel(layers[first_cancellable]);
        is_right &= is_done(ctx, -ECANCELED);
    }
    for (int i = 0; i < LAYERS; i++) { /* still what it was */
        is_right &= cu_ctx_value(ctx, &keys[i]) == (values[i] < 0 ? NULL : &values[i]);
    }
    for (int i = LAYERS; i-- > 0;) {
        cu_ctx_end(layers[i]);
    }
    return is_right;
}

COROUTINE_TEST(layers_cancelled)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        expect(check_layers(seed, false));
    }
    return 0;
}

COROUTINE_TEST(layers_timed_out)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        expect(check_layers(seed, true));
    }
    return 0;
}

/* A parent that lives on keeps nothing of them. */
COROUTINE_TEST(ended_children_are_let_go)
{
    cu_ctx *parent = cu_ctx_with_cancel(NULL);
    size_t before = 0;
    for (int i = 0; i < 5000; i++) {
        cu_ctx *a = cu_ctx_with_cancel(parent);
        cu_ctx *b = cu_ctx_with_timeout(parent, (i % 2 ? 1 : 1000) * COPPER_SEC);
        cu_ctx_end(a);
        cu_ctx_end(b);
        before = i == 500 ? mallinfo2().uordblks : before;
    }
    expect(mallinfo2().uordblks < before + 100000);
    cu_ctx_end(parent);
    return 0;
}

COROUTINE_TEST(causes)
{
    cu_ctx *parent = cu_ctx_with_cancel(NULL), *child = cu_ctx_with_cancel(parent);
    cu_ctx *other = cu_ctx_with_timeout(parent, 1000 * COPPER_SEC);
    cu_ctx_cancel_cause(child, -7);
    cu_ctx_cancel_cause(parent, -8);
    cu_ctx_cancel_cause(parent, -9);
    expect(cu_ctx_cause(child) == -7 && cu_ctx_cause(parent) == -8 && cu_ctx_cause(other) == -8);
    expect(cu_ctx_err(child) == -ECANCELED && cu_ctx_err(other) == -ECANCELED);
    cu_ctx *late = cu_ctx_with_cancel(parent), *apart = cu_ctx_without_cancel(parent);
    expect(cu_ctx_cause(late) == -8 && cu_ctx_cause(apart) == 0 && cu_ctx_err(apart) == 0);
    cu_ctx *timed_out = cu_ctx_with_timeout(NULL, 0);
    expect(cu_ctx_cause(timed_out) == -ETIMEDOUT);
    cu_ctx_end(timed_out);
    cu_ctx_end(apart);
    cu_ctx_end(late);
    cu_ctx_end(other);
    cu_ctx_end(child);
    cu_ctx_end(parent);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_ends_children_of_all_kinds),
        cmocka_unit_test(child_ends_alone),
        cmocka_unit_test(deadline_of_the_nearest),
        cmocka_unit_test(cancelled_before_its_time),
        cmocka_unit_test(many_cancels_at_once),
        cmocka_unit_test(interlocked_cancels),
        cmocka_unit_test(layers_cancelled),
        cmocka_unit_test(layers_timed_out),
        cmocka_unit_test(ended_children_are_let_go),
        cmocka_unit_test(causes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
