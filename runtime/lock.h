/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the lock inside the runtime: held for tens of nanoseconds, also across one switch.
 *
 * Design: a word taken by exchange and given back by a plain store, so that a pair costs one locked
 * instruction; that is most of the price of a buffered channel message. A futex would need a second
 * one to learn of waiters. Who meets a held lock spins, then lends its CPU, then sleeps for short
 * times (a holder that the kernel took off its CPU must get it back, also on one CPU and below
 * real-time threads).
 *
 * Order, outermost first: channel or stripe, scope, timer heap, scheduler, registry, stacks.
 * No lock may be taken in a signal handler.
 */
#ifndef COPPER_RUNTIME_LOCK_H
#define COPPER_RUNTIME_LOCK_H

#include "base.h"

struct cu__lock {
    uint32_t word; /* any: atomic; 1 while held */
};

noinline void cu__lock_wait(struct cu__lock *lock);

static inline void cu__lock_take(struct cu__lock *lock)
{
    if (unlikely(__atomic_exchange_n(&lock->word, 1, __ATOMIC_ACQUIRE))) {
        cu__lock_wait(lock);
    }
}

static inline void cu__lock_drop(struct cu__lock *lock)
{
    store_release(&lock->word, 0);
}

/* The lock for the wait list of an object that its user may free as soon as it is unlocked: one of
 * a fixed table, chosen by address, so that nothing of the object is touched after the release. */
struct cu__lock *cu__stripe(const void *address);
void cu__lock_after_fork(void);

#endif
