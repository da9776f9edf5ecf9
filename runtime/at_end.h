/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what must still be done for a call that its coroutine does not return from, because the
 * function it called ended the coroutine (cu_exit).
 *
 * Design: a chain of records on the coroutine's own stack, the latest first, run by the coroutine
 * as the last thing before it ends, while its stack is still there. A plain thread has none: it
 * returns from its calls.
 */
#ifndef COPPER_RUNTIME_AT_END_H
#define COPPER_RUNTIME_AT_END_H

#include "tls.h"

struct cu__at_end {
    void (*run)(struct cu__at_end *at_end);
    struct cu__at_end *next;
};

static inline void cu__at_end_push(struct cu__at_end *at_end)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        at_end->next = g->at_end;
        g->at_end = at_end;
        g->owes = true;
    }
}

/* The latest that the caller pushed. */
static inline void cu__at_end_pop(struct cu__at_end *at_end)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        g->at_end = at_end->next;
        g->owes = at_end->next != NULL;
    }
}

/* By the ending coroutine. */
static inline void cu__at_end_run(struct cu__g *g)
{
    while (unlikely(g->owes)) {
        struct cu__at_end *latest = g->at_end;
        cu__at_end_pop(latest);
        latest->run(latest);
    }
}

#endif
