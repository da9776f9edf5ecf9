/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a worker that ran out of coroutines looks for more, and sleeps when there is none; and
 * who makes work wakes such a worker.
 *
 * Who sleeps and who has which P is in supply.c.
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
 * keeper found are delivered when it has a P. While workers that run out of work find events so
 * often that the keeper would be woken for what they take, it sleeps beside the poller for NAP_NS
 * at a time, and spinning workers look elsewhere; should all go to sleep, the last sends the keeper
 * back. Where the answers come from outside, a worker's first look finds nothing, and none of this
 * happens.
 *
 * A runnext is stolen only from a P that did not switch since the thief last looked, some
 * microseconds ago: normally its P runs it at once, with warm data; but if what runs there does not
 * stop, it must not wait. In the same way a few coroutines in a ring are left alone while their P,
 * at the pace it had since the last look, will have run them by the next: where coroutines hand
 * each other values, moving one to another processor costs more than it does in its turn. Before
 * the thief goes to sleep it takes what is there, so coroutines that only yield to each other get
 * apart too.
 */
#include "schedule.h"

#include "arch.h"
#include "clock.h"
#include "events.h"
#include "futex.h"
#include "gstate.h"
#include "netpoll.h"
#include "random.h"
#include "runq.h"
#include "supply.h"
#include "watch.h"

#define SPIN_ROUNDS   10u
#define SPIN_PAUSE_NS 3000 /* between rounds; also how long a runnext is left alone */
#define NAP_NS        (100 * COPPER_US)
#define FEW           8u                /* coroutines that may be left to their P */
#define SURPLUS_NS    (10 * COPPER_SEC) /* how long more threads rest than there are P */

void cu__wake_keeper(int64_t deadline_ns)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m *keeper = load_seq(&s->keeper);
    if (keeper == NULL && load_seq(&s->idle_count)) {
        cu__wake_one(); /* it will find nothing, and become the keeper */
    } else if (keeper && deadline_ns < load_seq(&s->keeper_until_ns)) {
        uint32_t was = load_relaxed(&keeper->wake);
        while (was == CU__SLEEPING || was == CU__POLLING) {
            if (cas_seq(&keeper->wake, &was, CU__NUDGED)) {
                cu__end_sleep(keeper, was);
                return;
            }
        }
    }
}

/* ---- looking ---- */

static int64_t earliest_timer(void)
{
    int64_t earliest = COPPER_NO_WAKE;
    uint32_t count = load_seq(&cu__sched.ps_seen);
    for (uint32_t i = 0; i < count; i++) {
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
    uint32_t count = load_seq(&cu__sched.ps_seen);
    for (uint32_t i = 0; i < count; i++) {
        if (!cu__runq_is_empty(&cu__sched.ps[i])) {
            return true;
        }
    }
    return false;
}

/* What a thief remembers of each victim from one round to the next. */
struct seen {
    bool is_known;
    uint32_t tick;
    struct cu__g *runnext;
};

/* Whether what is in the victim's ring is little and will be gone by the next round, going by what
 * it ran since the last one. */
static bool will_be_gone(const struct cu__p *victim, const struct seen *seen, uint32_t tick)
{
    uint32_t pace = seen->is_known ? tick - seen->tick : FEW;
    uint32_t length = load_relaxed(&victim->tail) - load_relaxed(&victim->head);
    return length <= (pace < FEW ? pace : FEW);
}

static struct cu__g *steal_from(struct cu__p *p, struct cu__p *victim, struct seen *seen,
                                bool is_last)
{
    uint32_t tick = load_relaxed(&victim->tick), count = 0;
    struct cu__g *runnext = load_relaxed(&victim->runnext);
    bool is_stuck = runnext && seen->runnext == runnext && seen->tick == tick;
    bool is_left = !is_last && will_be_gone(victim, seen, tick);
    *seen = (struct seen){true, tick, runnext};
    if (is_left && !is_stuck) {
        return NULL;
    }
    struct cu__g *g = cu__runq_steal(p, victim, is_stuck, &count);
    if (count) {
        bump(&p->counters.steals, count);
        if (EVENT_ON(STOLEN)) {
            cu__emit_stolen(cu_now(), (int)p->index, (int)victim->index, count);
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

/* What timers and the poller make ready here is first of all for this worker: nobody is woken
 * before it has taken one. */
static struct cu__g *look_nearby(struct cu__m *m)
{
    struct cu__p *p = m->p;
    m->is_looking = true;
    int64_t now_ns = cu_now();
    cu__timers_run(p, now_ns);
    struct cu__g *g = cu__pick(p);
    if (g == NULL && cu__netpoll_is_on() && cu__netpoll_is_awaited()) {
        if (!m->is_spinning || !cu__netpoll_is_attended(now_ns)) {
            cu__netpoll_look();
            g = cu__pick(p);
        }
        if (!m->is_spinning) {
            cu__netpoll_attend(m, now_ns, g != NULL);
        }
    }
    while (g == NULL && cu__replay_is_on() && cu__replay_advance(p)) {
        g = cu__pick(p);
    }
    m->is_looking = false;
    if (g && !cu__runq_is_empty(p)) {
        cu__wake_one(); /* taking g was a full barrier after what was put there */
    }
    return g;
}

/* True if this worker may look at the others' queues. */
static bool begin_spinning(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    if (!m->is_spinning) {
        uint32_t idle = load_relaxed(&s->idle_count);
        if (2 * load_relaxed(&s->spinning_count) + idle >= load_relaxed(&s->alive_count)) {
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
    struct seen seen[COPPER_PROCS_MAX] = {{false, 0, NULL}};
    uint32_t ps = load_acquire(&s->ps_seen);
    if (ps == 1 || !begin_spinning(m)) {
        return NULL;
    }
    for (uint32_t round = 0; round < SPIN_ROUNDS; round++) {
        uint32_t first = (uint32_t)(cu__random(&m->p->random) % ps);
        for (uint32_t i = 0; i < ps; i++) {
            struct cu__p *victim = &s->ps[(first + i) % ps];
            if (victim == m->p) {
                continue;
            }
            cu__timers_run(victim, cu_now());
            bool is_last = round + 1 == SPIN_ROUNDS;
            struct cu__g *g = steal_from(m->p, victim, &seen[victim->index], is_last);
            if (g) {
                m->p->cause = COPPER_CAUSE_STOLEN;
                return g;
            }
        }
        struct cu__g *g = look_nearby(m);
        if (g) {
            return g;
        }
        pause_ns(SPIN_PAUSE_NS);
    }
    return NULL;
}

bool cu__somebody_is_needed(void)
{
    return work_is_in_sight() || (load_seq(&cu__sched.keeper) == NULL &&
                                  (earliest_timer() != COPPER_NO_WAKE || cu__netpoll_is_awaited()));
}

void cu__see_to_work(void)
{
    if (load_seq(&cu__sched.idle_count) && cu__somebody_is_needed()) {
        cu__wake_one();
    }
}

bool cu__work_waits(int64_t now_ns)
{
    return work_is_in_sight() || earliest_timer() <= now_ns;
}

/* This worker found work: see the third rule above. */
static void end_spinning(struct cu__m *m)
{
    m->is_spinning = false;
    if (sub_seq(&cu__sched.spinning_count, 1) == 1) {
        cu__see_to_work();
    }
}

/* ---- sleeping ---- */

/* Until when a keeper may sleep. */
static int64_t keep_until(void)
{
    struct cu__sched *s = &cu__sched;
    for (;;) {
        bool is_now = cu__replay_is_on() && cu__replay_can_advance();
        int64_t until = is_now ? INT64_MIN : earliest_timer();
        store_seq(&s->keeper_until_ns, until);
        if (earliest_timer() >= until) {
            return until;
        }
    }
}

/* The keeper's sleep while there is a poller. True: it found events. */
static bool sleep_polling(struct cu__m *m, int64_t until, struct cu__polled *polled)
{
    uint32_t wake = CU__SLEEPING;
    if (cas_seq(&m->wake, &wake, CU__POLLING)) {
        cu__netpoll_wait(polled, until);
        wake = CU__POLLING;
        cas_seq(&m->wake, &wake, CU__SLEEPING);
    }
    return polled->count != 0;
}

/* While others look at the poller all the time, who sleeps in it is woken by the kernel for events
 * that they would have found: sleeps beside it for a moment instead. False: all others sleep. */
static bool nap(struct cu__m *m, int64_t until)
{
    struct cu__sched *s = &cu__sched;
    int64_t end_ns = cu_now() + NAP_NS;
    store_seq(&s->keeper_naps, 1);
    /* pairs with the load in rest, after the last P became idle */
    bool is_somebody_up = load_seq(&s->idle_count) < load_seq(&s->alive_count);
    if (is_somebody_up) {
        cu__futex_wait(&m->wake, CU__SLEEPING, end_ns < until ? end_ns : until);
    }
    store_seq(&s->keeper_naps, 0);
    return is_somebody_up;
}

/* No P is idle any more, or somebody has just given us one: what became ready goes into the global
 * queue. */
static void deliver_without_p(struct cu__m *m, struct cu__polled *polled)
{
    cu_assert(m->p == NULL);
    cu__netpoll_deliver(polled);
    polled->count = 0;
}

enum sleep { GOES_ON, IS_UP, IS_TO_END };

/* One step of a sleep: until something changes, or as keeper until a timer is due. It is to end
 * when there are more that rest than can ever run. */
static enum sleep sleep_a_while(struct cu__m *m, bool *is_keeper, struct cu__polled *polled)
{
    struct cu__sched *s = &cu__sched;
    struct cu__m *nobody = NULL;
    if (load_seq(&s->idle_count)) {
        *is_keeper = *is_keeper || cas_seq(&s->keeper, &nobody, m);
    } else if (*is_keeper) {
        /* no P to look at timers with: those that run see to them. And look again: a P may have
         * become idle before that was to be seen */
        *is_keeper = false;
        store_seq(&s->keeper, NULL);
        return GOES_ON;
    }
    int64_t until = *is_keeper ? keep_until() : COPPER_NO_DEADLINE;
    if (until <= cu_now()) {
        return cu__get_up(m) ? IS_UP : GOES_ON;
    }
    if (*is_keeper && cu__netpoll_is_on()) {
        bool is_attended =
            cu__netpoll_is_attended(cu_now()) && load_relaxed(&cu__netpoll.attended_by) != m;
        if (is_attended && nap(m, until)) {
            return GOES_ON;
        }
        if (sleep_polling(m, until, polled)) {
            if (cu__get_up(m)) {
                return IS_UP;
            }
            deliver_without_p(m, polled);
        }
        return GOES_ON;
    }
    bool is_surplus = !*is_keeper && load_seq(&s->idle_ms_count) > load_relaxed(&s->procs);
    if (is_surplus) {
        until = cu_now() + SURPLUS_NS;
    }
    cu__futex_wait(&m->wake, CU__SLEEPING, until);
    return is_surplus && cu_now() >= until && cu__retire(m) ? IS_TO_END : GOES_ON;
}

/* Until woken. False: m is to end. */
static bool sleep_idle(struct cu__m *m, struct cu__polled *polled)
{
    bool is_keeper = false;
    enum sleep sleep = GOES_ON;
    while (sleep == GOES_ON) {
        uint32_t wake = load_acquire(&m->wake);
        if (wake == CU__WOKEN) {
            break;
        }
        if (wake == CU__NUDGED && !cas_seq(&m->wake, &wake, CU__SLEEPING)) {
            continue;
        }
        sleep = sleep_a_while(m, &is_keeper, polled);
    }
    if (is_keeper) {
        store_seq(&cu__sched.keeper, NULL);
    }
    return sleep != IS_TO_END;
}

/* Gives the P up, if m has one, and sleeps until there may be work; comes back with a P, spinning.
 * False: m is to end. */
static bool rest(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    struct cu__polled polled = {.count = 0};
    bool is_all_idle = cu__p_give(m, true);
    if (m->is_spinning) {
        m->is_spinning = false;
        sub_seq(&s->spinning_count, 1);
    }
    if (!work_is_in_sight() || !cu__get_up(m)) {
        if (is_all_idle) {
            cu__watch_idle();
            if (load_seq(&s->quiesce_count)) {
                cu__quiesce_check();
            }
            if (load_seq(&s->keeper_naps)) {
                cu__wake_keeper(INT64_MIN); /* nobody looks at the poller any more */
            }
        }
        if (!sleep_idle(m, &polled)) {
            return false;
        }
    }
    store_relaxed(&m->wake, CU__SLEEPING);
    m->is_spinning = true;
    cu__p_take(m, m->next_p);
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

/* is_up: it has just got its P, for what is queued, and gives it to who waits for one only after it
 * looked: else those would have it by turns for ever. */
static struct cu__g *look(struct cu__m *m, bool is_up)
{
    bool gives_way = load_relaxed(&cu__sched.give_way) != 0;
    if (m->p == NULL || (gives_way && !is_up) || cu__p_is_surplus(m->p)) {
        return NULL;
    }
    struct cu__g *g = look_nearby(m);
    return g || gives_way ? g : look_everywhere(m);
}

struct cu__g *cu__find_work(struct cu__m *m)
{
    struct cu__g *g = m->picked;
    if (g) {
        m->picked = NULL;
        return g;
    }
    int64_t since_ns = cu_now();
    bool has_rested = false;
    if (m->p) {
        cu__p_stops(m->p, since_ns);
    }
    if (unlikely(m->locked_g != NULL)) {
        return cu__wait_locked(m);
    }
    if (unlikely(m->must_end)) {
        if (m->p) {
            cu__p_give(m, false);
            cu__see_to_work();
        }
        return NULL;
    }
    while ((g = look(m, has_rested)) == NULL) {
        if (m->p) {
            book(&m->p->counters.spinning_ns, since_ns);
        }
        if (!rest(m)) {
            return NULL;
        }
        has_rested = true;
        since_ns = cu_now();
    }
    if (has_rested && m->p->cause != COPPER_CAUSE_STOLEN) {
        m->p->cause = COPPER_CAUSE_NO_WORKER;
    }
    m->p->switched_ns = book(&m->p->counters.spinning_ns, since_ns);
    store_relaxed(&m->p->busy_since_ns, m->p->switched_ns);
    if (m->is_spinning) {
        end_spinning(m);
    }
    return g;
}
