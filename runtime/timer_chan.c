/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/timer.h.
 *
 * Design: a timer is a channel without a buffer and a fact about the clock: is_running and when_ns.
 * Who receives looks at the clock: if the timer is due, the value is its when_ns, and it is over
 * or, for a ticker, goes on to the next multiple. So there is nothing to send while nobody waits,
 * and nothing stale to take back. Only while a receiver waits, or for a function, is the timer in a
 * heap (timer.c): it is armed then.
 *
 * Who waits parks with when_ns as its deadline, by a timer that is not its own. When stopping or
 * resetting changes whether there is one, all who wait are woken to begin anew (CU__WAIT_ANEW), so
 * that scopes, the search for deadlocks and the leak checker see what is the case.
 *
 * Concurrency: the channel's lock guards everything. Coming due (come_due) is under way from when
 * the heap lets the timer go until it has had the lock: is_armed stays true so long, so that nobody
 * starts the heap's node anew or frees it; what was asked for meanwhile, come_due does.
 *
 * Lifetime: references are the channel's. When the last is dropped the timer is freed unless it is
 * armed and cannot be taken out, or has a function to run: then come_due does it (is_orphan).
 */
#include "timer_chan.h"

#include <copper/timer.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "schedule.h"
#include "spawn.h"
#include "sync_int.h"
#include "tls.h"

struct cu_timer {
    struct cu__timer heap; /* lock, while not armed */
    bool is_running;       /* lock, as all that follows; due at when_ns, or since then */
    bool is_armed;
    bool is_orphan;
    int64_t when_ns;
    int64_t period_ns;    /* 0: once */
    void (*fn)(void *);   /* constant; NULL: the channel is to be received from */
    void *arg;            /* constant */
    struct cu__heir heir; /* constant; of fn's coroutine */
    struct cu_chan chan;  /* last: it ends in its values, of which it has none */
};

static struct cu_timer *timer_of(cu_chan *c)
{
    return container_of(c, struct cu_timer, chan);
}

/* ---- the heap ---- */

/* With the lock. */
static void arm(struct cu_timer *t)
{
    if (!t->is_armed && cu__start() == 0) { /* a forked child may not have started yet */
        t->is_armed = true;
        cu__timer_start(&t->heap, t->when_ns);
    }
}

/* With the lock. If it is about to come due it stays armed. */
static void disarm(struct cu_timer *t)
{
    /* one that a forked child inherited stays in the heap of its parent */
    if (t->is_armed && (cu__timer_stop(&t->heap) || load_acquire(&t->heap.p))) {
        t->is_armed = false;
    }
}

/* With the lock: whether somebody is to be told when it is due. */
static bool is_awaited(const struct cu_timer *t)
{
    return t->is_running && (t->fn || t->chan.receivers.first);
}

/* With the lock: it was due by now_ns, and somebody got it. */
static void advance(struct cu_timer *t, int64_t now_ns)
{
    if (t->period_ns) {
        int64_t missed = (now_ns - t->when_ns) / t->period_ns;
        if (__builtin_add_overflow(t->when_ns, (missed + 1) * t->period_ns, &t->when_ns)) {
            t->when_ns = INT64_MAX - 1;
        }
    } else {
        t->is_running = false;
    }
}

static void run_function(struct cu_timer *t)
{
    struct cu_go_options options = {COPPER_GO_OPTIONS, .site = t->chan.site};
    cu_id id = cu__spawn(
        &(struct cu__spawn){.fn = t->fn, .arg = t->arg, .options = &options, .heir = &t->heir});
    if (id < 0) {
        cu__complain("the function %p, to be run by the timer made at %s:%u, could not be started: "
                     "error %d",
                     (void *)(uintptr_t)t->fn, t->chan.site ? t->chan.site->file : "?",
                     t->chan.site ? t->chan.site->line : 0, (int)-id);
    }
    cu__heir_is_idle(&t->heir);
}

static void release(struct cu_timer *t)
{
    if (t->fn) {
        cu__heir_drop(&t->heir);
    }
    free(t);
}

/* With the lock: the first receiver, who has got the time; NULL: nobody waits. */
static struct cu__waiter *hand_over(struct cu_timer *t, int64_t now_ns)
{
    struct cu__waiter *w = cu__waiters_pop(&t->chan.receivers);
    if (w) {
        if (w->value) {
            memcpy(w->value, &t->when_ns, sizeof(t->when_ns));
        }
        w->result = 0;
        advance(t, now_ns);
    }
    return w;
}

static void come_due(struct cu__timer *heap, uint64_t tag, int64_t now_ns)
{
    struct cu_timer *t = container_of(heap, struct cu_timer, heap);
    struct cu__waiter *w = NULL;
    (void)tag;
    cu__lock_take(&t->chan.lock);
    bool is_due = t->is_running && t->when_ns <= now_ns;
    if (is_due && t->fn) {
        t->is_running = false;
        cu__lock_drop(&t->chan.lock);
        run_function(t);
        cu__lock_take(&t->chan.lock);
    } else if (is_due) {
        w = hand_over(t, now_ns);
    }
    t->is_armed = false;
    if (is_awaited(t)) {
        arm(t);
    }
    bool is_left = t->is_orphan && !t->is_armed;
    cu__lock_drop(&t->chan.lock);
    if (is_left) {
        release(t);
    }
    if (w) {
        cu__wake(w);
    }
}

/* ---- receiving ---- */

int cu__timed_receive_now(cu_chan *c, void *value)
{
    struct cu_timer *t = timer_of(c);
    int64_t now_ns = t->is_running ? cu_now() : 0;
    if (!t->is_running || t->when_ns > now_ns) {
        return -EAGAIN;
    }
    if (value) {
        memcpy(value, &t->when_ns, sizeof(t->when_ns));
    }
    advance(t, now_ns);
    return 0;
}

int64_t cu__timed_enter(cu_chan *c, struct cu__waiter *w)
{
    struct cu_timer *t = timer_of(c);
    w->is_timed = true;
    cu__waiters_add(&c->receivers, w);
    if (t->is_running) {
        arm(t);
    }
    return t->is_running ? t->when_ns : 0;
}

void cu__timed_left(struct cu__waiters *receivers)
{
    struct cu_timer *t = timer_of(container_of(receivers, struct cu_chan, receivers));
    if (!is_awaited(t)) {
        disarm(t);
    }
}

/* With the lock, which is given back. */
static int wait_in(cu_chan *c, void *value, cu_ctx *ctx)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, value);
    struct cu__wait why = {.reason = COPPER_WAIT_CHAN_RECV,
                           .kind = COPPER_OBJECT_CHAN,
                           .object = c,
                           .is_timed_elsewhere = true};
    why.deadline_ns = cu__timed_enter(c, self);
    return ctx ? cu__wait_ctx(self, &why, &c->lock, &c->receivers, ctx)
               : cu__wait(self, &why, &c->lock);
}

int cu__timed_receive(cu_chan *c, void *value, bool may_wait, cu_ctx *ctx)
{
    int result;
    while ((result = cu__timed_receive_now(c, value)) == -EAGAIN && may_wait) {
        result = wait_in(c, value, ctx);
        if (result != CU__WAIT_ANEW) {
            return result;
        }
        cu__lock_take(&c->lock);
    }
    cu__lock_drop(&c->lock);
    return result;
}

void cu__timed_free(cu_chan *c)
{
    struct cu_timer *t = timer_of(c);
    cu__lock_take(&c->lock);
    t->is_running = t->is_running && t->fn;
    if (!t->is_running) {
        disarm(t);
    }
    t->is_orphan = t->is_armed;
    bool is_left = !t->is_orphan;
    cu__lock_drop(&c->lock);
    if (is_left) {
        release(t);
    }
}

/* ---- starting and stopping ---- */

/* With the lock: everybody who waits. */
static void send_back(struct cu_timer *t, struct cu__chain *chain)
{
    for (struct cu__waiter *w; (w = cu__waiters_pop(&t->chan.receivers));) {
        w->result = CU__WAIT_ANEW;
        cu__chain_add(chain, w);
    }
}

/* The one change of a timer: runs, or not. when_ns and period_ns are for one that runs. True: it
 * ran before. */
static bool set(struct cu_timer *t, bool runs, int64_t when_ns, int64_t period_ns)
{
    struct cu__chain anew;
    cu__chain_init(&anew);
    cu__lock_take(&t->chan.lock);
    bool ran = t->is_running;
    t->is_running = runs;
    t->when_ns = when_ns;
    t->period_ns = period_ns;
    if (runs != ran) {
        send_back(t, &anew);
        if (t->fn && runs) {
            cu__heir_is_busy(&t->heir);
        }
    }
    disarm(t);
    if (is_awaited(t)) {
        arm(t);
    }
    cu__lock_drop(&t->chan.lock);
    if (t->fn && ran && !runs) {
        cu__heir_is_idle(&t->heir);
    }
    cu__chain_wake(&anew);
    return ran;
}

static struct cu_timer *make(const char *name, void (*fn)(void *), void *arg,
                             const struct cu_site *site)
{
    struct cu_timer *t = cu__start() ? NULL : calloc(1, sizeof(*t));
    if (t == NULL) {
        return NULL;
    }
    t->heap.fire = come_due;
    t->chan.references = 1;
    t->chan.size = sizeof(int64_t);
    t->chan.is_timed = true;
    t->chan.site = site;
    memcpy(t->chan.name, name, strlen(name));
    t->fn = fn;
    t->arg = arg;
    if (fn) {
        cu__heir_make(&t->heir, fn, site);
    }
    return t;
}

cu_timer *cu_timer_new_site(int64_t ns, const struct cu_site *site)
{
    struct cu_timer *t = make("timer", NULL, NULL, site);
    if (t) {
        set(t, true, cu__deadline(ns), 0);
    }
    return t;
}

cu_timer *cu_after_func_site(int64_t ns, void (*fn)(void *), void *arg, const struct cu_site *site)
{
    struct cu_timer *t = make("timer", fn, arg, site);
    if (t) {
        set(t, true, cu__deadline(ns), 0);
    }
    return t;
}

cu_chan *cu_after_site(int64_t ns, const struct cu_site *site)
{
    struct cu_timer *t = cu_timer_new_site(ns, site);
    return t ? &t->chan : NULL;
}

cu_timer *(cu_timer_new)(int64_t ns)
{
    return cu_timer_new_site(ns, NULL);
}

cu_timer *(cu_after_func)(int64_t ns, void (*fn)(void *), void *arg)
{
    return cu_after_func_site(ns, fn, arg, NULL);
}

cu_chan *(cu_after)(int64_t ns)
{
    return cu_after_site(ns, NULL);
}

cu_timer *cu_timer_ref(cu_timer *t)
{
    cu_chan_ref(&t->chan);
    return t;
}

void cu_timer_unref(cu_timer *t)
{
    cu_chan_unref(t ? &t->chan : NULL);
}

cu_chan *cu_timer_chan(cu_timer *t)
{
    return t->fn ? NULL : &t->chan;
}

bool cu_timer_stop(cu_timer *t)
{
    return set(t, false, 0, 0);
}

bool cu_timer_reset(cu_timer *t, int64_t ns)
{
    return set(t, true, cu__deadline(ns), 0);
}

/* ---- tickers: timers with a period ---- */

static struct cu_timer *inside(cu_ticker *ticker)
{
    return (struct cu_timer *)(void *)ticker;
}

static void check_period(int64_t ns, const char *who)
{
    if (ns <= 0) {
        cu__misuse("%s with a period of %lld ns, which is not positive", who, (long long)ns);
    }
}

cu_ticker *cu_ticker_new_site(int64_t ns, const struct cu_site *site)
{
    check_period(ns, "cu_ticker_new");
    struct cu_timer *t = make("ticker", NULL, NULL, site);
    if (t) {
        set(t, true, cu__deadline(ns), ns);
    }
    return (cu_ticker *)(void *)t;
}

cu_ticker *(cu_ticker_new)(int64_t ns)
{
    return cu_ticker_new_site(ns, NULL);
}

cu_ticker *cu_ticker_ref(cu_ticker *t)
{
    cu_timer_ref(inside(t));
    return t;
}

void cu_ticker_unref(cu_ticker *t)
{
    cu_timer_unref(inside(t));
}

cu_chan *cu_ticker_chan(cu_ticker *t)
{
    return &inside(t)->chan;
}

void cu_ticker_stop(cu_ticker *t)
{
    set(inside(t), false, 0, 0);
}

void cu_ticker_reset(cu_ticker *t, int64_t ns)
{
    check_period(ns, "cu_ticker_reset");
    set(inside(t), true, cu__deadline(ns), ns);
}
