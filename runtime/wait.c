/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waits that end early: by their deadline.
 *
 * Design: the waiter's record is in the object's list as always, and the wait is a race (race.h)
 * between who takes it out and the timer. A timer that wins leaves the record where it is and
 * readies the coroutine, which takes it out itself, under the list's lock; so a timer needs to know
 * nothing of what is waited for. Between the two, a waker that finds the record drops it.
 *
 * A context is one more list: a record of its own on the waiter's stack, in the same race.
 *
 * A plain thread needs no timer: it sleeps with a deadline, and races itself.
 *
 * Lifetime: who waits holds no reference, and by the time a wait has ended early its object may be
 * gone. A channel or a pool is freed by taking all records out and then passing through its stripe;
 * the objects whose lock is their stripe forget a record under it. So a record that is found queued
 * with the stripe held is in a list that is still there, and one that is not queued is of no more
 * concern: is_queued is the last that is written of a record that lost.
 */
#include <errno.h>

#include "clock.h"
#include "context.h"
#include "futex.h"
#include "race.h"
#include "schedule.h"
#include "timer_chan.h"
#include "tls.h"

static void deadline_is_due(struct cu__timer *t, uint64_t ticket, int64_t now_ns)
{
    struct cu__g *g = container_of(t, struct cu__g, timer);
    (void)now_ns;
    if (cu__race_win(&g->race, ticket)) {
        g->waiter.result = -ETIMEDOUT;
        if (cu__gate_won(&g->race)) {
            cu__ready(g);
        }
    }
}

void cu__deadline_start(struct cu__g *g)
{
    struct cu__timer *t = &g->timer;
    uint64_t ticket = load_relaxed(&g->race.word);
    if ((ticket & 1) == 0) {
        return; /* somebody was faster, where no lock keeps wakers away: nothing is left to end */
    }
    t->fire = deadline_is_due;
    t->tag = ticket;
    t->is_silent = g->wait.reason == COPPER_WAIT_QUIESCE;
    cu__timer_start(t, g->wait.deadline_ns);
}

static void wait_in_thread(struct cu__race *race, struct cu__lock *lock, int64_t deadline_ns)
{
    uint64_t ticket = load_relaxed(&race->word);
    if (lock) {
        cu__lock_drop(lock);
    }
    if ((ticket & 1) == 0) {
        deadline_ns = 0; /* somebody was faster, which without a lock may happen */
    }
    /* pairs with the store in cu__wake: the result is there */
    while (load_acquire(&race->thread_wake) == 0) {
        cu__futex_wait(&race->thread_wake, 0, deadline_ns ? deadline_ns : COPPER_NO_DEADLINE);
        if (deadline_ns && cu_now() >= deadline_ns) {
            if (cu__race_win(race, ticket)) {
                return;
            }
            deadline_ns = 0; /* a waker has it already */
        }
    }
}

static void take_out(struct cu__waiter *w, struct cu__waiters *list)
{
    cu__waiters_remove(list, w);
    if (unlikely(w->is_timed)) {
        cu__timed_left(list);
    }
}

void cu__wait_leave(struct cu__waiter *w, const void *object, struct cu__lock *lock,
                    struct cu__waiters *list)
{
    struct cu__lock *stripe = cu__stripe(object);
    cu__lock_take(stripe);
    if (load_acquire(&w->is_queued)) {
        if (lock != stripe) {
            cu__lock_take(lock);
        }
        if (w->is_queued) {
            take_out(w, list);
        }
        if (lock != stripe) {
            cu__lock_drop(lock);
        }
    }
    cu__lock_drop(stripe);
}

int cu__wait_until(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock,
                   struct cu__waiters *list)
{
    struct cu__g *g = w->g;
    struct cu__race own, *race = g ? &g->race : &own;
    if (why->deadline_ns == 0) {
        return cu__wait(w, why, lock);
    }
    if (g == NULL) {
        own.word = 0;
    }
    cu__race_open(race);
    w->race = race;
    if (g) {
        g->wait = *why;
        cu__schedule(cu__m(), COPPER_AFTER_PARK, lock);
    } else {
        wait_in_thread(race, lock, why->deadline_ns);
    }
    if (race->winner) {
        if (g) {
            cu__timer_stop(&g->timer);
        }
    } else {
        w->result = -ETIMEDOUT;
        cu__wait_leave(w, why->object, lock, list);
    }
    w->race = NULL;
    return w->result;
}

struct cu__waiter *cu__wait_gated(struct cu__race *race, struct cu__g *g,
                                  const struct cu__wait *why)
{
    if (g == NULL) {
        /* a context's own timer wakes the thread too */
        wait_in_thread(race, NULL, why->is_timed_elsewhere ? 0 : why->deadline_ns);
        return race->winner;
    }
    g->wait = *why;
    g->wait.is_gated = true;
    cu__schedule(cu__m(), COPPER_AFTER_PARK, NULL);
    if (why->deadline_ns && !why->is_timed_elsewhere && race->winner) {
        cu__timer_stop(&g->timer);
    }
    return race->winner;
}

static noinline int wait_with_ctx(struct cu__waiter *w, const struct cu__wait *why,
                                  struct cu__lock *lock, struct cu__waiters *list,
                                  struct cu_ctx *ctx)
{
    struct cu__g *g = w->g;
    struct cu__race own = {0}, *race = g ? &g->race : &own;
    cu__race_open_gated(race);
    w->race = race;
    struct cu__waiter end = {.g = g, .race = race}, *winner = NULL;
    int error = cu__ctx_watch(ctx, &end);
    if (error) {
        cu__race_call_off(race); /* the list's lock was held all the time */
        take_out(w, list);
        cu__lock_drop(lock);
        w->race = NULL;
        return error;
    }
    struct cu__wait limited = cu__ctx_limit(why, ctx);
    cu__lock_drop(lock);
    winner = cu__wait_gated(race, g, &limited);
    cu__ctx_unwatch(ctx, &end);
    if (winner == w) {
        error = w->result;
    } else {
        cu__wait_leave(w, why->object, lock, list);
        error = winner == &end ? cu_ctx_err(ctx) : -ETIMEDOUT;
    }
    w->race = NULL;
    return error;
}

int cu__wait_ctx(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock,
                 struct cu__waiters *list, struct cu_ctx *ctx)
{
    return ctx ? wait_with_ctx(w, why, lock, list, ctx) : cu__wait_until(w, why, lock, list);
}
