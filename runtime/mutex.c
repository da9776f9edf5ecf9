/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the mutex that parks.
 *
 * Design: one word: LOCKED, and WAITERS while the list is not empty. Uncontended, locking is a
 * compare-and-swap and unlocking another. The list is guarded by a lock from the striped table and
 * not by one in the mutex: after the store that unlocks it, somebody else may lock, unlock and free
 * the mutex, so nothing of it may be touched then.
 *
 * Who unlocks takes the first waiter out and wakes it, but leaves the mutex free: whoever runs may
 * take it, because handing it to a coroutine that must first be scheduled makes every lock cost a
 * switch. A waiter that lost goes back to the head of the list; one that has waited for more than
 * STARVING_NS is handed the mutex without it becoming free.
 */
#include <copper/sync.h>
#include <string.h>

#include "clock.h"
#include "events.h"
#include "report.h"
#include "schedule.h"
#include "sync_int.h"
#include "tls.h"

#define LOCKED      1u
#define WAITERS     2u
#define STARVING_NS COPPER_MS

enum { TRY_AGAIN = 0, HANDED_OVER = 1 }; /* results of a wait */

static struct cu__mutex *inside(cu_mutex *mu)
{
    return (struct cu__mutex *)(void *)mu;
}

static void set_owner(struct cu__mutex *mu)
{
    store_relaxed(&mu->owner, cu_self());
}

bool cu_mutex_try_lock(cu_mutex *public)
{
    struct cu__mutex *mu = inside(public);
    uint32_t word = load_relaxed(&mu->word);
    if ((word & LOCKED) || !__atomic_compare_exchange_n(&mu->word, &word, word | LOCKED, false,
                                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return false;
    }
    set_owner(mu);
    return true;
}

/* Takes the mutex if it is free, else says that somebody waits. Called with the stripe. */
static bool take_or_announce(struct cu__mutex *mu)
{
    uint32_t word = load_relaxed(&mu->word);
    for (;;) {
        uint32_t wanted = word & LOCKED ? word | WAITERS : word | LOCKED;
        if (__atomic_compare_exchange_n(&mu->word, &word, wanted, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
            return !(word & LOCKED);
        }
    }
}

static noinline void lock_slowly(struct cu__mutex *mu)
{
    struct cu__lock *stripe = cu__stripe(mu);
    struct cu__waiter thread_one, *self;
    int64_t since_ns = cu_now();
    struct cu__wait why = {
        .reason = COPPER_WAIT_MUTEX_LOCK, .kind = COPPER_OBJECT_MUTEX, .object = mu};
    for (bool is_first_time = true;; is_first_time = false) {
        cu__lock_take(stripe);
        if (take_or_announce(mu)) {
            cu__lock_drop(stripe);
            break;
        }
        self = cu__waiter_init(&thread_one, NULL);
        self->tag = since_ns;
        if (is_first_time) {
            cu__waiters_add(&mu->waiters, self);
        } else {
            cu__waiters_add_first(&mu->waiters, self);
        }
        if (cu__wait(self, &why, stripe) == HANDED_OVER) {
            break;
        }
    }
    if (EVENT_ON(CONTENDED)) {
        cu__emit_contended(cu_self(), mu, cu_now() - since_ns);
    }
}

void cu_mutex_lock(cu_mutex *public)
{
    struct cu__mutex *mu = inside(public);
    uint32_t word = 0;
    if (unlikely(!__atomic_compare_exchange_n(&mu->word, &word, LOCKED, false, __ATOMIC_ACQUIRE,
                                              __ATOMIC_RELAXED))) {
        lock_slowly(mu);
    }
    set_owner(mu);
}

static noinline void unlock_slowly(struct cu__mutex *mu)
{
    struct cu__lock *stripe = cu__stripe(mu);
    cu__lock_take(stripe);
    struct cu__waiter *w = cu__waiters_pop(&mu->waiters);
    uint32_t waiters = mu->waiters.first ? WAITERS : 0, locked = 0;
    if (w && cu_now() - w->tag > STARVING_NS) {
        w->result = HANDED_OVER;
        locked = LOCKED;
    }
    /* pairs with the compare-and-swap of the next who locks; the last touch of the mutex */
    store_release(&mu->word, locked | waiters);
    cu__lock_drop(stripe);
    if (w) {
        int64_t waited_ns = EVENT_ON(RELEASED) ? cu_now() - w->tag : 0;
        cu__wake(w);
        if (waited_ns) {
            cu__emit_released(cu_self(), mu, waited_ns);
        }
    }
}

void cu_mutex_unlock(cu_mutex *public)
{
    struct cu__mutex *mu = inside(public);
    uint32_t word = load_relaxed(&mu->word);
    if (unlikely(!(word & LOCKED))) {
        cu__misuse("unlock of a mutex at %p that is not locked", (void *)mu);
    }
    store_relaxed(&mu->owner, 0);
    word = LOCKED;
    if (unlikely(!__atomic_compare_exchange_n(&mu->word, &word, 0, false, __ATOMIC_RELEASE,
                                              __ATOMIC_RELAXED))) {
        unlock_slowly(mu);
    }
}

_Static_assert(sizeof(struct cu__mutex) <= sizeof(cu_mutex), "the public size is fixed");
