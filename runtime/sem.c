/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the weighted semaphore.
 *
 * Design: one word: the free units, and WAITERS. While nobody waits, each call is one
 * compare-and-swap on it. With WAITERS set, units are taken only with the stripe, by those who give
 * units back, on behalf of the first waiter, and of no other before it. So nobody is passed.
 *
 * Invariant: WAITERS changes only with the stripe, and is set while the list is not empty.
 */
#define COPPER_NO_INLINE
#include <copper/sync.h>
#include <errno.h>

#include "clock.h"
#include "events.h"
#include "report.h"
#include "schedule.h"
#include "sync_int.h"
#include "tls.h"

#define WAITERS  ((uint64_t)1)
#define UNITS(n) ((uint64_t)(n) << 1)

/* What a waiter asks for; its value points here. */
struct asked {
    int64_t units, since_ns;
};

static struct cu__sem *inside(cu_sem *sem)
{
    return (struct cu__sem *)(void *)sem;
}

void cu_sem_init(cu_sem *sem, int64_t n)
{
    if (n < 1 || n > COPPER_SEM_MAX) {
        cu__misuse("cu_sem_init of the semaphore at %p with %lld units", (void *)sem, (long long)n);
    }
    *sem = (cu_sem)COPPER_SEM_INIT(n);
}

int64_t cu_sem_units(const cu_sem *sem)
{
    return cu__sem_units(load_relaxed(&((const struct cu__sem *)(const void *)sem)->word));
}

static bool is_possible(const struct cu__sem *sem, int64_t n)
{
    return n >= 0 && n <= COPPER_SEM_MAX && (sem->limit == 0 || (uint64_t)n <= sem->limit);
}

int cu_sem_try_acquire(cu_sem *public, int64_t n)
{
    struct cu__sem *sem = inside(public);
    if (unlikely(!is_possible(sem, n))) {
        return -EINVAL;
    }
    uint64_t word = load_relaxed(&sem->word);
    while (!(word & WAITERS) && word >= UNITS(n)) {
        if (cas_acquire(&sem->word, &word, word - UNITS(n))) {
            return 0;
        }
    }
    return -EAGAIN;
}

/* Takes n units if there are enough and nobody is before the caller, else says that somebody
 * waits. Called with the stripe. */
static bool take_or_announce(struct cu__sem *sem, int64_t n)
{
    uint64_t word = load_relaxed(&sem->word), wanted;
    bool is_there;
    do {
        uint64_t units = word & ~WAITERS;
        is_there = units >= UNITS(n) && sem->waiters.first == NULL;
        wanted = is_there ? units - UNITS(n) : word | WAITERS;
    } while (!cas_acquire(&sem->word, &word, wanted));
    return is_there;
}

static noinline void release_slowly(struct cu__sem *sem, int64_t n);

static noinline int acquire_slowly(struct cu__sem *sem, int64_t n, cu_ctx *ctx)
{
    struct cu__lock *stripe = cu__stripe(sem);
    struct asked asked = {.units = n, .since_ns = cu_now()};
    struct cu__waiter thread_one, *self;
    struct cu__wait why = {
        .reason = COPPER_WAIT_SEM_ACQUIRE, .kind = COPPER_OBJECT_SEM, .object = sem};
    cu__lock_take(stripe);
    if (take_or_announce(sem, n)) {
        cu__lock_drop(stripe);
        return 0;
    }
    self = cu__waiter_init(&thread_one, &asked);
    cu__waiters_add(&sem->waiters, self);
    int result = cu__wait_ctx(self, &why, stripe, &sem->waiters, ctx);
    if (result < 0) {
        release_slowly(sem, 0); /* others may have waited only behind it */
        return result;
    }
    if (EVENT_ON(CONTENDED)) {
        int64_t now = cu_now();
        cu__emit_contended(now, cu_self(), sem, now - asked.since_ns);
    }
    return 0;
}

int cu_sem_acquire_ctx(cu_ctx *ctx, cu_sem *public, int64_t n)
{
    int error = cu_sem_try_acquire(public, n);
    return unlikely(error == -EAGAIN) ? acquire_slowly(inside(public), n, ctx) : error;
}

int cu_sem_acquire(cu_sem *sem, int64_t n)
{
    return cu_sem_acquire_ctx(NULL, sem, n);
}

/* The word with n units more; aborts when that is too many. */
static uint64_t added(struct cu__sem *sem, uint64_t word, int64_t n)
{
    uint64_t most = sem->limit ? sem->limit : COPPER_SEM_MAX;
    uint64_t units = (uint64_t)cu__sem_units(word) + (uint64_t)n;
    if (unlikely(n < 0 || units > most)) {
        cu__misuse("release of %lld units to the semaphore at %p, which has %lld of %llu",
                   (long long)n, (void *)sem, (long long)cu__sem_units(word),
                   (unsigned long long)most);
    }
    return word + UNITS(n);
}

/* Gives n units to it and what there is to the first waiters. Nobody else changes the word of a
 * semaphore with WAITERS set. */
static noinline void release_slowly(struct cu__sem *sem, int64_t n)
{
    struct cu__lock *stripe = cu__stripe(sem);
    struct cu__chain chain;
    int64_t now_ns = cu_now(), waited_ns = 0;
    cu__chain_init(&chain);
    cu__lock_take(stripe);
    uint64_t word = load_relaxed(&sem->word), wanted;
    while (!(word & WAITERS)) {
        if (cas_release(&sem->word, &word, added(sem, word, n))) {
            cu__lock_drop(stripe);
            return;
        }
    }
    wanted = added(sem, word, n) & ~WAITERS;
    for (struct cu__waiter *w; (w = sem->waiters.first);) {
        const struct asked *asked = w->value;
        if (UNITS(asked->units) > wanted) {
            break;
        }
        if (cu__waiters_take(&sem->waiters, w)) {
            wanted -= UNITS(asked->units);
            waited_ns += now_ns - asked->since_ns;
            cu__chain_add(&chain, w);
        }
    }
    /* pairs with the compare-and-swap of the next who takes some; the last touch */
    store_release(&sem->word, wanted | (sem->waiters.first ? WAITERS : 0));
    cu__lock_drop(stripe);
    if (chain.first) {
        cu__chain_wake(&chain);
        if (EVENT_ON(RELEASED)) {
            cu__emit_released(cu_now(), cu_self(), sem, waited_ns);
        }
    }
}

void cu_sem_release(cu_sem *public, int64_t n)
{
    struct cu__sem *sem = inside(public);
    uint64_t word = load_relaxed(&sem->word);
    do {
        if (unlikely(word & WAITERS)) {
            release_slowly(sem, n);
            return;
        }
    } while (!cas_release(&sem->word, &word, added(sem, word, n)));
}
COPPER_CALLED(cu_sem_release);

_Static_assert(sizeof(struct cu__sem) <= sizeof(cu_sem), "the public size is fixed");
_Static_assert(UNITS(1) == (uint64_t)1 << 1, "as COPPER_SEM_INIT has it");
