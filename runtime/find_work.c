/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a worker that ran out of coroutines looks for more, and sleeps when there is none; and
 * who makes work wakes such a worker.
 *
 * The wake-up argument
 *
 * Wanted: no worker sleeps while a coroutine waits that it could run, and few wake-ups in vain (a
 * wake-up is a system call and costs more than the work it announces).
 *
 *   - At most half of the workers that hold a P spin: they look at all queues for a while.
 *   - Who puts work into a queue wakes a sleeping worker only if none spins: a spinning one will
 * see it. The woken one counts as spinning from then on.
 *   - A spinning worker that found work stops spinning, and if work is left in sight and nobody
 * else spins, wakes the next one. So wake-ups spread one by one, as long as there is work.
 *
 * No wake-up is lost:
 *
 *        who submits                        who goes to sleep
 *     1. puts work into a queue          1. lists its P as idle, stops counting as spinning
 *     2. full barrier                    2. full barrier
 *     3. looks: a P idle, none spins?    3. looks at all queues again
 *        then wakes one                     then, if something is there, gets up again
 *
 * Whatever the order, one of the two third steps sees the other's first step. (The barrier of a
 * submitter is the exchange of runnext, the lock of the global list, or a fence: runq.c.)
 *
 * Timers: among sleeping workers one is the keeper: it sleeps until the earliest deadline of all P.
 * Whoever leaves that role because there is work wakes another worker if one sleeps while timers
 * are pending, and that one becomes the keeper as it goes back to sleep; wakers choose the keeper
 * last. The barriers are described in timer.c.
 *
 * I/O: once there is a poller (netpoll.h), the keeper sleeps in it and not on its word; its word
 * says so (POLLING), and who changes it ends that sleep through the poller. So the word alone
 * decides, as for everybody else: a nudge that comes before POLLING is stored makes that store
 * fail. Events are no submissions: nobody needs to be told of them while somebody will look. That
 * is so because a worker looks before it goes to sleep, the keeper sleeps where events arrive, and
 * who leaves the role sees to a successor as above while anybody waits for I/O. Events that the
 * keeper found are delivered when it has a P.
 *
 * A runnext is stolen only from a P that did not switch since the thief last looked, some
 * microseconds ago: normally its P runs it at once, with warm data; but if what runs there does not
 * stop, it must not wait.
 */
#include "schedule.h"

#include "arch.h"
#include "clock.h"
#include "events.h"
#include "futex.h"
#include "gstate.h"
#include "netpoll.h"
#include "runq.h"
#include "watch.h"
#include "worker.h"

#define SPIN_ROUNDS   10u
#define SPIN_PAUSE_NS 3000 /* between rounds; also how long a runnext is left alone */

enum { SLEEPING = 0, WOKEN = 1, NUDGED = 2, POLLING = 3 }; /* struct cu__m.wake */

static void take_p(struct cu__m *m, struct cu__p *p)
{
    struct cu__m *nobody = NULL;
    bool is_ours = cas_seq(&p->owner, &nobody, m);
    cu_assert(is_ours);
    store_relaxed(&m->p, p); /* inspectors look */
    if (EVENT_ON(P_STARTED)) {
        cu__emit_p_started((int)p->index, m->tid);
    }
}

static void give_p(struct cu__m *m)
{
    struct cu__p *p = m->p;
    struct cu__m *owner = m;
    if (EVENT_ON(P_STOPPED)) {
        cu__emit_p_stopped((int)p->index);
    }
    store_relaxed(&m->p, NULL);
    bool was_ours = cas_seq(&p->owner, &owner, NULL);
    cu_assert(was_ours);
}

/* ---- the idle lists; all called with sched.lock. There are as many idle M as idle P. ---- */

static void list_idle(struct cu__m *m, struct cu__p *p)
{
    struct cu__sched *s = &cu__sched;
    p->next_idle = s->idle_ps;
    s->idle_ps = p;
    m->next_idle = s->idle_ms;
    s->idle_ms = m;
    m->is_idle = true;
    store_seq(&s->idle_count, s->idle_count + 1);
}

static struct cu__p *unlist_idle(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m **link = &s->idle_ms;
    while (*link != m) {
        link = &(*link)->next_idle;
    }
    *link = m->next_idle;
    m->is_idle = false;
    struct cu__p *p = s->idle_ps;
    s->idle_ps = p->next_idle;
    store_seq(&s->idle_count, s->idle_count - 1);
    return p;
}

/* Anybody but the keeper, if there is somebody else. */
static struct cu__m *choose_idle(void)
{
    struct cu__m *m = cu__sched.idle_ms;
    if (m && m->next_idle && m == load_relaxed(&cu__sched.keeper)) {
        m = m->next_idle;
    }
    return m;
}

/* Ends the sleep of a worker whose word was changed, wherever it sleeps. */
static void rouse(struct cu__m *m, uint32_t was)
{
    if (was == POLLING) {
        cu__netpoll_break();
    } else {
        cu__futex_wake(&m->wake, 1);
    }
}

static noinline void wake_idle(void)
{
    struct cu__sched *s = &cu__sched;
    uint32_t none = 0;
    if (!cas_seq(&s->spinning_count, &none, 1)) {
        return;
    }
    cu__lock_take(&s->lock);
    struct cu__m *m = choose_idle();
    if (m) {
        m->next_p = unlist_idle(m);
    }
    cu__lock_drop(&s->lock);
    if (m == NULL) {
        sub_seq(&s->spinning_count, 1);
        return;
    }
    /* pairs with the load in sleep_idle */
    rouse(m, __atomic_exchange_n(&m->wake, WOKEN, __ATOMIC_ACQ_REL));
}

void cu__wake_one(void)
{
    if (load_relaxed(&cu__sched.idle_count) != 0 && load_relaxed(&cu__sched.spinning_count) == 0) {
        wake_idle();
    }
}

void cu__wake_keeper(int64_t deadline_ns)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m *keeper = load_seq(&s->keeper);
    if (keeper && deadline_ns < load_seq(&s->keeper_until_ns)) {
        uint32_t was = load_relaxed(&keeper->wake);
        while (was == SLEEPING || was == POLLING) {
            if (cas_seq(&keeper->wake, &was, NUDGED)) {
                rouse(keeper, was);
                return;
            }
        }
    }
}

/* ---- looking ---- */

static int64_t earliest_timer(void)
{
    int64_t earliest = COPPER_NO_WAKE;
    for (uint32_t i = 0; i < cu__sched.procs; i++) {
        int64_t next = load_seq(&cu__sched.ps[i].timers.next_ns);
        earliest = next < earliest ? next : earliest;
    }
    return earliest;
}

static bool work_is_in_sight(void)
{
    if (load_seq(&cu__sched.global_count)) {
        return true;
    }
    for (uint32_t i = 0; i < cu__sched.procs; i++) {
        if (!cu__runq_is_empty(&cu__sched.ps[i])) {
            return true;
        }
    }
    return false;
}

static uint64_t next_random(struct cu__p *p)
{
    uint64_t x = p->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return p->random = x;
}

/* What a thief remembers of each victim from one round to the next. */
struct seen {
    uint32_t tick;
    struct cu__g *runnext;
};

static struct cu__g *steal_from(struct cu__p *p, struct cu__p *victim, struct seen *seen)
{
    uint32_t tick = load_relaxed(&victim->tick), count = 0;
    struct cu__g *runnext = load_relaxed(&victim->runnext);
    bool is_stuck = runnext && seen->runnext == runnext && seen->tick == tick;
    *seen = (struct seen){tick, runnext};
    struct cu__g *g = cu__runq_steal(p, victim, is_stuck, &count);
    if (count) {
        bump(&p->counters.steals, count);
        if (EVENT_ON(STOLEN)) {
            cu__emit_stolen((int)p->index, (int)victim->index, count);
        }
    }
    /* one that an inspector holds still is left to the inspector */
    return g && cu__g_apply(&g->state, CU__G_RUN) ? g : NULL;
}

static void pause_ns(int64_t ns)
{
    for (int64_t until = cu_now() + ns; cu_now() < until;) {
        cu__cpu_relax();
    }
}

static struct cu__g *look_nearby(struct cu__p *p)
{
    cu__timers_run(p, cu_now());
    struct cu__g *g = cu__pick(p);
    if (g == NULL && cu__netpoll_is_on() && cu__netpoll_is_awaited()) {
        cu__netpoll_look();
        g = cu__pick(p);
    }
    while (g == NULL && cu__replay_is_on() && cu__replay_advance(p)) {
        g = cu__pick(p);
    }
    return g;
}

/* True if this worker may look at the others' queues. */
static bool begin_spinning(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    if (!m->is_spinning) {
        uint32_t busy = s->procs - load_relaxed(&s->idle_count);
        if (2 * load_relaxed(&s->spinning_count) >= busy) {
            return false;
        }
        m->is_spinning = true;
        add_seq(&s->spinning_count, 1);
    }
    return true;
}

static struct cu__g *look_everywhere(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    struct seen seen[COPPER_PROCS_MAX] = {{0, NULL}};
    if (s->procs == 1 || !begin_spinning(m)) {
        return NULL;
    }
    for (uint32_t round = 0; round < SPIN_ROUNDS; round++) {
        uint32_t first = (uint32_t)(next_random(m->p) % s->procs);
        for (uint32_t i = 0; i < s->procs; i++) {
            struct cu__p *victim = &s->ps[(first + i) % s->procs];
            if (victim == m->p) {
                continue;
            }
            cu__timers_run(victim, cu_now());
            struct cu__g *g = steal_from(m->p, victim, &seen[victim->index]);
            if (g) {
                m->p->cause = COPPER_CAUSE_STOLEN;
                return g;
            }
        }
        struct cu__g *g = look_nearby(m->p);
        if (g) {
            return g;
        }
        pause_ns(SPIN_PAUSE_NS);
    }
    return NULL;
}

/* This worker found work: see the third rule above. */
static void end_spinning(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    m->is_spinning = false;
    if (sub_seq(&s->spinning_count, 1) != 1 || load_seq(&s->idle_count) == 0) {
        return;
    }
    if (work_is_in_sight() || (load_seq(&s->keeper) == NULL &&
                               (earliest_timer() != COPPER_NO_WAKE || cu__netpoll_is_awaited()))) {
        cu__wake_one();
    }
}

/* ---- sleeping ---- */

/* Gets up by oneself. False: a waker was faster, and has set m->next_p. */
static bool get_up(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    add_seq(&s->spinning_count, 1);
    cu__lock_take(&s->lock);
    bool is_idle = m->is_idle;
    if (is_idle) {
        m->next_p = unlist_idle(m);
    }
    cu__lock_drop(&s->lock);
    if (!is_idle) {
        sub_seq(&s->spinning_count, 1);
    }
    return is_idle;
}

/* Until when a keeper may sleep. */
static int64_t keep_until(void)
{
    struct cu__sched *s = &cu__sched;
    for (;;) {
        int64_t until = earliest_timer();
        store_seq(&s->keeper_until_ns, until);
        if (earliest_timer() >= until) {
            return until;
        }
    }
}

/* The keeper's sleep while there is a poller. True: it found events. */
static bool sleep_polling(struct cu__m *m, int64_t until, struct cu__polled *polled)
{
    uint32_t wake = SLEEPING;
    if (cas_seq(&m->wake, &wake, POLLING)) {
        cu__netpoll_wait(polled, until);
        wake = POLLING;
        cas_seq(&m->wake, &wake, SLEEPING);
    }
    return polled->count != 0;
}

/* Until woken, or as keeper until a timer is due or an event is there. */
static void sleep_idle(struct cu__m *m, struct cu__polled *polled)
{
    struct cu__sched *s = &cu__sched;
    bool is_keeper = false;
    for (;;) {
        uint32_t wake = load_acquire(&m->wake);
        if (wake == WOKEN) {
            break;
        }
        if (wake == NUDGED && !cas_seq(&m->wake, &wake, SLEEPING)) {
            continue;
        }
        struct cu__m *nobody = NULL;
        is_keeper = is_keeper || cas_seq(&s->keeper, &nobody, m);
        int64_t until = is_keeper ? keep_until() : COPPER_NO_DEADLINE;
        if (until != COPPER_NO_DEADLINE && until <= cu_now()) {
            if (get_up(m)) {
                break;
            }
            continue;
        }
        if (is_keeper && polled->count == 0 && cu__netpoll_is_on()) {
            if (sleep_polling(m, until, polled) && get_up(m)) {
                break;
            }
            continue;
        }
        cu__futex_wait(&m->wake, SLEEPING, until);
    }
    if (is_keeper) {
        store_seq(&s->keeper, NULL);
    }
}

/* Gives the P up and sleeps until there may be work; comes back with a P, spinning. False: work
 * came up while we were about to. */
static bool rest(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    struct cu__polled polled = {.count = 0};
    cu__lock_take(&s->lock);
    if (s->global_count) {
        cu__lock_drop(&s->lock);
        return false;
    }
    struct cu__p *p = m->p;
    store_relaxed(&m->wake, SLEEPING);
    give_p(m);
    list_idle(m, p);
    bool is_all_idle = s->idle_count == s->procs;
    cu__lock_drop(&s->lock);
    if (m->is_spinning) {
        m->is_spinning = false;
        sub_seq(&s->spinning_count, 1);
    }
    if (!work_is_in_sight() || !get_up(m)) {
        if (is_all_idle) {
            cu__watch_idle();
            if (load_seq(&s->quiesce_count)) {
                cu__quiesce_check();
            }
        }
        sleep_idle(m, &polled);
    }
    m->is_spinning = true;
    take_p(m, m->next_p);
    cu__netpoll_deliver(&polled);
    return true;
}

/* Books the time since *since_ns on p. */
static int64_t book(uint64_t *counter, int64_t since_ns)
{
    int64_t now_ns = cu_now();
    bump(counter, (uint64_t)(now_ns - since_ns));
    return now_ns;
}

struct cu__g *cu__find_work(struct cu__m *m)
{
    struct cu__g *g;
    int64_t since_ns = cu_now();
    if (m->p->busy_since_ns) {
        since_ns = book(&m->p->counters.running_ns, m->p->busy_since_ns);
        store_relaxed(&m->p->busy_since_ns, 0);
    }
    for (;;) {
        g = look_nearby(m->p);
        if (g == NULL) {
            g = look_everywhere(m);
        }
        if (g) {
            break;
        }
        book(&m->p->counters.spinning_ns, since_ns);
        rest(m);
        since_ns = cu_now();
    }
    store_relaxed(&m->p->busy_since_ns, book(&m->p->counters.spinning_ns, since_ns));
    if (m->is_spinning) {
        end_spinning(m);
    }
    return g;
}
