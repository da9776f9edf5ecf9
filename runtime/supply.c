/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see supply.h.
 *
 * Design: there are three lists, all under the scheduler's lock: P that nobody has, M that rest, M
 * that wait for a P with a coroutine in hand (because it was taken from them during a call that may
 * not move to another thread, or because the coroutine is locked to its thread).
 *
 * Invariants: a P is listed as idle only while no M waits; an M waits only while no P is idle. An
 * M is in at most one list. Whoever takes it out sets next_p and wakes it.
 *
 * A P that is one too many (procs.c) is in none of the lists and is handed to nobody: it goes when
 * whoever has it gives it up.
 *
 * Fairness: an M that waits gets the first P that becomes idle or is taken from somebody. Where no
 * P ever becomes idle, workers look now and then whether somebody waits, and give way (give_way).
 */
#include "supply.h"

#include "clock.h"
#include "events.h"
#include "futex.h"
#include "gstate.h"
#include "netpoll.h"
#include "ownership.h"
#include "procs.h"
#include "runq.h"
#include "schedule.h"
#include "sysmon.h"
#include "tls.h"
#include "watch.h"

void cu__p_take(struct cu__m *m, struct cu__p *p)
{
    bool is_ours = cu__own_apply(p, CU__OWN_TAKE, m);
    cu_assert(is_ours);
    store_relaxed(&m->p, p);
    cu__sysmon_work();
    if (EVENT_ON(P_STARTED)) {
        cu__emit_p_started(cu_now(), (int)p->index, m->tid);
    }
}

void cu__p_stops(struct cu__p *p, int64_t now_ns)
{
    if (p->busy_since_ns) {
        bump(&p->counters.running_ns, (uint64_t)(now_ns - p->busy_since_ns));
        store_relaxed(&p->busy_since_ns, 0);
    }
}

/* ---- lists; all called with sched.lock ---- */

static void list_idle_p(struct cu__p *p)
{
    struct cu__sched *s = &cu__sched;
    p->next_idle = s->idle_ps;
    p->idle_since_ns = cu_now();
    s->idle_ps = p;
    store_seq(&s->idle_count, s->idle_count + 1);
}

static struct cu__p *unlist_idle_p_at(struct cu__p **link)
{
    struct cu__sched *s = &cu__sched;
    struct cu__p *p = *link;
    *link = p->next_idle;
    bump(&s->supply.idle_ns, (uint64_t)(cu_now() - p->idle_since_ns));
    store_seq(&s->idle_count, s->idle_count - 1);
    return p;
}

/* NULL: none. */
static struct cu__p *unlist_idle_p(void)
{
    return cu__sched.idle_ps ? unlist_idle_p_at(&cu__sched.idle_ps) : NULL;
}

struct cu__p *cu__p_unlist_surplus(void)
{
    struct cu__p *chain = NULL;
    for (struct cu__p **link = &cu__sched.idle_ps; *link;) {
        if (cu__p_is_surplus(*link)) {
            struct cu__p *p = unlist_idle_p_at(link);
            p->next_idle = chain;
            chain = p;
        } else {
            link = &(*link)->next_idle;
        }
    }
    return chain;
}

static void list_idle_m(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    store_relaxed(&m->wake, CU__SLEEPING);
    m->next = s->idle_ms;
    s->idle_ms = m;
    store_relaxed(&m->is_idle, true);
    store_seq(&s->idle_ms_count, s->idle_ms_count + 1);
    if (m->is_starting) {
        m->is_starting = false;
        store_seq(&s->starting_count, s->starting_count - 1);
    }
}

static void unlist_idle_m(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m **link = &s->idle_ms;
    while (*link != m) {
        link = &(*link)->next;
    }
    *link = m->next;
    store_relaxed(&m->is_idle, false);
    store_seq(&s->idle_ms_count, s->idle_ms_count - 1);
}

/* Anybody but the keeper, if there is somebody else. NULL: nobody rests. */
static struct cu__m *choose_idle_m(void)
{
    struct cu__m *m = cu__sched.idle_ms;
    if (m && m->next && m == load_relaxed(&cu__sched.keeper)) {
        m = m->next;
    }
    return m;
}

static void list_waiting(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    m->next = NULL;
    if (s->waiting_last) {
        s->waiting_last->next = m;
    } else {
        s->waiting_first = m;
    }
    s->waiting_last = m;
    store_seq(&s->give_way, s->give_way + 1);
}

static struct cu__m *unlist_waiting(void)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m *m = s->waiting_first;
    if (m) {
        s->waiting_first = m->next;
        if (m->next == NULL) {
            s->waiting_last = NULL;
        }
        store_seq(&s->give_way, s->give_way - 1);
    }
    return m;
}

/* ---- handing over ---- */

void cu__end_sleep(struct cu__m *m, uint32_t was)
{
    if (was == CU__POLLING) {
        cu__netpoll_break();
    } else {
        cu__futex_wake(&m->wake, 1);
    }
}

/* m is out of all lists and has its next_p. Without the lock. */
static void rouse(struct cu__m *m)
{
    /* pairs with the loads of who sleeps: next_p is there */
    cu__end_sleep(m, __atomic_exchange_n(&m->wake, CU__WOKEN, __ATOMIC_ACQ_REL));
}

static void sleep_until_roused(struct cu__m *m)
{
    uint32_t wake;
    while ((wake = load_acquire(&m->wake)) != CU__WOKEN) {
        if (wake == CU__SLEEPING) {
            cu__futex_wait(&m->wake, CU__SLEEPING, COPPER_NO_DEADLINE);
        } else {
            cas_seq(&m->wake, &wake, CU__SLEEPING); /* a nudge for the keeper that it was */
        }
    }
    store_relaxed(&m->wake, CU__SLEEPING);
}

/* For who gives p up (NULL: none): the scheduler's lock, with p empty if it is one too many. */
static void lock_to_give(struct cu__p *p)
{
    for (;;) {
        if (p && cu__p_is_surplus(p)) {
            cu__p_clear(p);
        }
        cu__lock_take(&cu__sched.lock);
        if (p == NULL || p->is_clear || !cu__p_is_surplus(p)) {
            return;
        }
        cu__lock_drop(&cu__sched.lock);
    }
}

/* Called with the lock so taken. True: p is gone. */
static bool has_gone(struct cu__p *p)
{
    if (likely(!p->is_clear)) {
        return false;
    }
    if (cu__p_is_surplus(p)) {
        cu__p_retire(p);
        return true;
    }
    cu__p_reopen(p);
    return false;
}

bool cu__p_give(struct cu__m *m, bool rests)
{
    struct cu__sched *s = &cu__sched;
    struct cu__p *p = m->p;
    struct cu__m *heir = NULL;
    if (p && EVENT_ON(P_STOPPED)) {
        cu__emit_p_stopped(cu_now(), (int)p->index);
    }
    lock_to_give(p);
    if (p) {
        bool was_ours = cu__own_apply(p, CU__OWN_GIVE, m);
        cu_assert(was_ours);
    }
    if (p && !has_gone(p)) {
        heir = unlist_waiting();
        if (heir) {
            heir->next_p = p;
        } else {
            list_idle_p(p);
        }
    }
    if (rests) {
        store_relaxed(&m->p, NULL);
        list_idle_m(m);
    }
    bool is_all_idle = s->idle_count == s->alive_count;
    cu__lock_drop(&s->lock);
    if (heir) {
        rouse(heir);
    }
    return is_all_idle;
}

noinline void cu__wake_idle(void)
{
    struct cu__sched *s = &cu__sched;
    uint32_t none = 0;
    const struct cu__m *self = cu__m();
    if ((self && self->is_looking) || !cas_seq(&s->spinning_count, &none, 1)) {
        return;
    }
    cu__lock_take(&s->lock);
    struct cu__m *m = s->idle_ps ? choose_idle_m() : NULL;
    bool wants_thread = s->idle_ps && m == NULL;
    if (m) {
        unlist_idle_m(m);
        m->next_p = unlist_idle_p();
    }
    cu__lock_drop(&s->lock);
    if (m) {
        rouse(m);
        return;
    }
    sub_seq(&s->spinning_count, 1);
    if (wants_thread) {
        cu__sysmon_want_thread();
    }
}

bool cu__get_up(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    add_seq(&s->spinning_count, 1);
    cu__lock_take(&s->lock);
    bool gets_up = m->is_idle && s->idle_ps;
    if (gets_up) {
        unlist_idle_m(m);
        m->next_p = unlist_idle_p();
    }
    cu__lock_drop(&s->lock);
    if (!gets_up) {
        sub_seq(&s->spinning_count, 1);
    }
    return gets_up;
}

bool cu__retire(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    cu__lock_take(&s->lock);
    bool ends = m->is_idle && s->idle_ms_count > load_relaxed(&s->procs);
    if (ends) {
        unlist_idle_m(m);
    }
    cu__lock_drop(&s->lock);
    return ends;
}

void cu__p_hand_on(struct cu__p *p)
{
    struct cu__sched *s = &cu__sched;
    lock_to_give(p);
    if (has_gone(p)) {
        cu__lock_drop(&s->lock);
        cu__see_to_work();
        return;
    }
    /* by turns: else those that wait could keep a P among themselves */
    static bool is_queues_turn; /* lock */
    is_queues_turn = !is_queues_turn;
    bool lacks_thread = s->idle_ms == NULL;
    struct cu__m *m = is_queues_turn ? choose_idle_m() : NULL;
    if (m == NULL && s->waiting_first) {
        m = unlist_waiting();
        m->next_p = p;
    } else if (m || (m = choose_idle_m())) {
        unlist_idle_m(m);
        m->next_p = p;
        add_seq(&s->spinning_count, 1);
    } else {
        list_idle_p(p);
    }
    cu__lock_drop(&s->lock);
    if (m) {
        rouse(m);
    } else {
        cu__see_to_work();
    }
    if (lacks_thread) {
        cu__sysmon_want_heir(); /* nor was there one for the queue's next turn */
    }
}

bool cu__has_heir(void)
{
    struct cu__sched *s = &cu__sched;
    return load_seq(&s->idle_ms_count) || load_seq(&s->give_way);
}

uint64_t cu__idle_ns(int64_t now_ns)
{
    struct cu__sched *s = &cu__sched;
    cu__lock_take(&s->lock);
    int64_t sum = (int64_t)s->supply.idle_ns;
    for (struct cu__p *p = s->idle_ps; p; p = p->next_idle) {
        sum += now_ns - p->idle_since_ns;
    }
    cu__lock_drop(&s->lock);
    return sum > 0 ? (uint64_t)sum : 0;
}

/* ---- coroutines without a P ---- */

bool cu__reclaim(struct cu__m *m)
{
    return cu__own_apply(m->p, CU__OWN_RECLAIM, m);
}

/* m's coroutine runs on, with p. */
static void resume(struct cu__m *m, struct cu__p *p)
{
    cu__p_take(m, p);
    int64_t now_ns = cu_now();
    p->clock_ns = now_ns;
    p->switched_ns = now_ns;
    store_relaxed(&p->busy_since_ns, now_ns);
}

bool cu__p_try_take_idle(struct cu__m *m)
{
    if (load_seq(&cu__sched.idle_count) == 0) {
        return false;
    }
    cu__lock_take(&cu__sched.lock);
    struct cu__p *p = unlist_idle_p();
    cu__lock_drop(&cu__sched.lock);
    if (p) {
        resume(m, p);
    }
    return p != NULL;
}

void cu__p_await(struct cu__m *m)
{
    cu__lock_take(&cu__sched.lock);
    struct cu__p *p = unlist_idle_p();
    if (p == NULL) {
        list_waiting(m);
    }
    cu__lock_drop(&cu__sched.lock);
    if (p == NULL) {
        sleep_until_roused(m);
        p = m->next_p;
    }
    resume(m, p);
}

void cu__enqueue_locked(struct cu__g *g)
{
    struct cu__m *m = g->locked_m;
    cu__lock_take(&cu__sched.lock);
    struct cu__p *p = unlist_idle_p();
    if (p) {
        m->next_p = p;
    } else {
        list_waiting(m);
    }
    cu__lock_drop(&cu__sched.lock);
    if (p) {
        rouse(m);
    }
}

struct cu__g *cu__wait_locked(struct cu__m *m)
{
    struct cu__g *g = m->locked_g;
    for (;;) {
        if (m->p) {
            bool is_all_idle = cu__p_give(m, false);
            store_relaxed(&m->p, NULL);
            cu__see_to_work();
            if (is_all_idle) {
                cu__watch_idle();
                if (load_seq(&cu__sched.quiesce_count)) {
                    cu__quiesce_check();
                }
            }
        }
        sleep_until_roused(m);
        resume(m, m->next_p);
        if (cu__g_apply(&g->state, CU__G_RUN)) {
            return g;
        }
        /* an inspector holds it, and readies it again */
    }
}
