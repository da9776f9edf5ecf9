/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the transitions of a G's state word (types.h draws them).
 *
 * Design: each is a pure function from the old word to the new one and to what the caller has to do
 * next; the wrappers apply it by compare-and-swap. So the protocol can be enumerated step by step
 * in a test.
 *
 * Invariants: a G that was made ready once is put into a queue once: by the waker, or, when the
 * waker met a claim, by who releases the claim. The same for a worker that met a claimed G.
 */
#ifndef COPPER_RUNTIME_GSTATE_H
#define COPPER_RUNTIME_GSTATE_H

#include "base.h"

enum {
    CU__G_DEAD = 0,
    CU__G_RUNNABLE = 1,
    CU__G_RUNNING = 2,
    CU__G_WAITING = 3,
    CU__G_STATE_MASK = 3,
    CU__G_CLAIMED = 4,
    CU__G_PENDING = 8,
};

enum cu__g_event {
    CU__G_WAKE,    /* somebody readies a waiting G. go: put it into a queue */
    CU__G_RUN,     /* a worker took it out of a queue. go: run it; else forget it */
    CU__G_CLAIM,   /* an inspector wants it still. go: it is */
    CU__G_RELEASE, /* the inspector is done. go: put it into a queue */
};

struct cu__g_step {
    uint32_t word;
    bool is_valid; /* false: this event cannot happen in this state */
    bool go;
};

static inline struct cu__g_step cu__g_next(uint32_t old, enum cu__g_event event)
{
    uint32_t state = old & CU__G_STATE_MASK;
    bool is_claimed = old & CU__G_CLAIMED, is_pending = old & CU__G_PENDING;
    switch (event) {
    case CU__G_WAKE:
        if (state != CU__G_WAITING || is_pending) {
            return (struct cu__g_step){old, false, false};
        }
        return is_claimed ? (struct cu__g_step){old | CU__G_PENDING, true, false}
                          : (struct cu__g_step){CU__G_RUNNABLE, true, true};
    case CU__G_RUN:
        if (state != CU__G_RUNNABLE || is_pending) {
            return (struct cu__g_step){old, false, false};
        }
        return is_claimed ? (struct cu__g_step){old | CU__G_PENDING, true, false}
                          : (struct cu__g_step){CU__G_RUNNING, true, true};
    case CU__G_CLAIM:
        if (is_claimed || (state != CU__G_RUNNABLE && state != CU__G_WAITING)) {
            return (struct cu__g_step){old, true, false};
        }
        return (struct cu__g_step){old | CU__G_CLAIMED, true, true};
    case CU__G_RELEASE:
        if (!is_claimed) {
            return (struct cu__g_step){old, false, false};
        }
        return is_pending ? (struct cu__g_step){CU__G_RUNNABLE, true, true}
                          : (struct cu__g_step){state, true, false};
    }
    return (struct cu__g_step){old, false, false};
}

/* Applies an event; true: go. */
static inline bool cu__g_apply(uint32_t *word, enum cu__g_event event)
{
    uint32_t old = load_relaxed(word);
    struct cu__g_step step;
    do {
        step = cu__g_next(old, event);
        cu_assert(step.is_valid);
        if (step.word == old) {
            return step.go;
        }
    } while (!cas_seq(word, &old, step.word));
    return step.go;
}

#endif
