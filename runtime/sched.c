/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: leaving one coroutine and running the next. The heart of the runtime: cu__schedule() is
 * the whole of it on one screen.
 *
 * Design: a coroutine that stops chooses its successor itself, on its own stack, from the queues
 * that are near, and switches to it directly: one switch and no detour over a scheduler stack. Only
 * when nothing is near does it switch to the thread's own stack, where find_work.c steals, spins
 * and sleeps (worker.c has that loop); or when a stack is to be made for the successor.
 *
 * Invariants: a coroutine is made visible to others (queued, or findable by a waker) only after its
 * stack is no longer in use: the leaver notes in m->after what is to be done, and whoever arrives
 * on that M does it first of all (cu__arrived, called by the switch). So nobody can run a coroutine
 * that is still running.
 *
 * Rejected: a scheduler stack for every switch (twice the price); publishing first and letting the
 * taker wait until the stack is free (a waiter on every wake-up path).
 */
#include "schedule.h"

#include <stdlib.h>

#include "clock.h"
#include "events.h"
#include "gstate.h"
#include "netpoll.h"
#include "ownership.h"
#include "race.h"
#include "registry.h"
#include "replay.h"
#include "report.h"
#include "runq.h"
#include "spawn.h"
#include "stack.h"
#include "stack_guard.h"
#include "supply.h"
#include "tls.h"

struct cu__sched cu__sched;

static void finish_park(struct cu__g *g, struct cu__lock *unlock)
{
    bool has_deadline = g->wait.deadline_ns != 0;
    bool is_counted = g->scope && cu__waits_for_others(&g->wait);
    bool is_gated = unlock == NULL && g->wait.is_gated; /* the timer may let g run and wait again */
    uint64_t scope_id = g->scope_id;
    bool is_settled = is_counted && cu__scope_idle(g->scope);
    store_release(&g->state, CU__G_WAITING);
    if (has_deadline && !g->wait.is_timed_elsewhere) {
        cu__deadline_start(g);
    }
    if (unlock) {
        cu__lock_drop(unlock);
    } else if (is_gated && cu__gate_left(&g->race)) {
        cu__ready(g);
    }
    /* from here on g may run elsewhere */
    if (unlikely(is_settled)) {
        cu__scope_settled(scope_id);
    }
}

static void finish_exit(struct cu__m *m, struct cu__g *g)
{
    struct cu__scope *scope = g->scope;
    if (unlikely(g->is_locked)) {
        cu__lock_ended(m, g);
    }
    g->scope = NULL;
    store_release(&g->state, CU__G_DEAD);
    cu__stack_detach(m->p, g);
    cu__registry_give(m->p, g);
    if (likely(m->p != NULL)) {
        bump(&m->p->counters.exited, 1);
    } else {
        add_relaxed(&cu__sched.foreign.exited, 1);
    }
    if (unlikely(scope != NULL)) {
        cu__scope_part(scope); /* last: who waits for its members to be gone must not see one */
    }
}

noinline void cu__look_at_all_timers(void)
{
    int64_t now_ns = cu_now();
    for (uint32_t i = 0; i < load_acquire(&cu__sched.ps_seen); i++) {
        cu__timers_run(&cu__sched.ps[i], now_ns);
    }
    cu__netpoll_look_sometimes(now_ns);
}

/* Workers that are never idle must look at their timers too, and now and then at those of others,
 * where a coroutine may run on and on. Called where no lock is held. */
static inline void look_at_timers(struct cu__p *p)
{
    if (likely(p->tick % COPPER_TIMER_TICKS != 0)) {
        return;
    }
    if (p->tick % COPPER_ALL_TIMERS_TICKS == 0) {
        cu__look_at_all_timers();
    } else if (load_relaxed(&p->timers.next_ns) != COPPER_NO_WAKE) {
        cu__timers_run(p, cu_now());
    }
}

/* Sees to a coroutine that was left without a P; on the thread's own stack. */
static noinline void finish_lost(struct cu__m *m)
{
    struct cu__after after = m->after;
    m->after.kind = COPPER_AFTER_NOTHING;
    if (after.kind == COPPER_AFTER_PARK) {
        finish_park(after.g, after.unlock);
    } else if (after.kind == COPPER_AFTER_YIELD) {
        bool is_locked = after.g->is_locked;
        store_release(&after.g->state, CU__G_RUNNABLE);
        if (is_locked) {
            cu__enqueue_locked(after.g);
        } else {
            cu__global_put(after.g);
            cu__wake_one();
        }
    } else if (after.kind == COPPER_AFTER_EXIT) {
        finish_exit(m, after.g);
    }
    sub_seq(&cu__sched.detached_count, 1); /* last: until then nobody may think that all is idle */
}

/* Sees to the coroutine that was left. */
static inline void finish_switch(struct cu__m *m)
{
    if (unlikely(m->p == NULL)) {
        finish_lost(m);
        return;
    }
    struct cu__after after = m->after;
    m->after.kind = COPPER_AFTER_NOTHING;
    if (after.kind == COPPER_AFTER_PARK) {
        finish_park(after.g, after.unlock);
    } else if (after.kind == COPPER_AFTER_YIELD) {
        bool is_locked = after.g->is_locked;
        store_release(&after.g->state, CU__G_RUNNABLE);
        if (unlikely(is_locked)) {
            cu__enqueue_locked(after.g);
        } else {
            cu__runq_put(m->p, after.g);
            cu__wake_one(); /* a hint, without a barrier: this P will run it itself */
        }
    } else if (after.kind == COPPER_AFTER_EXIT) {
        finish_exit(m, after.g);
    }
    look_at_timers(m->p); /* last: until finish_park has run, a leaver's lock is still held */
}

/* Makes a dequeued coroutine RUNNING, unless an inspector claimed it: then false, and it is the
 * inspector's to queue. While no inspection is open, claims cannot be met, and a plain store does
 * what would take a locked instruction on the hottest path of all. See barrier.c for why that is
 * safe. */
__attribute__((always_inline)) static inline bool start_running(struct cu__p *p, struct cu__g *g)
{
    store_relaxed(&p->is_picking, 1);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    bool is_open = load_acquire(&cu__sched.claims_open) != 0;
    if (likely(!is_open)) {
        cu_assert(load_relaxed(&g->state) == CU__G_RUNNABLE);
        store_relaxed(&g->state, CU__G_RUNNING);
    }
    store_release(&p->is_picking, 0);
    return likely(!is_open) || cu__g_apply(&g->state, CU__G_RUN);
}

__attribute__((always_inline)) static inline struct cu__g *pick(struct cu__p *p)
{
    struct cu__g *g;
    for (;;) {
        uint32_t tick = p->tick + 1;
        store_relaxed(&p->tick, tick);
        g = NULL;
        p->cause = COPPER_CAUSE_GLOBAL;
        if (unlikely(tick % COPPER_FAIR_TICKS == 0)) {
            if (unlikely(load_relaxed(&cu__sched.give_way)) || cu__p_is_surplus(p)) {
                return NULL; /* find_work.c hands the P over */
            }
            g = cu__global_get(p, 1);
        }
        if (likely(g == NULL)) {
            p->cause = COPPER_CAUSE_QUEUE;
            g = cu__replay_is_on() ? cu__replay_get(p) : cu__runq_get(p);
        }
        if (g == NULL) {
            p->cause = COPPER_CAUSE_GLOBAL;
            g = cu__global_get(p, COPPER_RUNQ_SIZE / 2);
        }
        if (g == NULL || likely(start_running(p, g))) {
            return g;
        }
    }
}

struct cu__g *cu__pick(struct cu__p *p)
{
    return pick(p);
}

/* Time on a P, for the coroutine that stops and the one that starts. */
noinline void cu__account(struct cu__p *p, struct cu__g *stops, int64_t now_ns)
{
    if (p->switched_ns && now_ns > p->switched_ns) {
        bump(&stops->run_ns, now_ns - p->switched_ns);
    }
    p->switched_ns = now_ns;
}

/* g is about to run here: everything that must be true when its first instruction executes. now_ns:
 * what leave() has read. */
__attribute__((always_inline)) static inline void enter(struct cu__m *m, struct cu__g *g,
                                                        int64_t now_ns)
{
    struct cu__p *p = m->p;
    bump(&p->counters.switches, 1);
    cu__m_runs(m, g);
    if (EVENTS_ON(COPPER_EVENTS_OF_RUN)) {
        cu__tell_run(p, g, now_ns);
    }
    store_relaxed(&g->since_ns, p->clock_ns);
}

/* The leaver's last words to tools and checkers. The clock, if it had to be read, else 0. */
__attribute__((always_inline)) static inline int64_t leave(struct cu__m *m, struct cu__g *g,
                                                           enum cu__after_kind kind)
{
    struct cu__p *p = m->p;
    int64_t now_ns = 0;
    if (kind == COPPER_AFTER_YIELD) {
        store_relaxed(&g->since_ns, p->clock_ns);
        if (EVENTS_ON(COPPER_EVENTS_OF_YIELD)) {
            now_ns = cu__tell_yield(p, g);
        }
    } else if (kind == COPPER_AFTER_PARK) {
        bump(&p->counters.parks, 1);
        if (EVENTS_ON(COPPER_EVENTS_OF_PARK)) {
            now_ns = cu__tell_park(p, g);
        } else {
            p->clock_ns = cu__now_coarse();
            store_relaxed(&g->since_ns, p->clock_ns);
        }
    } else if (EVENTS_ON(COPPER_EVENTS_OF_EXIT)) {
        now_ns = cu__tell_exit(p, g);
    }
    if (unlikely(g->has_canary)) {
        cu__stack_check(g);
    }
    return now_ns;
}

/* Making a stack takes a system call and a page fault: not with the leaver's lock in hand, for
 * which others spin, nor on the leaver's stack, which would become deeper by it. */
__attribute__((always_inline)) static inline bool has_stack(struct cu__p *p, struct cu__g *g)
{
    return likely(g->stack != NULL) || cu__stack_attach_warm(p, g);
}

/* With nobody else near: is there a reason to leave the coroutine that yields? */
static noinline bool must_switch(const struct cu__p *p, struct cu__g *self)
{
    return load_relaxed(&cu__sched.give_way) || cu__p_is_surplus(p) ||
           (self->is_locked && cu__work_waits(cu_now()));
}

int cu__schedule(struct cu__m *m, enum cu__after_kind kind, struct cu__lock *unlock)
{
    struct cu__g *self = m->g;
    if (unlikely(!cu__enter(m))) {
        return cu__schedule_lost(m, kind, unlock);
    }

    /* choose: before leaving, while our stack is still ours */
    struct cu__g *next = unlikely(self->is_locked) ? NULL : pick(m->p);
    if (next == NULL && kind == COPPER_AFTER_YIELD && !must_switch(m->p, self)) {
        look_at_timers(m->p);
        cu__leave(m);
        return 0;
    }

    /* leave: what becomes of us is done by who comes after us */
    int64_t now_ns = leave(m, self, kind);
    m->after = (struct cu__after){kind, self, unlock};
    self->saved_errno = *m->errno_address;
    struct cu__context *to = &m->context;
    if (next && likely(has_stack(m->p, next))) {
        enter(m, next, now_ns);
        to = &next->context;
    } else {
        m->picked = next;
        cu__m_runs(m, NULL);
    }

    /* switch: returns when somebody chooses us, perhaps on another thread, after cu__arrived */
    cu__depart(&self->context, to, kind == COPPER_AFTER_EXIT);
    return cu__switch(&self->context.sp, to->sp);
}

int cu__schedule_lost(struct cu__m *m, enum cu__after_kind kind, struct cu__lock *unlock)
{
    struct cu__g *self = m->g;
    if (kind == COPPER_AFTER_YIELD && cu__p_try_take_idle(m)) {
        cu__found_p(m, self->lost_cause ? self->lost_cause : COPPER_CAUSE_PREEMPTED);
        cu__leave(m);
        return 0;
    }
    cu__tell_lost(m, kind);
    m->after = (struct cu__after){kind, self, unlock};
    self->saved_errno = *m->errno_address;
    store_relaxed(&m->p, NULL);
    cu__m_runs(m, NULL);
    cu__depart(&self->context, &m->context, kind == COPPER_AFTER_EXIT);
    return cu__switch(&self->context.sp, m->context.sp); /* a jump: no frame of ours is on top */
}

int cu__arrived(void)
{
    struct cu__m *m = cu__m();
    struct cu__g *g = m->g;
    cu__arrive(g ? &g->context : &m->context);
    finish_switch(m);
    if (g == NULL) {
        return 0;
    }
    *m->errno_address = g->saved_errno;
    g->lost_cause = 0; /* it has a P; what told the tools why it waited is done */
    int result = g->waiter.result;
    cu__leave(m);
    return result;
}

void cu__run(struct cu__m *m, struct cu__g *g)
{
    m->p->clock_ns = cu__now_coarse();
    if (g->stack == NULL) {
        cu__stack_attach(m->p, g);
    }
    enter(m, g, 0);
    cu__depart(&m->context, &g->context, false);
    cu__switch(&m->context.sp, g->context.sp);
}

void cu__coroutine_main(void)
{
    struct cu__g *g = cu__g_self();
    g->entry(g->arg);
    if (unlikely(cu__m() == NULL)) {
        /* a forked child that came back from the coroutine it was forked in: there is nothing left
         * in this process that could run */
        exit(EXIT_SUCCESS);
    }
    cu__coroutine_end(g);
}
