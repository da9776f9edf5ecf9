/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/preempt.h: safe points.
 *
 * Design: sysmon, which finds out who computes beyond its slice while others wait, sets a byte of
 * that thread before it thinks of taking the P away. A safe point looks at the byte. A voluntary
 * one is a yield. A compiled one may be anywhere, with locks held and library calls half done, so
 * it leaves neither stack nor thread: it hands its P on and blocks until it gets one (detach.c), or
 * only blocks if the P was taken meanwhile. That needs a second thread; where there is none, sysmon
 * is told and asks again at a later look.
 *
 * Asking is a hint: whoever sees the byte takes it back, and finds by the tick that it was meant
 * for somebody who ran before. One that is lost, because a guard below forbids to answer, is
 * repeated.
 *
 * Concurrency: the byte is in the memory of a thread, which may end: m->asked is set under the
 * scheduler's lock, and so is the byte.
 *
 * Signal safety: cu_safe_point may be reached in a handler that was compiled so. On the handler's
 * own stack it does nothing. On the coroutine's stack it may block there, as any call in a handler
 * may; the guard `inside` keeps it out while the scheduler runs.
 */
#include "preempt.h"

#include <copper/preempt.h>

#include "ownership.h"
#include "replay.h"
#include "schedule.h"
#include "supply.h"
#include "sysmon.h"
#include "tls.h"

void cu__preempt_begin(struct cu__m *m)
{
    cu__lock_take(&cu__sched.lock);
    m->asked = cu__safe_point_asked();
    cu__lock_drop(&cu__sched.lock);
}

void cu__preempt_end(struct cu__m *m)
{
    cu__lock_take(&cu__sched.lock);
    m->asked = NULL;
    cu__lock_drop(&cu__sched.lock);
}

void cu__preempt_ask(struct cu__m *m, uint32_t tick)
{
    if (cu__replay_is_on()) {
        return; /* when somebody's slice is over is not replayed */
    }
    cu__lock_take(&cu__sched.lock);
    if (m->asked) {
        store_relaxed(&m->asked_tick, tick);
        store_release(m->asked, 1); /* pairs with the load in cu_safe_point */
    }
    cu__lock_drop(&cu__sched.lock);
}

static noinline void yield(void)
{
    struct cu__m *m = cu__m();
    store_relaxed(cu__safe_point_asked(), 0);
    if (m && m->g) {
        if (cu__enter(m)) {
            cu__look_at_all_timers(); /* those that wait may be sleepers, whose time is long over */
        }
        cu__leave(m);
        cu__schedule(m, COPPER_AFTER_YIELD, NULL);
    }
}

void cu_checkpoint(void)
{
    if (unlikely(load_relaxed(&cu_safe_point_asked)) || cu__replay_is_on()) {
        yield();
    }
}

static bool is_on_stack_of(const struct cu__g *g)
{
    const char *sp = __builtin_frame_address(0);
    return sp >= g->stack->lo && sp < g->stack->hi;
}

static void give_way(struct cu__m *m)
{
    if (!cu__enter(m)) {
        cu__block_for_p(m);
    } else if (m->p->tick == load_relaxed(&m->asked_tick)) {
        if (cu__has_heir() || cu__p_is_surplus(m->p)) {
            cu__step_aside(m);
        } else {
            cu__sysmon_want_heir();
        }
    }
    cu__leave(m);
}

void cu_safe_point(void)
{
    struct cu__m *m = cu__m();
    bool was_asked = load_acquire(cu__safe_point_asked());
    store_relaxed(cu__safe_point_asked(), 0);
    if (m == NULL || !was_asked || load_relaxed(&m->inside)) {
        return;
    }
    struct cu__g *g = m->g;
    if (g && !g->is_detached && g->syscall_depth == 0 && is_on_stack_of(g)) {
        int saved_errno = *m->errno_address; /* nothing here leaves the thread */
        give_way(m);
        *m->errno_address = saved_errno;
    }
}
