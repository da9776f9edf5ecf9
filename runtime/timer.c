/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: timers, in one heap for each P.
 *
 * Design: a pairing heap whose nodes are part of what they are for (a coroutine's deadline, a
 * context, a cu_timer): starting is constant, needs no memory and so cannot fail; taking the
 * earliest is logarithmic, amortised. Any worker may run the timers of any P, so that a P that is
 * busy or asleep delays nobody. next_ns mirrors the root's deadline for those who only look.
 *
 * Concurrency: the heap has its lock. A timer that is due is taken out under the lock and fired
 * after it, so stopping has one of two outcomes: it was in the heap and will not fire, or it fires
 * now or has fired. What a late one must not touch, its callback knows by the tag. The barrier
 * between publishing next_ns and looking for a keeper pairs with the one between a keeper's
 * publishing until when it sleeps and its second look at next_ns (find_work.c): one of the two sees
 * the other.
 */
#include "schedule.h"

#include "clock.h"
#include "futex.h"
#include "tls.h"

static struct cu__timer *meld(struct cu__timer *a, struct cu__timer *b)
{
    if (a == NULL || b == NULL) {
        return a ? a : b;
    }
    if (b->deadline_ns < a->deadline_ns) {
        struct cu__timer *t = a;
        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child) {
        a->child->prev = b;
    }
    a->child = b;
    return a;
}

/* Melds a list of siblings into one heap: in pairs from left to right, then from right to left. */
static struct cu__timer *meld_siblings(struct cu__timer *first)
{
    struct cu__timer *pairs = NULL, *root = NULL;
    while (first) {
        struct cu__timer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b) {
            b->next = b->prev = NULL;
        }
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct cu__timer *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    if (root) {
        root->prev = root->next = NULL;
    }
    return root;
}

/* Called with the lock. */
static void publish(struct cu__p *p)
{
    struct cu__timer *root = p->timers.root;
    store_seq(&p->timers.next_ns, root ? root->deadline_ns : COPPER_NO_WAKE);
}

/* Called with the lock. */
static void take_out(struct cu__p *p, struct cu__timer *t)
{
    struct cu__timer *rest = meld_siblings(t->child);
    if (p->timers.root == t) {
        p->timers.root = rest;
    } else {
        if (t->prev->child == t) {
            t->prev->child = t->next;
        } else {
            t->prev->next = t->next;
        }
        if (t->next) {
            t->next->prev = t->prev;
        }
        p->timers.root = meld(p->timers.root, rest);
    }
    store_relaxed(&p->timers.counted, p->timers.counted - !t->is_silent);
    t->child = t->next = t->prev = NULL;
    publish(p);
    store_release(&t->p, NULL); /* the last touch: its owner may start it anew */
}

/* A plain thread has no P, and uses one that depends on the timer alone. */
static struct cu__p *choose_p(const struct cu__timer *t)
{
    struct cu__m *m = cu__m();
    if (m && m->p) {
        return m->p;
    }
    return &cu__sched.ps[((uintptr_t)t / sizeof(*t)) % load_acquire(&cu__sched.procs)];
}

void cu__timer_start(struct cu__timer *t, int64_t deadline_ns)
{
    struct cu__p *p = choose_p(t);
    t->deadline_ns = deadline_ns;
    t->child = t->next = t->prev = NULL;
    cu__lock_take(&p->timers.lock);
    if (unlikely(p->timers.is_closed)) {
        cu__lock_drop(&p->timers.lock);
        p = &cu__sched.ps[0]; /* stays */
        cu__lock_take(&p->timers.lock);
    }
    store_relaxed(&t->p, p);
    store_relaxed(&p->timers.counted, p->timers.counted + !t->is_silent);
    p->timers.root = meld(p->timers.root, t);
    bool is_first = p->timers.root == t;
    if (is_first) {
        publish(p);
    }
    cu__lock_drop(&p->timers.lock);
    /* from here on it may have fired and be gone */
    if (is_first) {
        cu__wake_keeper(deadline_ns);
    }
}

/* A timer that a forked child inherited is in a heap that no longer is. */
static bool is_of_this_process(const struct cu__p *p)
{
    return p >= cu__sched.ps && p < cu__sched.ps + COPPER_PROCS_MAX;
}

bool cu__timer_stop(struct cu__timer *t)
{
    struct cu__p *p;
    while ((p = load_acquire(&t->p)) != NULL && is_of_this_process(p)) { /* pairs with take_out */
        cu__lock_take(&p->timers.lock);
        bool is_there = load_relaxed(&t->p) == p;
        if (is_there) {
            take_out(p, t);
        }
        cu__lock_drop(&p->timers.lock);
        if (is_there) {
            return true;
        }
        /* it was taken out, or moved to the heap of another P: look again */
    }
    return false;
}

/* Who comes after t in a walk through a heap: first its children. NULL: nobody. */
static struct cu__timer *following(struct cu__timer *t)
{
    if (t->child) {
        return t->child;
    }
    while (t && t->next == NULL) {
        while (t->prev && t->prev->child != t) {
            t = t->prev; /* to the first sibling, which knows the parent */
        }
        t = t->prev;
    }
    return t ? t->next : NULL;
}

void cu__timers_close(struct cu__p *p)
{
    struct cu__p *to = &cu__sched.ps[0];
    cu_assert(p != to);
    cu__lock_take(&to->timers.lock); /* the lower index first */
    cu__lock_take(&p->timers.lock);
    struct cu__timer *root = p->timers.root;
    int64_t next_ns = root ? root->deadline_ns : COPPER_NO_WAKE;
    for (struct cu__timer *t = root; t; t = following(t)) {
        store_relaxed(&t->p, to);
    }
    p->timers.root = NULL;
    p->timers.is_closed = true;
    to->timers.root = meld(to->timers.root, root);
    store_relaxed(&to->timers.counted, to->timers.counted + p->timers.counted);
    store_relaxed(&p->timers.counted, 0);
    publish(to); /* first: who looks at one after the other must not miss them in both */
    publish(p);
    cu__lock_drop(&p->timers.lock);
    cu__lock_drop(&to->timers.lock);
    if (root) {
        cu__wake_keeper(next_ns);
    }
}

void cu__timers_open(struct cu__p *p)
{
    cu__lock_take(&p->timers.lock);
    p->timers.is_closed = false;
    cu__lock_drop(&p->timers.lock);
}

void cu__timers_run(struct cu__p *p, int64_t now_ns)
{
    while (load_relaxed(&p->timers.next_ns) <= now_ns) {
        struct cu__timer due = {.fire = NULL};
        cu__lock_take(&p->timers.lock);
        struct cu__timer *t = p->timers.root;
        if (t && t->deadline_ns <= now_ns) {
            due = *t;
            take_out(p, t);
        }
        cu__lock_drop(&p->timers.lock);
        if (due.fire) {
            due.fire(t, due.tag, now_ns);
        }
    }
}
