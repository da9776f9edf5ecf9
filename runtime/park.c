/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waiting and readying: the only place where a coroutine changes between WAITING and
 * RUNNABLE.
 *
 * Design: whoever waits links its struct cu__waiter into the object's list, under the object's
 * lock, and parks; the lock is given back after it has left its stack, so a waker that finds it in
 * the list finds it WAITING. A plain thread uses such a record too and sleeps on a word in it.
 *
 * Invariants: a waiter is taken out of its list exactly once, under the lock; who took it out wakes
 * it exactly once, after giving the lock back, unless the wait is a race (race.h) that somebody
 * else won.
 */
#include "schedule.h"

#include "events.h"
#include "futex.h"
#include "gstate.h"
#include "ownership.h"
#include "race.h"
#include "runq.h"
#include "service.h"
#include "supply.h"
#include "sync_int.h"
#include "tls.h"

/* Without a P of one's own. */
static noinline void enqueue_elsewhere(struct cu__m *m, struct cu__g *g)
{
    if (g->is_locked) {
        cu__enqueue_locked(g);
        return;
    }
    cu__global_put(g);
    cu__wake_one();
    if (m && m->g) {
        cu__block_for_p(m);
    }
}

void cu__enqueue(struct cu__g *g)
{
    struct cu__m *m = cu__m();
    if (unlikely(m == NULL || m->p == NULL)) {
        enqueue_elsewhere(NULL, g);
        return;
    }
    uint32_t was_inside = m->inside; /* the scheduler itself readies too */
    if (likely(cu__enter(m) && !g->is_locked)) {
        cu__runq_put_next(m->p, g);
        cu__wake_one();
    } else {
        enqueue_elsewhere(cu__owner(m->p) == m ? NULL : m, g);
    }
    store_release(&m->inside, was_inside);
}

void cu__ready(struct cu__g *g)
{
    if (g->scope && cu__waits_for_others(&g->wait)) {
        cu__scope_busy(g);
    }
    if (EVENTS_ON(COPPER_EVENTS_OF_READY)) {
        cu__tell_ready(g);
    }
    if (likely(cu__g_apply(&g->state, CU__G_WAKE))) {
        cu__enqueue(g);
    }
}

struct cu__waiter *cu__waiter_init(struct cu__waiter *thread_one, void *value)
{
    struct cu__g *g = cu__g_self();
    struct cu__waiter *w = g ? &g->waiter : thread_one;
    w->g = g;
    w->race = NULL;
    w->value = value;
    w->result = 0;
    w->thread_wake = 0;
    w->is_timed = false;
    return w;
}

void cu__waiters_add(struct cu__waiters *list, struct cu__waiter *w)
{
    w->next = NULL;
    w->prev = list->last;
    if (list->last) {
        list->last->next = w;
    } else {
        store_relaxed(&list->first, w);
    }
    list->last = w;
    store_relaxed(&w->is_queued, true);
}

void cu__waiters_add_first(struct cu__waiters *list, struct cu__waiter *w)
{
    w->prev = NULL;
    w->next = list->first;
    if (list->first) {
        list->first->prev = w;
    } else {
        list->last = w;
    }
    store_relaxed(&list->first, w);
    store_relaxed(&w->is_queued, true);
}

static inline void take_out(struct cu__waiters *list, struct cu__waiter *w)
{
    cu_assert(w->is_queued);
    if (w->prev) {
        w->prev->next = w->next;
    } else {
        store_relaxed(&list->first, w->next);
    }
    if (w->next) {
        w->next->prev = w->prev;
    } else {
        list->last = w->prev;
    }
    /* the last access: a select whose wait has ended may go on without the list's lock */
    store_release(&w->is_queued, false);
}

void cu__waiters_remove(struct cu__waiters *list, struct cu__waiter *w)
{
    take_out(list, w);
}

bool cu__waiters_take(struct cu__waiters *list, struct cu__waiter *w)
{
    bool is_won = w->race == NULL || cu__race_win_by(w);
    take_out(list, w);
    return is_won;
}

struct cu__waiter *cu__waiters_pop(struct cu__waiters *list)
{
    struct cu__waiter *w = list->first;
    if (w) {
        bool is_won = likely(w->race == NULL) || cu__race_win_by(w);
        take_out(list, w);
        if (!is_won) {
            return cu__waiters_pop(list);
        }
    }
    return w;
}

enum { THREAD_WAITS = 0, THREAD_WOKEN = 1, THREAD_SLEEPS = 2 }; /* thread_wake */

static int wait_in_thread(struct cu__waiter *w, struct cu__lock *lock)
{
    uint32_t waits = THREAD_WAITS;
    cu__lock_drop(lock);
    if (cas_seq(&w->thread_wake, &waits, THREAD_SLEEPS)) {
        cu__thread_blocks();
    }
    /* pairs with the exchange in cu__wake: the result is there */
    while (load_acquire(&w->thread_wake) != THREAD_WOKEN) {
        cu__futex_wait(&w->thread_wake, THREAD_SLEEPS, COPPER_NO_DEADLINE);
    }
    return w->result;
}

int cu__wait(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock)
{
    struct cu__g *g = w->g;
    if (g == NULL) {
        return wait_in_thread(w, lock);
    }
    g->wait = *why;
    return cu__schedule(cu__m(), COPPER_AFTER_PARK, lock);
}

void cu__wake(struct cu__waiter *w)
{
    if (w->g) {
        if (likely(w->race == NULL) || cu__gate_won(w->race)) {
            cu__ready(w->g);
        }
        return;
    }
    uint32_t *word = w->race ? &w->race->thread_wake : &w->thread_wake;
    if (swap_seq(word, THREAD_WOKEN) == THREAD_SLEEPS) {
        cu__thread_is_woken();
    }
    /* the record may be gone by now; waking an address that nobody sleeps on does nothing */
    cu__futex_wake(word, 1);
}

void cu__chain_wake(struct cu__chain *chain)
{
    for (struct cu__waiter *w = chain->first, *next; w; w = next) {
        next = w->next; /* woken, it may be gone */
        cu__wake(w);
    }
}
