/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: queues of runnable coroutines: a bounded ring with a runnext slot for each P, and one
 * global list.
 *
 * Concurrency: only the owner of a P puts into its ring (tail); the owner and thieves take (head,
 * by CAS). runnext changes by atomic exchange. The global list has the scheduler's lock.
 */
#ifndef COPPER_RUNTIME_RUNQ_H
#define COPPER_RUNTIME_RUNQ_H

#include "types.h"

/* Puts g at the end of p's ring; false, with the head it saw, when it is full. */
static inline bool cu__runq_try_put(struct cu__p *p, struct cu__g *g, uint32_t *head)
{
    *head = load_acquire(&p->head); /* pairs with the CAS of who took: slots are free */
    uint32_t tail = p->tail;
    if (unlikely(tail - *head >= COPPER_RUNQ_SIZE)) {
        return false;
    }
    store_relaxed(&p->ring[tail % COPPER_RUNQ_SIZE], g);
    store_release(&p->tail, tail + 1); /* pairs with the load of tail in grab */
    return true;
}

void cu__runq_put_slowly(struct cu__p *p, struct cu__g *g);

/* The same; a full ring moves its older half to the global list first. */
static inline void cu__runq_put(struct cu__p *p, struct cu__g *g)
{
    uint32_t head;
    if (unlikely(!cu__runq_try_put(p, g, &head))) {
        cu__runq_put_slowly(p, g);
    }
}

/* Puts g into runnext; a G that was there moves to the end of the ring. A full barrier lies between
 * this and what the caller reads afterwards. */
static inline void cu__runq_put_next(struct cu__p *p, struct cu__g *g)
{
    struct cu__g *old = swap_seq(&p->runnext, g);
    if (old) {
        cu__runq_put(p, old);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

/* Asks for what the next ones from `at` on need. With several it is the second whose lines are
 * asked for: those of the first then are there, and say where its stack is. (With stale entries, or
 * lines that are still on their way from another processor, asking for the stack costs more than it
 * saves.) */
static inline void cu__runq_prefetch(const struct cu__p *p, uint32_t at, uint32_t tail)
{
    struct cu__g *g = load_relaxed(&p->ring[at % COPPER_RUNQ_SIZE]);
    if (tail - at < 2) {
        cu__g_prefetch(g);
        return;
    }
    cu__g_prefetch(load_relaxed(&p->ring[(at + 1) % COPPER_RUNQ_SIZE]));
    if (load_relaxed(&g->stack)) {
        cu__prefetch_to_write((uintptr_t)load_relaxed(&g->context.sp));
    }
}

/* runnext, or the oldest of the ring; NULL: both empty. */
static inline struct cu__g *cu__runq_get(struct cu__p *p)
{
    struct cu__g *next = load_relaxed(&p->runnext);
    if (next && cas_seq(&p->runnext, &next, NULL)) {
        return next;
    }
    uint32_t head = load_acquire(&p->head), tail = p->tail;
    while (head != tail) {
        struct cu__g *g = load_relaxed(&p->ring[head % COPPER_RUNQ_SIZE]);
        if (cas_seq(&p->head, &head, head + 1)) {
            cu__runq_prefetch(p, head + 1, tail);
            return g;
        }
    }
    return NULL;
}

/* A glance: true also for a moving queue. */
bool cu__runq_is_empty(struct cu__p *p);
/* How many it holds, at a glance. */
uint32_t cu__runq_length(struct cu__p *p);
/* Moves half of victim's ring (with_next: else its runnext) to p's; returns one of them to run, and
 * their number through count. NULL when there is nothing. */
struct cu__g *cu__runq_steal(struct cu__p *p, struct cu__p *victim, bool with_next,
                             uint32_t *count);

/* Moves all of p's to the global list. p is the caller's. */
void cu__runq_drain(struct cu__p *p);

void cu__global_put(struct cu__g *g);
/* A fair share of the global list: one to run, others into p's ring. `max` 1: just one. */
struct cu__g *cu__global_get(struct cu__p *p, uint32_t max);

#endif
