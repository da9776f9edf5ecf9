/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's atomic operations and its lock as steps of interleave.h. Included before
 * the code under test.
 *
 * Relaxed loads and stores are steps too with INTERLEAVE_RELAXED. They need not be where they are
 * of what only the owner writes, or are checked by a compare-and-swap later: such a step adds
 * orders that others show already.
 */
#ifndef COPPER_TEST_INTERLEAVE_ATOMICS_H
#define COPPER_TEST_INTERLEAVE_ATOMICS_H

#include "interleave.h"
#include "types.h"

#undef load_acquire
#undef load_seq
#undef store_release
#undef store_seq
#undef swap_seq
#undef cas_seq
#undef add_seq
#undef sub_seq
#define STEP(operation)                                                                            \
    __extension__({                                                                                \
        interleave_step();                                                                         \
        operation;                                                                                 \
    })
#define load_acquire(p)     STEP(__atomic_load_n((p), __ATOMIC_ACQUIRE))
#define load_seq(p)         STEP(__atomic_load_n((p), __ATOMIC_SEQ_CST))
#define store_release(p, v) STEP(__atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define store_seq(p, v)     STEP(__atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define swap_seq(p, v)      STEP(__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define add_seq(p, v)       STEP(__atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define sub_seq(p, v)       STEP(__atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST))
#define cas_seq(p, expected, v)                                                                    \
    STEP(__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST,                \
                                     __ATOMIC_RELAXED))
#ifdef INTERLEAVE_RELAXED
#undef load_relaxed
#undef store_relaxed
#define load_relaxed(p)     STEP(__atomic_load_n((p), __ATOMIC_RELAXED))
#define store_relaxed(p, v) STEP(__atomic_store_n((p), (v), __ATOMIC_RELAXED))
#endif

/* A thread that finds the lock taken waits for another's step. */
static inline void interleave_lock_take(struct cu__lock *lock)
{
    interleave_step();
    while (lock->word) {
        interleave_wait();
    }
    lock->word = 1;
}

static inline void interleave_lock_drop(struct cu__lock *lock)
{
    interleave_step();
    lock->word = 0;
}

#define cu__lock_take interleave_lock_take
#define cu__lock_drop interleave_lock_drop

#endif
