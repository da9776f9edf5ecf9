/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: whose a P is, and how it is taken from a thread that does not come back.
 *
 * The owner word is nobody, M, or "retaking M". A P that is nobody's is in the idle list, or in the
 * hands of who just gave it up or took it away and hands it on.
 *
 *        the thread M, entering the runtime      sysmon, taking the P away
 *     1. stores inside = 1                    1. compare-and-swap: M -> retaking M
 *        (compiler barrier only)              2. membarrier: all threads pass a full barrier
 *     2. loads the owner word                 3. loads inside
 *        M: it is ours, go on                    0: commits: retaking M -> nobody
 *        retaking M: compare-and-swap to M       1: aborts:  retaking M -> M
 *        else: it is lost
 *     3. touches the P
 *     4. stores inside = 0
 *
 * Take the moment of the full barrier on M's thread. If its first step lies after it, so does the
 * second, which sees "retaking M" or what came of it. If its first step lies before it, sysmon sees
 * inside, unless the fourth was done too. In both cases either the P is left alone, or the thread
 * competes for the word, and exactly one of commit and reclaim wins. The barrier is paid by sysmon;
 * the thread pays two stores and a load, without a locked instruction.
 *
 * Giving up is possible in both states in which the P is ours.
 *
 * Design: the transitions are pure functions, so that a test can enumerate all interleavings.
 */
#ifndef COPPER_RUNTIME_OWNERSHIP_H
#define COPPER_RUNTIME_OWNERSHIP_H

#include "types.h"

#define CU__RETAKING ((uintptr_t)1) /* an M is aligned */

enum cu__own_event {
    CU__OWN_TAKE,    /* m takes what nobody has */
    CU__OWN_GIVE,    /* m, inside, gives it up */
    CU__OWN_RECLAIM, /* m, inside, insists. go: it is ours; else: lost */
    CU__OWN_MARK,    /* sysmon begins to take it from m */
    CU__OWN_COMMIT,  /* sysmon saw m outside. go: it is sysmon's to hand on */
    CU__OWN_ABORT,   /* sysmon saw m inside */
};

struct cu__own_step {
    uintptr_t word;
    bool go;
};

static inline struct cu__own_step cu__own_next(uintptr_t old, enum cu__own_event event, uintptr_t m)
{
    bool is_marked = old == (m | CU__RETAKING), is_plain = old == m;
    switch (event) {
    case CU__OWN_TAKE:
        return old == 0 ? (struct cu__own_step){m, true} : (struct cu__own_step){old, false};
    case CU__OWN_GIVE:
        return is_plain || is_marked ? (struct cu__own_step){0, true}
                                     : (struct cu__own_step){old, false};
    case CU__OWN_RECLAIM:
        return is_plain || is_marked ? (struct cu__own_step){m, true}
                                     : (struct cu__own_step){old, false};
    case CU__OWN_MARK:
        return is_plain ? (struct cu__own_step){m | CU__RETAKING, true}
                        : (struct cu__own_step){old, false};
    case CU__OWN_COMMIT:
        return is_marked ? (struct cu__own_step){0, true} : (struct cu__own_step){old, false};
    case CU__OWN_ABORT:
        return is_marked ? (struct cu__own_step){m, true} : (struct cu__own_step){old, false};
    }
    return (struct cu__own_step){old, false};
}

/* Applies an event; true: go. */
static inline bool cu__own_apply(struct cu__p *p, enum cu__own_event event, struct cu__m *m)
{
    uintptr_t old = load_seq(&p->owner);
    struct cu__own_step step;
    do {
        step = cu__own_next(old, event, (uintptr_t)m);
        if (!step.go || step.word == old) {
            return step.go;
        }
    } while (!cas_seq(&p->owner, &old, step.word));
    return true;
}

/* The M that has p, also while it is being retaken; NULL: nobody. */
static inline struct cu__m *cu__owner(const struct cu__p *p)
{
    return (struct cu__m *)(load_acquire(&p->owner) & ~CU__RETAKING);
}

/* supply.c */
bool cu__reclaim(struct cu__m *m);

/* A coroutine's thread enters the scheduler's code. True: m->p is ours until cu__leave. False: it
 * was lost; cu__leave is due all the same. */
static inline bool cu__enter(struct cu__m *m)
{
    store_relaxed(&m->inside, 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return likely(load_acquire(&m->p->owner) == (uintptr_t)m) || cu__reclaim(m);
}

static inline void cu__leave(struct cu__m *m)
{
    store_release(&m->inside, 0); /* pairs with sysmon's load: what we did to the P is done */
}

#endif
