/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: coroutines that run without a P: because they gave it up before a call that takes long,
 * or because sysmon took it.
 *
 * Design: a coroutine learns that its P is gone when it next enters the scheduler (cu__enter).
 *   - Leaving itself (yield, park, end) needs no P: it switches to its thread's own stack, where
 *     the rest is done, and the thread rests. Coming back from an announced call is such a yield.
 *   - Readying others or spawning puts them into the global queue; then the thread blocks until it
 *     has a P again, so that no more threads compute than there are P for longer than one slice.
 *   - At a safe point that the compiler made (preempt.c) it blocks in the same way; it may do so
 *     before its P is taken, and hands it on.
 *   - Inside cu_blocking it wants none.
 *
 * The announcement is a counter of the thread (struct cu__m.syscalls), odd while inside: sysmon,
 * which looks at it twice, knows from one number that it is the same call.
 */
#include <copper/blocking.h>

#include "arch.h"
#include "clock.h"
#include "events.h"
#include "ownership.h"
#include "schedule.h"
#include "supply.h"
#include "sysmon.h"
#include "tls.h"

void cu__found_p(struct cu__m *m, enum cu_ready_cause cause)
{
    struct cu__g *g = m->g;
    sub_seq(&cu__sched.detached_count, 1);
    g->lost_cause = 0;
    m->p->cause = cause;
    store_relaxed(&g->since_ns, m->p->clock_ns);
    if (EVENT_ON(RUNNING)) {
        cu__tell_resumed(m->p, g);
    }
}

static void tell_preempted(struct cu__m *m)
{
    struct cu__g *g = m->g;
    add_relaxed(&cu__sched.supply.preempted, 1);
    if (EVENT_ON(PREEMPTED)) {
        cu__emit_preempted(cu_now(), g->id, (int)m->p->index);
    }
}

void cu__tell_lost(struct cu__m *m, enum cu__after_kind kind)
{
    struct cu__g *g = m->g;
    int64_t now_ns = cu__now_coarse();
    if (!g->is_detached && g->lost_cause == 0) {
        tell_preempted(m);
        g->lost_cause = COPPER_CAUSE_PREEMPTED;
    }
    g->is_detached = false;
    store_relaxed(&g->since_ns, now_ns);
    if (kind == COPPER_AFTER_YIELD) {
        if (EVENT_ON(RUNNING)) {
            cu__note_ready(g, g->id, false, cu_now());
        }
        return;
    }
    g->lost_cause = 0; /* it does not wait for a P */
    if (kind == COPPER_AFTER_PARK) {
        add_relaxed(&cu__sched.foreign.parks, 1);
        if (EVENTS_ON(COPPER_EVENTS_OF_PARK)) {
            cu__tell_park_lost(g);
        }
    } else if (EVENT_ON(EXITED)) {
        cu__emit_exited(cu_now(), g->id, -1);
    }
}

void cu__block_for_p(struct cu__m *m)
{
    struct cu__g *g = m->g;
    if (g == NULL || g->is_detached) {
        return;
    }
    tell_preempted(m);
    if (EVENT_ON(RUNNING)) {
        cu__note_ready(g, g->id, false, cu_now());
    }
    cu__p_await(m);
    cu__found_p(m, COPPER_CAUSE_PREEMPTED);
}

void cu__step_aside(struct cu__m *m)
{
    struct cu__g *g = m->g;
    struct cu__p *p = m->p;
    add_seq(&cu__sched.detached_count, 1);
    if (EVENT_ON(ACCOUNT)) {
        cu__account(p, g, cu_now());
    }
    tell_preempted(m);
    if (EVENT_ON(RUNNING)) {
        cu__note_ready(g, g->id, false, cu_now());
    }
    if (EVENT_ON(P_STOPPED)) {
        cu__emit_p_stopped(cu_now(), (int)p->index);
    }
    p->handed_ns = cu_now();
    cu__p_stops(p, p->handed_ns);
    bool was_ours = cu__own_apply(p, CU__OWN_GIVE, m);
    cu_assert(was_ours);
    cu__p_hand_on(p);
    cu__p_await(m);
    cu__found_p(m, COPPER_CAUSE_PREEMPTED);
}

static void announce(struct cu__m *m, struct cu__g *g)
{
    store_relaxed(&g->syscall_depth, (uint16_t)(g->syscall_depth + 1));
    if (g->syscall_depth == 1) {
        store_release(&m->syscalls, m->syscalls | 1);
        if (EVENT_ON(SYSCALL_BEGIN)) {
            cu__emit_syscall_begin(cu_now(), g->id, (int)m->p->index);
        }
    }
}

/* True: it was the outermost. */
static bool conclude(struct cu__m *m, struct cu__g *g)
{
    store_relaxed(&g->syscall_depth, (uint16_t)(g->syscall_depth - 1));
    if (g->syscall_depth) {
        return false;
    }
    store_release(&m->syscalls, (m->syscalls | 1) + 1);
    return true;
}

static noinline void come_back(struct cu__m *m, struct cu__g *g)
{
    g->is_detached = false;
    g->lost_cause = COPPER_CAUSE_SYSCALL;
    cu__leave(m);
    cu__schedule(m, COPPER_AFTER_YIELD, NULL); /* finds that there is no P */
}

void cu_syscall_enter(void)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        announce(cu__m(), g);
    }
}

void cu_syscall_exit(void)
{
    struct cu__g *g = cu__g_self();
    struct cu__m *m = cu__m();
    if (g == NULL || g->syscall_depth == 0 || !conclude(m, g)) {
        return;
    }
    bool has_p = cu__enter(m);
    if (EVENT_ON(SYSCALL_END)) {
        cu__emit_syscall_end(cu_now(), g->id, has_p ? (int)m->p->index : -1);
    }
    if (likely(has_p)) {
        cu__leave(m);
    } else {
        come_back(m, g);
    }
}

/* Gives the P to others. */
static void detach(struct cu__m *m, struct cu__g *g)
{
    g->is_detached = true;
    if (cu__enter(m)) {
        struct cu__p *p = m->p;
        add_seq(&cu__sched.detached_count, 1);
        add_relaxed(&cu__sched.supply.handoffs[COPPER_HANDOFF_BLOCKING], 1);
        if (EVENT_ON(ACCOUNT)) {
            cu__account(p, g, cu_now());
        }
        if (EVENT_ON(HANDOFF)) {
            cu__emit_handoff(cu_now(), (int)p->index, g->id, m->tid, COPPER_HANDOFF_BLOCKING);
        }
        cu__p_stops(p, cu_now());
        p->handed_ns = cu_now();
        cu__p_give(m, false);
        cu__see_to_work();
    }
    cu__leave(m);
}

void cu_blocking(void (*fn)(void *), void *arg)
{
    struct cu__g *g = cu__g_self();
    if (g == NULL) {
        fn(arg);
        return;
    }
    struct cu__m *m = cu__m();
    announce(m, g);
    if (cu__handoff_is_on() && !g->is_detached) {
        detach(m, g);
    }
    fn(arg);
    cu_syscall_exit();
}
