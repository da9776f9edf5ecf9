/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see runq.h.
 */
#include "runq.h"

/* Adds a chain of `count` linked coroutines. */
static void global_put_chain(struct cu__g *first, struct cu__g *last, uint32_t count)
{
    struct cu__sched *s = &cu__sched;
    last->next = NULL;
    cu__lock_take(&s->lock);
    if (s->global_last) {
        s->global_last->next = first;
    } else {
        s->global_first = first;
    }
    s->global_last = last;
    /* pairs with the look at the global list in find_work.c, after its own barrier */
    store_seq(&s->global_count, s->global_count + count);
    cu__lock_drop(&s->lock);
}

void cu__global_put(struct cu__g *g)
{
    global_put_chain(g, g, 1);
}

struct cu__g *cu__global_get(struct cu__p *p, uint32_t max)
{
    struct cu__sched *s = &cu__sched;
    if (load_relaxed(&s->global_count) == 0) {
        return NULL;
    }
    cu__lock_take(&s->lock);
    uint32_t count = s->global_count / load_relaxed(&s->procs) + 1;
    count = count < s->global_count ? count : s->global_count;
    count = count < max ? count : max;
    struct cu__g *chain = s->global_first, *g = chain;
    for (uint32_t i = 0; i < count; i++) {
        g = s->global_first;
        s->global_first = g->next;
    }
    if (s->global_first == NULL) {
        s->global_last = NULL;
    }
    store_relaxed(&s->global_count, s->global_count - count);
    cu__lock_drop(&s->lock);
    if (count == 0) {
        return NULL;
    }
    struct cu__g *next = chain->next;
    for (uint32_t i = 1; i < count; i++) {
        struct cu__g *after = next->next;
        cu__runq_put(p, next);
        next = after;
    }
    return chain;
}

void cu__runq_drain(struct cu__p *p)
{
    struct cu__g *first = cu__runq_get(p), *last = first, *g;
    uint32_t count = first != NULL;
    while (first && (g = cu__runq_get(p)) != NULL) {
        last->next = g;
        last = g;
        count++;
    }
    if (first) {
        global_put_chain(first, last, count);
    }
}

/* Moves the older half of a full ring and g to the global list. False when thieves made room. */
static noinline bool overflow(struct cu__p *p, struct cu__g *g, uint32_t head)
{
    struct cu__g *batch[COPPER_RUNQ_SIZE / 2 + 1];
    uint32_t half = COPPER_RUNQ_SIZE / 2;
    for (uint32_t i = 0; i < half; i++) {
        batch[i] = load_relaxed(&p->ring[(head + i) % COPPER_RUNQ_SIZE]);
    }
    if (!cas_seq(&p->head, &head, head + half)) {
        return false;
    }
    batch[half] = g;
    for (uint32_t i = 0; i < half; i++) {
        batch[i]->next = batch[i + 1];
    }
    global_put_chain(batch[0], batch[half], half + 1);
    return true;
}

noinline void cu__runq_put_slowly(struct cu__p *p, struct cu__g *g)
{
    uint32_t head;
    while (!cu__runq_try_put(p, g, &head) && !overflow(p, g, head)) {
    }
}

bool cu__runq_is_empty(struct cu__p *p)
{
    /* runnext may move to the ring between the two looks: look at tail again */
    for (;;) {
        uint32_t head = load_seq(&p->head), tail = load_seq(&p->tail);
        struct cu__g *next = load_seq(&p->runnext);
        if (tail == load_seq(&p->tail)) {
            return head == tail && next == NULL;
        }
    }
}

uint32_t cu__runq_length(struct cu__p *p)
{
    uint32_t head = load_relaxed(&p->head), length = load_relaxed(&p->tail) - head;
    length = length <= COPPER_RUNQ_SIZE ? length : 0; /* not of one moment */
    return length + (load_relaxed(&p->runnext) != NULL);
}

/* Copies half of victim's ring to the end of p's, as far as there is room, without publishing it.
 * Returns how many. A thief's ring is mostly empty, but not always: timers that it ran on its way
 * may have filled it. */
static uint32_t grab(struct cu__p *p, struct cu__p *victim)
{
    uint32_t room = COPPER_RUNQ_SIZE - (p->tail - load_acquire(&p->head));
    for (;;) {
        uint32_t head = load_acquire(&victim->head);
        uint32_t tail = load_acquire(&victim->tail); /* pairs with the store in put */
        uint32_t count = tail - head;
        count -= count / 2;
        if (count == 0) {
            return 0;
        }
        if (count > COPPER_RUNQ_SIZE / 2) {
            continue; /* head and tail were not of one moment */
        }
        count = count < room ? count : room;
        for (uint32_t i = 0; i < count; i++) {
            struct cu__g *g = load_relaxed(&victim->ring[(head + i) % COPPER_RUNQ_SIZE]);
            store_relaxed(&p->ring[(p->tail + i) % COPPER_RUNQ_SIZE], g);
        }
        if (cas_seq(&victim->head, &head, head + count)) {
            return count;
        }
    }
}

struct cu__g *cu__runq_steal(struct cu__p *p, struct cu__p *victim, bool with_next, uint32_t *count)
{
    uint32_t got = grab(p, victim);
    *count = got;
    if (got) {
        uint32_t tail = p->tail + got - 1;
        struct cu__g *g = load_relaxed(&p->ring[tail % COPPER_RUNQ_SIZE]);
        store_release(&p->tail, tail);
        return g;
    }
    struct cu__g *next = with_next ? load_relaxed(&victim->runnext) : NULL;
    if (next && cas_seq(&victim->runnext, &next, NULL)) {
        *count = 1;
        return next;
    }
    return NULL;
}
