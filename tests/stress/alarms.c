/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: timers and functions for later under stress: each start, which is to make one or to
 * reset it, ends in exactly one way. Its time is received, or its function runs, and not before it
 * is due; or a stop or a reset says that it was running.
 *
 * Some are used by everybody at once; others belong to a step, which knows what each call must say.
 */
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/timer.h>
#include <errno.h>

#include "stress.h"

#define ALARMS 6

/* One that everybody stops, resets, and receives from. Every other is a function's. */
static struct alarm {
    cu_timer *timer;
    uint64_t starts, stopped, used; /* atomic */
    cu_wg pending;                  /* functions: starts that have not ended yet */
} alarms[ALARMS];

static bool is_function(const struct alarm *a)
{
    return (a - alarms) % 2;
}

static int64_t some_time(uint64_t *random)
{
    return ((int64_t)draw(random, 600) - 20) * COPPER_US;
}

static void ring(void *arg)
{
    struct alarm *a = arg;
    __atomic_fetch_add(&a->used, 1, __ATOMIC_RELAXED);
    cu_wg_done(&a->pending);
}

/* Before: the function may run at once. */
static void will_start(struct alarm *a)
{
    __atomic_fetch_add(&a->starts, 1, __ATOMIC_RELAXED);
    if (is_function(a)) {
        cu_wg_add(&a->pending, 1);
    }
}

static void has_stopped(struct alarm *a, bool was_running)
{
    __atomic_fetch_add(&a->stopped, was_running, __ATOMIC_RELAXED);
    if (is_function(a) && was_running) {
        cu_wg_done(&a->pending);
    }
}

static void begin(uint64_t seed)
{
    for (struct alarm *a = alarms; a < alarms + ALARMS; a++) {
        uint64_t random = next_random(&seed);
        int64_t ns = some_time(&random);
        *a = (struct alarm){.timer = NULL};
        will_start(a);
        a->timer = is_function(a) ? cu_after_func(ns, ring, a) : cu_timer_new(ns);
        check(a->timer != NULL);
    }
}

static void end(void)
{
    for (struct alarm *a = alarms; a < alarms + ALARMS; a++) {
        has_stopped(a, cu_timer_stop(a->timer));
        cu_wg_wait(&a->pending);
    }
}

static void verify(void)
{
    for (struct alarm *a = alarms; a < alarms + ALARMS; a++) {
        check(a->starts == a->stopped + a->used);
        cu_timer_unref(a->timer);
    }
}

/* ---- everybody's ---- */

static void stop_or_reset(uint64_t random)
{
    struct alarm *a = &alarms[draw(&random, ALARMS)];
    if (draw(&random, 3) == 0) {
        has_stopped(a, cu_timer_stop(a->timer));
    } else {
        will_start(a);
        has_stopped(a, cu_timer_reset(a->timer, some_time(&random)));
    }
}

static void receive(uint64_t random)
{
    struct alarm *a = &alarms[draw(&random, ALARMS)];
    cu_chan *c = cu_timer_chan(a->timer);
    int64_t due_ns;
    cu_case cases[] = {cu_on_recv(c, &due_ns), cu_on_after(some_time(&random))};
    bool is_received = draw(&random, 4) == 0 ? cu_try_recv(c, &due_ns) == 0
                                             : cu_select(cases, 2) == 0 && cases[0].err == 0;
    if (is_received) {
        check(!is_function(a) && due_ns <= cu_now());
        __atomic_fetch_add(&a->used, 1, __ATOMIC_RELAXED);
    }
}

/* ---- a step's own ---- */

static void is_silent(cu_timer *t)
{
    check(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
    check(!cu_timer_stop(t));
}

/* Stopped, it never gives its time and has said that it will not; reset, it gives it once. */
static void use_timer(uint64_t random)
{
    cu_timer *t = cu_timer_new(some_time(&random));
    int64_t due_ns, start_ns, ns = some_time(&random);
    check(t != NULL);
    dawdle(next_random(&random));
    bool is_over = draw(&random, 2) && cu_try_recv(cu_timer_chan(t), NULL) == 0;
    check(cu_timer_stop(t) != is_over);
    is_silent(t);
    start_ns = cu_now();
    check(!cu_timer_reset(t, ns));
    if (draw(&random, 2)) {
        start_ns = cu_now();
        check(cu_timer_reset(t, ns)); /* not received, so it still runs */
    }
    check(cu_recv(cu_timer_chan(t), &due_ns) == 0);
    check(due_ns >= start_ns + (ns > 0 ? ns : 0));
    has_lasted(start_ns, due_ns - start_ns);
    is_silent(t);
    if (draw(&random, 2)) {
        check(!cu_timer_reset(t, some_time(&random))); /* dropped while it runs */
    }
    cu_timer_unref(t);
}

static void use_after(uint64_t random)
{
    int64_t due_ns, start_ns = cu_now(), ns = some_time(&random);
    cu_chan *c = cu_after(ns);
    check(c != NULL);
    if (draw(&random, 4)) {
        check(cu_recv(c, &due_ns) == 0 && cu_try_recv(c, NULL) == -EAGAIN);
        check(due_ns >= start_ns + (ns > 0 ? ns : 0));
        has_lasted(start_ns, due_ns - start_ns);
    }
    cu_chan_unref(c);
}

struct call {
    cu_wg pending;   /* starts that have not ended */
    int64_t due_ns;  /* of the only start that may have begun */
    uint64_t random; /* what it does */
};

static void be_called(void *arg)
{
    struct call *call = arg;
    has_lasted(call->due_ns, 0);
    dawdle(call->random);
    cu_wg_done(&call->pending);
}

/* Runs once for each start, or was stopped: then a start may not end the group's wait twice, and
 * that it ends shows that it ended once. */
static void use_function(uint64_t random)
{
    int64_t ns = some_time(&random);
    struct call call = {.due_ns = cu_now() + (ns > 0 ? ns : 0), .random = random};
    cu_wg_add(&call.pending, 1);
    cu_timer *t = cu_after_func(ns, be_called, &call);
    check(t != NULL && cu_timer_chan(t) == NULL);
    dawdle(next_random(&random));
    if (draw(&random, 2) && cu_timer_stop(t)) {
        check(!cu_timer_stop(t));
        ns = some_time(&random);
        call.due_ns = cu_now() + (ns > 0 ? ns : 0);
        check(!cu_timer_reset(t, ns));
    }
    if (draw(&random, 2)) {
        cu_timer_unref(t); /* runs all the same */
        t = NULL;
    }
    cu_wg_wait(&call.pending);
    if (t) {
        check(!cu_timer_stop(t));
    }
    cu_timer_unref(t);
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
        use_timer(random);
        break;
    case 1:
        use_after(random);
        break;
    case 2:
    case 3:
        use_function(random);
        break;
    case 4:
    case 5:
        receive(random);
        break;
    default:
        stop_or_reset(random);
    }
}

const struct concept alarms_concept = {"alarms", begin, step, end, verify};
