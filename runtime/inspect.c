/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/inspect.h: what exists now.
 *
 * Design: all slots are walked in order. A coroutine that is runnable or waiting is claimed
 * (gstate.h), described with its registers, shown, and released; if it was made ready or dequeued
 * meanwhile, we queue it. One that runs, or that switches just now, is described without registers:
 * its facts are read as they are, and thrown away if the id changed meanwhile.
 *
 * The object a claimed coroutine waits on may go away only after the coroutine was taken out of its
 * list. So it is described under the object's stripe, if the coroutine is still waiting then:
 *   - a channel, or a pool, is freed only by passing through its stripe, and only after who took
 * the last waiter out has returned, which includes having readied it: we would see PENDING;
 *   - the others have no lock of their own: their waiters are taken out under the stripe, and we
 *     would see is_queued false.
 *
 * Concurrency: one inspection at a time has claims. One that lasts gives way to those that wait for
 * it, between two coroutines, and goes on when they had their turn: first come, first served. So a
 * short look does not wait for a long one, and a visitor may meet another inspection's visitor
 * between two of its own calls. Threads that wait for their turn sleep.
 * Signal safety: cu_inspect_here reads two words through the initial-exec thread-local.
 */
#include <copper/inspect.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "arch.h"
#include "barrier.h"
#include "chan.h"
#include "clock.h"
#include "fd.h"
#include "gstate.h"
#include "origin.h"
#include "ownership.h"
#include "pool.h"
#include "registry.h"
#include "runq.h"
#include "schedule.h"
#include "select_int.h"
#include "stack.h"
#include "stack_guard.h"
#include "supply.h"
#include "sync_int.h"
#include "tls.h"

#define TURN_NS COPPER_MS /* after which an inspection gives way */

static struct turns {
    pthread_mutex_t lock;
    pthread_cond_t passed;
    uint64_t drawn;  /* writer: lock; any: atomic; numbers given to who came */
    uint64_t number; /* writer: whose turn it is, with the lock; the one that has it */
} turns = {.lock = PTHREAD_MUTEX_INITIALIZER, .passed = PTHREAD_COND_INITIALIZER};

/* Called with a claim on g and the object's stripe. */
static bool still_waits(const struct cu__g *g)
{
    return (load_seq(&g->state) & (CU__G_STATE_MASK | CU__G_PENDING)) == CU__G_WAITING &&
           load_relaxed(&g->waiter.is_queued);
}

/* Called with the object's stripe, while it exists. */
static void copy_facts(struct cu_object_info *out)
{
    const void *object = out->address;
    const struct cu__rwmutex *rw = object;
    cu_id owner;
    switch (out->kind) {
    case COPPER_OBJECT_CHAN:
        cu__chan_describe(object, out);
        break;
    case COPPER_OBJECT_MUTEX:
        out->owner = cu__mutex_owner(load_relaxed(&((const struct cu__mutex *)object)->word));
        break;
    case COPPER_OBJECT_RWMUTEX:
        out->owner = load_relaxed(&rw->owner);
        out->count = cu__rwmutex_readers(load_relaxed(&rw->word));
        break;
    case COPPER_OBJECT_ONCE:
        owner = load_relaxed(&((const struct cu__once *)object)->owner);
        out->owner = owner > 0 ? owner : 0;
        break;
    case COPPER_OBJECT_SEM:
        out->count = cu__sem_units(load_relaxed(&((const struct cu__sem *)object)->word));
        break;
    case COPPER_OBJECT_WG:
    case COPPER_OBJECT_GROUP:
        out->count = cu__wg_count(load_relaxed(&((const struct cu__wg *)object)->word));
        break;
    case COPPER_OBJECT_POOL:
        cu__pool_describe(object, out);
        break;
    case COPPER_OBJECT_FD:
        out->cap = (uint64_t)((const struct cu__fd *)object)->number;
        break;
    default:
        break;
    }
}

static void describe_object(const struct cu__g *g, struct cu_object_info *out)
{
    out->kind = g->wait.kind;
    out->address = g->wait.object;
    if (g->select) {
        cu__select_describe(g->select, out);
    }
    if (g->select || out->address == NULL) {
        return;
    }
    struct cu__lock *stripe = cu__stripe(out->address);
    cu__lock_take(stripe);
    if (still_waits(g)) {
        copy_facts(out);
    }
    cu__lock_drop(stripe);
}

static int32_t thread_locked_to(const struct cu__g *g)
{
    const struct cu__m *m = load_relaxed(&g->is_locked) ? load_relaxed(&g->locked_m) : NULL;
    return m ? load_relaxed(&m->tid) : 0;
}

/* Facts that hold in every state. */
static void describe(const struct cu__g *g, struct cu_g_info *out)
{
    uint64_t name[ARRAY_LEN(g->name)];
    for (size_t i = 0; i < ARRAY_LEN(name); i++) {
        name[i] = load_relaxed(&g->name[i]);
    }
    memset(out, 0, sizeof(*out));
    memcpy(out->name, name, sizeof(out->name));
    out->size = sizeof(*out);
    out->p = -1;
    out->parent = load_relaxed(&g->parent);
    out->site = load_relaxed(&g->site);
    out->entry = load_relaxed(&g->entry);
    out->origin = load_acquire(&g->origin); /* pairs with fill_in: what it points to is there */
    out->labels = load_acquire(&g->labels);
    out->scope = load_relaxed(&g->scope_id);
    out->joins = load_relaxed(&g->wg);
    out->is_daemon = load_relaxed(&g->is_daemon);
    out->is_main = load_relaxed(&g->is_main);
    out->locked_tid = thread_locked_to(g);
    out->since_ns = load_relaxed(&g->since_ns);
    out->created_ns = load_relaxed(&g->created_ns);
    out->cpu_ns = load_relaxed(&g->run_ns);
}

static void describe_still(const struct cu__g *g, struct cu_g_info *out)
{
    bool waits = (load_seq(&g->state) & CU__G_STATE_MASK) == CU__G_WAITING;
    out->state = waits ? COPPER_G_WAITING : COPPER_G_RUNNABLE;
    if (waits) {
        out->reason = g->wait.reason;
        out->deadline_ns = g->wait.deadline_ns;
        describe_object(g, &out->object);
    }
    if (g->stack) {
        out->is_started = out->has_regs = true;
        out->stack_lo = (uint64_t)(uintptr_t)g->stack->lo;
        out->stack_hi = (uint64_t)(uintptr_t)g->stack->hi;
        cu__frame_regs(g->context.sp, &out->regs);
    }
}

static void release(struct cu__g *g)
{
    if (cu__g_apply(&g->state, CU__G_RELEASE)) {
        cu__enqueue(g);
    }
}

/* On which thread g runs, as of a moment ago, and whether it computes there: it does not in an
 * announced call, or without a P. */
static void describe_thread(const struct cu__g *g, struct cu_g_info *out)
{
    uint32_t count = load_acquire(&cu__sched.ms_used);
    for (uint32_t i = 0; i < count; i++) {
        struct cu__m *m = &cu__sched.ms[i];
        if (load_relaxed(&m->g) == g) {
            struct cu__p *p = load_relaxed(&m->p);
            bool has_p = p && cu__owner(p) == m;
            out->tid = load_relaxed(&m->tid);
            out->p = has_p ? (int32_t)p->index : -1;
            if (!has_p || cu__is_in_call(g, load_relaxed(&m->syscalls))) {
                out->state = COPPER_G_SYSCALL;
            }
            return;
        }
    }
}

enum seen { SEEN_NOTHING, SEEN, SEEN_ENOUGH };

static enum seen show(struct cu__g *g, bool (*visit)(const struct cu_g_info *, void *), void *arg)
{
    struct cu_g_info info;
    cu_id id = load_acquire(&g->id);
    if (id == 0 || (load_acquire(&g->state) & CU__G_STATE_MASK) == CU__G_DEAD) {
        return SEEN_NOTHING;
    }
    bool is_claimed = cu__g_apply(&g->state, CU__G_CLAIM);
    if (is_claimed) {
        id = g->id; /* the slot may have been used anew since we looked; now it stands still */
    }
    describe(g, &info);
    info.id = id;
    if (is_claimed) {
        describe_still(g, &info);
        bool goes_on = visit(&info, arg);
        release(g);
        return goes_on ? SEEN : SEEN_ENOUGH;
    }
    info.state = COPPER_G_RUNNING;
    info.is_started = true;
    describe_thread(g, &info);
    struct cu__stack *stack = load_acquire(&g->stack);
    if (stack) {
        info.stack_lo = (uint64_t)(uintptr_t)stack->lo;
        info.stack_hi = (uint64_t)(uintptr_t)stack->hi;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (load_relaxed(&g->id) != id || load_relaxed(&g->state) == CU__G_DEAD) {
        return SEEN_NOTHING; /* it ended while we read */
    }
    return visit(&info, arg) ? SEEN : SEEN_ENOUGH;
}

/* Asks for the saved registers of the coroutine in slot i. They lie in a page of their own, whose
 * address takes longer to translate than all else about a coroutine takes; so that passes while the
 * one before it is seen to. Where it may run or end just now, the address is one that it had once,
 * or NULL: nothing is read there. Asking further ahead, or for more of the stack, costs more than
 * it saves: the processor then no longer sees by itself that stacks lie at equal distances. */
static void prefetch_registers(uint32_t i)
{
    __builtin_prefetch(load_relaxed(&cu__registry_slot(i)->context.sp));
}

/* Waits for our turn. When it began. */
static int64_t begin_turn(void)
{
    pthread_mutex_lock(&turns.lock);
    uint64_t mine = turns.drawn;
    store_relaxed(&turns.drawn, mine + 1);
    while (turns.number != mine) {
        pthread_cond_wait(&turns.passed, &turns.lock);
    }
    pthread_mutex_unlock(&turns.lock);
    add_seq(&cu__sched.inspecting_count, 1);
    cu__claims_open();
    return cu_now();
}

static void end_turn(void)
{
    cu__claims_close();
    sub_seq(&cu__sched.inspecting_count, 1);
    pthread_mutex_lock(&turns.lock);
    turns.number++;
    pthread_cond_broadcast(&turns.passed);
    pthread_mutex_unlock(&turns.lock);
    if (load_seq(&cu__sched.quiesce_count)) {
        cu__quiesce_check(); /* while we inspected, it could not come true */
    }
}

/* Whether somebody waits for us to end our turn: an inspection, or who waits for all to be idle.
 * Called in our turn. */
static bool is_awaited(void)
{
    return load_relaxed(&turns.drawn) != turns.number + 1 ||
           load_relaxed(&cu__sched.quiesce_count) != 0;
}

int64_t cu_inspect_each(bool (*visit)(const struct cu_g_info *g, void *arg), void *arg)
{
    int64_t visited = 0;
    if (!load_acquire(&cu__sched.is_started)) {
        return 0;
    }
    int64_t began_ns = begin_turn();
    uint32_t count = cu__registry_count();
    for (uint32_t i = 0; i < count; i++) {
        if (i + 1 < count) {
            prefetch_registers(i + 1);
        }
        enum seen seen = show(cu__registry_slot(i), visit, arg);
        visited += seen != SEEN_NOTHING;
        if (seen == SEEN_ENOUGH) {
            break;
        }
        if (unlikely(is_awaited()) && cu_now() - began_ns >= TURN_NS) {
            end_turn();
            began_ns = begin_turn();
        }
    }
    end_turn();
    return visited;
}

void cu_inspect_here(struct cu_here *out)
{
    struct cu__m *m = cu__m();
    struct cu__g *g = m ? load_relaxed(&m->g) : NULL;
    *out = (struct cu_here){.kind = COPPER_HERE_THREAD};
    if (m == NULL) {
        out->labels = cu__thread_labels();
        return;
    }
    out->kind = COPPER_HERE_SCHEDULER;
    struct cu__stack *stack = g ? load_relaxed(&g->stack) : NULL;
    if (stack) {
        out->kind = COPPER_HERE_COROUTINE;
        out->id = load_relaxed(&g->id);
        out->labels = load_relaxed(&g->labels);
        out->stack_lo = (uint64_t)(uintptr_t)stack->lo;
        out->stack_hi = (uint64_t)(uintptr_t)stack->hi;
    }
}

static void add_counters(struct cu_runtime_stats *out, const struct cu__counters *c)
{
    out->created += load_relaxed(&c->created);
    out->exited += load_relaxed(&c->exited);
    out->switches += load_relaxed(&c->switches);
    out->parks += load_relaxed(&c->parks);
    out->steals += load_relaxed(&c->steals);
    out->running_ns += load_relaxed(&c->running_ns);
    out->spinning_ns += load_relaxed(&c->spinning_ns);
}

void cu_runtime_stats_read(struct cu_runtime_stats *out)
{
    struct cu__sched *s = &cu__sched;
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    out->maxprocs = cu_maxprocs();
    memcpy(out->guard_mode, cu__stack_guard_mode(), strlen(cu__stack_guard_mode()) + 1);
    cu__label_stats(out);
    cu__origin_stats(out);
    if (!load_acquire(&s->is_started)) {
        return;
    }
    int64_t now_ns = cu_now();
    add_counters(out, &s->foreign);
    for (uint32_t i = 0; i < load_acquire(&s->ps_used); i++) {
        struct cu__p *p = &s->ps[i];
        add_counters(out, &p->counters);
        out->runnable += cu__runq_length(p);
        int64_t busy_since_ns = load_relaxed(&p->busy_since_ns);
        if (busy_since_ns && busy_since_ns < now_ns) {
            out->running_ns += (uint64_t)(now_ns - busy_since_ns);
        }
    }
    for (int i = 0; i < COPPER_HANDOFF_COUNT; i++) {
        out->handoffs[i] = load_relaxed(&s->supply.handoffs[i]);
    }
    out->starved = load_relaxed(&s->supply.starved);
    out->preempted = load_relaxed(&s->supply.preempted);
    out->threads_refused = load_relaxed(&s->supply.refused);
    out->threads_max = s->threads_max;
    out->idle_ns = cu__idle_ns(now_ns);
    out->runnable += load_relaxed(&s->global_count);
    out->threads = load_relaxed(&s->threads);
    out->live = out->created > out->exited ? out->created - out->exited : 0;
}

const char *cu_g_state_text(const struct cu_g_info *g)
{
    switch (g->state) {
    case COPPER_G_RUNNABLE:
        return "runnable";
    case COPPER_G_RUNNING:
        return "running";
    case COPPER_G_SYSCALL:
        return "syscall";
    case COPPER_G_WAITING:
        return cu_wait_reason_text(g->reason);
    }
    return "unknown";
}

/* An inspection of another thread does not go on in the child. */
void cu__inspect_after_fork(void)
{
    struct turns fresh = {.lock = PTHREAD_MUTEX_INITIALIZER, .passed = PTHREAD_COND_INITIALIZER};
    memcpy(&turns, &fresh, sizeof(turns));
}
