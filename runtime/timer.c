/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: timers of coroutines, in one heap for each P.
 *
 * Design: a pairing heap whose nodes are part of the control blocks: adding is constant, needs no
 * memory and so cannot fail; taking the earliest is logarithmic, amortised. Any worker may run the
 * timers of any P, so that a P that is busy or asleep delays nobody. next_ns mirrors the root's
 * deadline for those who only look.
 *
 * Concurrency: the heap has its lock. A timer that is due is taken out under the lock and fired
 * after it. The barrier between publishing next_ns and looking for a keeper pairs with the one
 * between a keeper's publishing until when it sleeps and its second look at next_ns (find_work.c):
 * one of the two sees the other.
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

static bool is_counted(const struct cu__timer *t)
{
    const struct cu__g *g = container_of(t, const struct cu__g, timer);
    return g->wait.reason != COPPER_WAIT_QUIESCE;
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
    store_relaxed(&p->timers.counted, p->timers.counted - is_counted(t));
    t->child = t->next = t->prev = NULL;
    store_relaxed(&t->p, NULL);
    publish(p);
}

void cu__timer_add(struct cu__p *p, struct cu__g *g)
{
    struct cu__timer *t = &g->timer;
    int64_t deadline_ns = g->wait.deadline_ns;
    *t = (struct cu__timer){.deadline_ns = deadline_ns};
    cu__lock_take(&p->timers.lock);
    store_relaxed(&t->p, p);
    store_relaxed(&p->timers.counted, p->timers.counted + is_counted(t));
    p->timers.root = meld(p->timers.root, t);
    bool is_first = p->timers.root == t;
    if (is_first) {
        publish(p);
    }
    cu__lock_drop(&p->timers.lock);
    if (is_first) {
        cu__wake_keeper(deadline_ns);
    }
}

void cu__timer_cancel(struct cu__g *g)
{
    struct cu__p *p = load_relaxed(&g->timer.p);
    if (p == NULL) {
        return;
    }
    cu__lock_take(&p->timers.lock);
    if (g->timer.p == p) {
        take_out(p, &g->timer);
    }
    cu__lock_drop(&p->timers.lock);
}

void cu__timers_run(struct cu__p *p, int64_t now_ns)
{
    while (load_relaxed(&p->timers.next_ns) <= now_ns) {
        struct cu__g *g = NULL;
        int64_t deadline_ns = 0;
        bool is_sleep = false;
        cu__lock_take(&p->timers.lock);
        struct cu__timer *t = p->timers.root;
        if (t && t->deadline_ns <= now_ns) {
            g = container_of(t, struct cu__g, timer);
            deadline_ns = t->deadline_ns;
            is_sleep = g->wait.reason == COPPER_WAIT_SLEEP;
            take_out(p, t);
        }
        cu__lock_drop(&p->timers.lock);
        if (g && is_sleep) {
            cu__ready(g);
        } else if (g) {
            cu__quiesce_timeout(g, deadline_ns);
        }
    }
}

void cu_sleep(int64_t ns)
{
    struct cu__g *g = cu__g_self();
    if (ns <= 0) {
        cu_yield();
        return;
    }
    int64_t now_ns = cu_now();
    int64_t deadline_ns = ns < INT64_MAX - 1 - now_ns ? now_ns + ns : INT64_MAX - 1;
    if (g) {
        g->wait = (struct cu__wait){.reason = COPPER_WAIT_SLEEP, .deadline_ns = deadline_ns};
        cu__schedule(cu__m(), COPPER_AFTER_PARK, NULL);
        return;
    }
    uint32_t word = 0;
    while (cu_now() < deadline_ns) {
        cu__futex_wait(&word, 0, deadline_ns);
    }
}
