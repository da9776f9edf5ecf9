/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see procs.h; cu_maxprocs, cu_set_maxprocs.
 *
 * Design: nothing is stopped for a change. There is room for all P that may ever be; sched.procs
 * says how many are wanted, and those are the ones with the lower indices.
 *
 *      never used ──open──> alive ──retire──> gone ──open──> alive
 *
 * A P that is alive with an index too high is surplus. An idle one goes at once, by who lowers the
 * number. One that an M has goes when it is given up: the M finds that within some tens of switches
 * (pick), at once when it runs out of work, and sysmon takes it from who computes on or blocks, as
 * if others waited for it, but gives it to nobody. Giving up a surplus P clears it: its queue goes
 * to the global one, its timers to the first P, which always stays, its warm stacks and free
 * control blocks to everybody's. If the number was raised meanwhile it is a P like others again.
 *
 * Invariants: a P that is gone has no owner, is in no list, its queue is empty, its heap is closed.
 * So who looks everywhere for work or timers (find_work.c) looks at those below ps_seen alone. What
 * is moved while somebody looks may be missed in both places; so moving is a submission, like that
 * of a new coroutine or timer: whoever moves something looks for sleepers afterwards.
 *
 * "All idle" compares with alive_count, which counts those that are to go, until they have gone. So
 * it may come true with their going, and whoever lowered the number tells.
 */
#include "procs.h"

#include <copper/go.h>
#include <errno.h>
#include <sys/mman.h>

#include "clock.h"
#include "events.h"
#include "random.h"
#include "registry.h"
#include "replay.h"
#include "runq.h"
#include "schedule.h"
#include "stack.h"
#include "supply.h"
#include "sysmon.h"
#include "watch.h"
#include "worker.h"

static struct cu__lock changing; /* held while somebody changes the number */
static uint32_t asked;           /* any: atomic; by cu_set_maxprocs before the start; 0: not */

uint32_t cu__procs_wanted(void)
{
    uint32_t procs = load_relaxed(&asked);
    return procs ? procs : cu__config_procs();
}

int cu_maxprocs(void)
{
    const struct cu__sched *s = &cu__sched;
    return (int)(load_acquire(&s->is_started) ? load_relaxed(&s->procs) : cu__procs_wanted());
}

/* Called with the lock (at the start: alone): after P came or went. */
static void publish_seen(struct cu__sched *s)
{
    uint32_t seen = s->ps_used;
    while (seen > 0 && !s->ps[seen - 1].is_alive) {
        seen--;
    }
    store_seq(&s->ps_seen, seen);
}

/* Called with the lock; p is not alive. */
static void open_p(struct cu__sched *s, uint32_t i)
{
    struct cu__p *p = &s->ps[i];
    if (i >= s->ps_used) {
        p->index = i;
        p->random = cu__random_mix(cu__replay.random + i + 1);
        p->timers.next_ns = COPPER_NO_WAKE;
        store_release(&s->ps_used, i + 1);
    } else {
        cu__p_reopen(p);
    }
    p->is_alive = true;
    store_seq(&s->alive_count, s->alive_count + 1);
}

static size_t ps_bytes(void)
{
    return COPPER_PROCS_MAX * sizeof(struct cu__p);
}

int cu__procs_prepare(uint32_t procs)
{
    struct cu__sched *s = &cu__sched;
    struct cu__p *ps = mmap(NULL, ps_bytes(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ps == MAP_FAILED) {
        return -ENOMEM;
    }
    s->ps = ps;
    s->procs = procs;
    for (uint32_t i = 0; i < procs; i++) {
        open_p(s, i);
    }
    publish_seen(s);
    return cu__stack_hold_back(procs);
}

void cu__procs_discard(void)
{
    struct cu__sched *s = &cu__sched;
    if (s->ps) {
        munmap(s->ps, ps_bytes());
    }
    s->ps = NULL;
    s->ps_used = s->ps_seen = s->alive_count = 0;
}

void cu__procs_lock(void)
{
    cu__lock_take(&changing);
}

void cu__procs_unlock(void)
{
    cu__lock_drop(&changing);
}

/* ---- going ---- */

void cu__p_clear(struct cu__p *p)
{
    cu__stack_empty(p);
    cu__registry_empty(p);
    cu__runq_drain(p);
    cu__timers_close(p);
    p->is_clear = true;
}

void cu__p_reopen(struct cu__p *p)
{
    cu__timers_open(p);
    p->is_clear = false;
}

void cu__p_retire(struct cu__p *p)
{
    struct cu__sched *s = &cu__sched;
    p->is_alive = false;
    store_seq(&s->alive_count, s->alive_count - 1);
    publish_seen(s);
}

/* ---- changing ---- */

/* The P that came, or that were idle and are to go, linked; the caller's now. */
static struct cu__p *set_procs(struct cu__sched *s, uint32_t procs)
{
    struct cu__p *came = NULL;
    cu__lock_take(&s->lock);
    for (uint32_t i = 0; i < procs; i++) {
        if (!s->ps[i].is_alive) {
            open_p(s, i);
            s->ps[i].next_idle = came;
            came = &s->ps[i];
        }
    }
    publish_seen(s);
    store_seq(&s->procs, procs); /* when all below are there: plain threads use them for timers */
    struct cu__p *chain = came ? came : cu__p_unlist_surplus();
    cu__lock_drop(&s->lock);
    return chain;
}

static void tell_if_all_idle(struct cu__sched *s)
{
    if (load_seq(&s->idle_count) == load_seq(&s->alive_count)) {
        cu__watch_idle();
        if (load_seq(&s->quiesce_count)) {
            cu__quiesce_check();
        }
    }
}

/* Called with `changing`, so that changes are told in their order. */
static void tell_change(uint32_t former, uint32_t procs)
{
    if (former != procs && EVENT_ON(PROCS_CHANGED)) {
        cu__emit_procs_changed(cu_now(), (int)procs);
    }
}

static int change(struct cu__sched *s, uint32_t procs)
{
    uint32_t former = s->procs;
    int error = cu__stack_hold_back(procs);
    if (error) {
        return error;
    }
    for (struct cu__p *p = set_procs(s, procs), *next; p; p = next) {
        next = p->next_idle;
        cu__p_hand_on(p);
    }
    tell_change(former, procs);
    cu__sysmon_work(); /* to look at those that have one too many */
    tell_if_all_idle(s);
    return (int)former;
}

int cu_set_maxprocs(int n)
{
    struct cu__sched *s = &cu__sched;
    if (n < 1) {
        return cu_maxprocs();
    }
    if (n > (int)COPPER_PROCS_MAX) {
        return -EINVAL;
    }
    int result;
    cu__lock_take(&changing);
    if (!load_acquire(&s->is_started)) {
        result = cu_maxprocs();
        store_relaxed(&asked, (uint32_t)n);
        tell_change((uint32_t)result, (uint32_t)n);
    } else if (cu__replay_is_on()) {
        result = n == 1 ? 1 : -EBUSY;
    } else {
        result = change(s, (uint32_t)n);
    }
    cu__lock_drop(&changing);
    return result;
}

void cu__procs_after_fork(void)
{
    changing.word = 0;
}
