/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the mutex that parks.
 *
 * Design: one word: LOCKED, WAITERS while the list is not empty, and who holds it, for inspectors
 * and reports. Uncontended, locking is a compare-and-swap and unlocking another, and programs have
 * both compiled in (copper/sync_inline.h): what is here for that case says the same. After the
 * store that unlocks it, somebody else may lock, unlock and free the mutex, so nothing of it is
 * touched then (sync_int.h).
 *
 * Who unlocks takes the first waiter out and wakes it, but leaves the mutex free: whoever runs may
 * take it, because handing it to a coroutine that must first be scheduled makes every lock cost a
 * switch. A waiter that lost goes back to the head of the list; one that has waited for more than
 * STARVING_NS is handed the mutex without it becoming free.
 *
 * Blame: each stay in the list is told once, to the unlock that ended it, so that what all holders
 * are blamed for is what all waiters waited.
 */
#define COPPER_NO_INLINE
#include <copper/sync.h>

#include "arch.h"
#include "clock.h"
#include "events.h"
#include "report.h"
#include "schedule.h"
#include "sync_int.h"

#define LOCKED      ((uint64_t)COPPER_MUTEX_LOCKED)
#define WAITERS     ((uint64_t)COPPER_MUTEX_WAITERS)
#define STARVING_NS COPPER_MS

enum { TRY_AGAIN = 0, HANDED_OVER = 1 }; /* results of a wait */

static struct cu__mutex *inside(cu_mutex *mu)
{
    return (struct cu__mutex *)(void *)mu;
}

static uint64_t locked_by(cu_id id)
{
    return (uint64_t)id << COPPER_MUTEX_ID_SHIFT | LOCKED;
}

static uint64_t mine(void)
{
    return locked_by(cu__running_id());
}

bool cu_mutex_try_lock(cu_mutex *public)
{
    struct cu__mutex *mu = inside(public);
    uint64_t word = load_relaxed(&mu->word);
    return !(word & LOCKED) && cas_acquire(&mu->word, &word, word | mine());
}

/* Takes the mutex if it is free, else says that somebody waits. Called with the stripe. */
static bool take_or_announce(struct cu__mutex *mu)
{
    uint64_t word = load_relaxed(&mu->word);
    for (;;) {
        uint64_t wanted = word | (word & LOCKED ? WAITERS : mine());
        if (cas_acquire(&mu->word, &word, wanted)) {
            return !(word & LOCKED);
        }
    }
}

/* One stay in the list; who was there before goes to the head of it, and says with `value` whether
 * it starves. Gives the stripe back. */
static int wait_in_list(struct cu__mutex *mu, struct cu__lock *stripe, int64_t since_ns,
                        bool was_there, cu_ctx *ctx)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {
        .reason = COPPER_WAIT_MUTEX_LOCK, .kind = COPPER_OBJECT_MUTEX, .object = mu};
    self->tag = since_ns;
    if (was_there) {
        self->tag = cu_now();
        self->value = self->tag - since_ns > STARVING_NS ? self : NULL;
        cu__waiters_add_first(&mu->waiters, self);
    } else {
        cu__waiters_add(&mu->waiters, self);
    }
    return cu__wait_ctx(self, &why, stripe, &mu->waiters, ctx);
}

/* One that was woken and gives up has looked whether the mutex is free; who holds it wakes others.
 */
static noinline int lock_slowly(struct cu__mutex *mu, cu_ctx *ctx)
{
    struct cu__lock *stripe = cu__stripe(mu);
    int64_t since_ns = cu_now();
    for (bool was_there = false;; was_there = true) {
        cu__lock_take(stripe);
        if (take_or_announce(mu)) {
            cu__lock_drop(stripe);
            break;
        }
        int result = wait_in_list(mu, stripe, since_ns, was_there, ctx);
        if (result < 0) {
            return result;
        }
        if (result == HANDED_OVER) {
            break;
        }
    }
    if (EVENT_ON(CONTENDED)) {
        int64_t now = cu_now();
        cu__emit_contended(now, cu_self(), mu, now - since_ns);
    }
    return 0;
}

/* Without the list. */
static inline bool lock_fast(struct cu__mutex *mu)
{
    uint64_t word = 0;
    return likely(cas_acquire(&mu->word, &word, mine()));
}

void cu_mutex_lock(cu_mutex *public)
{
    if (!lock_fast(inside(public))) {
        lock_slowly(inside(public), NULL);
        __asm__ volatile(""); /* no jump: profiles of waits show this function */
    }
}
COPPER_CALLED(cu_mutex_lock);

int cu_mutex_lock_ctx(cu_ctx *ctx, cu_mutex *public)
{
    return lock_fast(inside(public)) ? 0 : lock_slowly(inside(public), ctx);
}

/* Takes the first waiter out, to be woken; *word: what the mutex is from now on. Called with the
 * stripe. */
static struct cu__waiter *pass_on(struct cu__mutex *mu, uint64_t *word, int64_t *waited_ns)
{
    struct cu__waiter *w = cu__waiters_pop(&mu->waiters);
    *word = mu->waiters.first ? WAITERS : 0;
    if (w) {
        *waited_ns = cu_now() - w->tag;
        if (w->value != NULL || *waited_ns > STARVING_NS) {
            w->result = HANDED_OVER;
            *word |= locked_by(w->g ? w->g->id : 0);
        }
    }
    return w;
}

static noinline void unlock_slowly(struct cu__mutex *mu)
{
    if (unlikely(!(load_relaxed(&mu->word) & LOCKED))) {
        cu__misuse("unlock of a mutex at %p that is not locked", (void *)mu);
    }
    struct cu__lock *stripe = cu__stripe(mu);
    int64_t waited_ns = 0;
    uint64_t word;
    cu__lock_take(stripe);
    struct cu__waiter *w = pass_on(mu, &word, &waited_ns);
    /* pairs with the compare-and-swap of the next who locks; the last touch of the mutex */
    store_release(&mu->word, word);
    cu__lock_drop(stripe);
    if (w) {
        cu__wake(w);
        if (EVENT_ON(RELEASED)) {
            cu__emit_released(cu_now(), cu_self(), mu, waited_ns);
        }
    }
}

void cu_mutex_unlock(cu_mutex *public)
{
    struct cu__mutex *mu = inside(public);
    uint64_t word = load_relaxed(&mu->word);
    if (unlikely((word & (LOCKED | WAITERS)) != LOCKED || !cas_release(&mu->word, &word, 0))) {
        unlock_slowly(mu);
    }
}
COPPER_CALLED(cu_mutex_unlock);

_Static_assert(sizeof(struct cu__mutex) <= sizeof(cu_mutex), "the public size is fixed");
_Static_assert(offsetof(struct cu__mutex, word) == 0, "programs know where it is");
