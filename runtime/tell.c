/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what tools are told of one moment, when a coroutine stops, runs or becomes runnable: the
 * time, who it is about, and how long it waited. Who is told is in hooks.c.
 *
 * Waits (`waited`) are chosen here and not by the tools: with a number drawn from [0, 1) for each
 * wait, a wait is told to whoever's rate times that number is below its length, and most are told
 * to nobody at the price of one comparison with the finest rate.
 *
 * The clock of events. One that is told at each switch is not worth a reading of the kernel's
 * clock, which waits for all instructions before it: a worker has such a reading at most ANCHOR_NS
 * old and adds the processor's counter since then, at a pace that is certainly not too fast. So the
 * time of an event is behind cu_now(), by 0.1 us as a rule and 0.6 at most, never ahead. In two
 * threads it may be so by different amounts, and yet an event is always later than what caused it
 * on another thread, so that the times alone put them in order: no thread goes back behind what it
 * told last (cu__m.told_ns); when the coroutine that it tells of stopped or became ready, which the
 * coroutine carries, is a nanosecond before at least; and whatever passes from thread to thread
 * otherwise, as a P does, is told by cu_now(). Where there is no such counter, or time is replayed,
 * it is cu_now() altogether.
 *
 * Concurrency: `moment` is written with the lock of attached tools, and read by everybody. What a
 * coroutine carries belongs to who stops it, wakes it or runs it.
 */
#include <copper/hooks.h>

#include "arch.h"
#include "clock.h"
#include "events.h"
#include "schedule.h"
#include "ticks.h"
#include "tls.h"

#define CLOCK_LATE_NS COPPER_MS /* how much later than a kernel tick before p->clock_ns may be */
#define ANCHOR_NS     64000 /* clocks that are being set right differ by 32 ns in that time... */
#define SLOWER        1024  /* ... and one that is slower by this part by 62 */
#define TOGETHER_NS   500   /* two readings of clocks further apart are not of one moment */

static struct {
    uint32_t serial;     /* counts how often RUNNING was turned on */
    int64_t waits_since; /* when WAITED was turned on, in ticks */
    int64_t wait_rate;   /* the finest, in ticks */
    int64_t clock_late;  /* CLOCK_LATE_NS, in ticks */
    uint64_t anchored;   /* ANCHOR_NS, in ticks; 0: the clock of events is cu_now() */
    uint64_t together;   /* TOGETHER_NS, in ticks */
    uint64_t ns_each;    /* of a tick, a little less, in 2^-32 */
} moment cache_aligned;  /* writer: lock of hooks.c; any: atomic */

static void set_clock(void)
{
    cu__ticks_prepare();
    bool is_counter = load_relaxed(&cu__ticks.is_counter);
    uint64_t ns_each = load_relaxed(&cu__ticks.ns_each);
    store_relaxed(&moment.ns_each, ns_each - ns_each / SLOWER);
    store_relaxed(&moment.together, (uint64_t)cu__ticks_from_ns(TOGETHER_NS));
    store_relaxed(&moment.anchored, is_counter ? (uint64_t)cu__ticks_from_ns(ANCHOR_NS) : 0);
}

void cu__tell_prepare(uint32_t added, int64_t wait_rate_ns)
{
    if (added & EVENT_BIT(RUNNING)) {
        store_relaxed(&moment.serial, moment.serial + 1);
    }
    if (added & COPPER_EVENTS_BY_COUNTER) {
        set_clock();
    }
    if (added & EVENT_BIT(WAITED)) {
        store_relaxed(&moment.waits_since, cu__ticks_now());
        store_relaxed(&moment.clock_late, cu__ticks_from_ns(CLOCK_LATE_NS));
    }
    store_relaxed(&moment.wait_rate, cu__ticks_from_ns(wait_rate_ns));
}

/* ---- the clock of events ---- */

/* Reads the clock, and keeps what it said where the counter can be read at once. */
static noinline int64_t drop_anchor(struct cu__m *m)
{
    if (load_relaxed(&moment.anchored) == 0) {
        return cu_now();
    }
    uint64_t before = cu__cycles();
    int64_t now = cu_now();
    uint64_t after = cu__cycles_after();
    m->told_ns = now; /* forgets what was told in a replayed time, that may have been ahead */
    m->anchor_ns = now;
    m->anchor_ticks = after - before < load_relaxed(&moment.together) ? after : 0;
    return now;
}

/* The time of an event: now, but after what caused it. */
static inline int64_t later(int64_t now, int64_t cause_ns)
{
    return now > cause_ns ? now : cause_ns + 1;
}

/* m: who tells; NULL: a plain thread. cause_ns: the time of what made it happen. */
static inline int64_t event_now(struct cu__m *m, int64_t cause_ns)
{
    if (unlikely(m == NULL)) {
        return later(cu_now(), cause_ns);
    }
    uint64_t past = cu__cycles() - m->anchor_ticks;
    if (unlikely(past >= load_relaxed(&moment.anchored))) {
        return later(drop_anchor(m), cause_ns);
    }
    int64_t now = m->anchor_ns + (int64_t)(past * load_relaxed(&moment.ns_each) >> 32);
    return later(now > m->told_ns ? now : m->told_ns, cause_ns);
}

int64_t cu_hooks_now(void)
{
    struct cu__m *m = cu__m();
    int64_t now = event_now(m, 0);
    if (m) {
        m->told_ns = now;
    }
    return now;
}

static void note_parked(struct cu__g *g, int64_t now)
{
    g->noted_serial = load_relaxed(&moment.serial);
    g->parked_ns = now;
    g->ready_ns = 0;
}

void cu__note_ready(struct cu__g *g, cu_id waker, bool was_parked, int64_t now)
{
    uint32_t serial = load_relaxed(&moment.serial);
    if (!was_parked || g->noted_serial != serial) {
        g->parked_ns = 0;
    }
    g->noted_serial = serial;
    g->ready_ns = now;
    g->waker = waker;
}

/* What waited in a queue when its P was taken from somebody waited for that. */
static enum cu_ready_cause cause_of(const struct cu__p *p, const struct cu__g *g)
{
    if (g->lost_cause) {
        return g->lost_cause;
    }
    bool was_queued = p->cause == COPPER_CAUSE_QUEUE || p->cause == COPPER_CAUSE_GLOBAL ||
                      p->cause == COPPER_CAUSE_NO_WORKER;
    return was_queued && g->ready_ns && g->ready_ns < p->handed_ns ? COPPER_CAUSE_HANDOFF
                                                                   : p->cause;
}

/* Who runs, and where. Not all is cleared first, for that takes longer than the rest. */
static inline void describe(const struct cu__p *p, const struct cu__g *g, struct cu_resume *resume)
{
    resume->size = sizeof(*resume);
    resume->p = (int32_t)p->index;
    resume->g = g->id;
    resume->labels = g->labels;
    resume->site = g->site;
    resume->entry = g->entry;
}

static inline void describe_stack(const struct cu__g *g, struct cu_resume *resume)
{
    resume->stack_lo = (uint64_t)(uintptr_t)g->stack->lo;
    resume->stack_hi = (uint64_t)(uintptr_t)g->stack->hi;
}

/* Where it stopped, if it ever ran: at once to where tools will read it, as a copy of what was just
 * written would have to wait for it. */
static inline void describe_stop(const struct cu__g *g, struct cu_resume *resume)
{
    const struct cu__switch_frame *frame = g->context.sp;
    if (frame->pc != (uint64_t)(uintptr_t)cu__coroutine_entry) {
        cu__frame_regs(frame, &resume->regs);
        describe_stack(g, resume);
    } else {
        resume->regs = (struct cu_saved_regs){.pc = 0};
        resume->stack_lo = resume->stack_hi = 0;
    }
}

static void tell(struct cu__g *g, struct cu_resume *resume, int64_t now)
{
    bool is_noted = g->noted_serial == load_relaxed(&moment.serial) && g->ready_ns != 0;
    resume->parked_ns = is_noted ? g->parked_ns : 0;
    resume->ready_ns = is_noted ? g->ready_ns : 0;
    resume->waker = is_noted ? g->waker : 0;
    resume->reason = resume->parked_ns ? g->wait.reason : COPPER_WAIT_NONE;
    resume->object = resume->parked_ns ? g->wait.object : NULL;
    now = later(now, resume->ready_ns); /* it was made so elsewhere, perhaps */
    g->ready_ns = 0;
    cu__emit_running(now, resume);
}

/* ---- waits ---- */

/* Was the wait noted from its beginning to its end since tools want to know? */
static bool is_whole(const struct cu__g *g, int64_t ready_ticks)
{
    int64_t since = load_relaxed(&moment.waits_since);
    return g->parked_ticks >= since && ready_ticks >= since;
}

/* The machine may have slept meanwhile, which the processor's counter may have counted. */
static noinline void tell_waited(const struct cu__p *p, const struct cu__g *g, int64_t ready_ticks)
{
    if (!is_whole(g, ready_ticks)) {
        return;
    }
    struct cu_resume resume;
    int64_t now = cu_now(), most_ns = now - g->since_ns;
    int64_t waited_ns = cu__ticks_to_ns(ready_ticks - g->parked_ticks);
    int64_t late_ns = cu__ticks_to_ns(cu__ticks_now() - ready_ticks);
    describe(p, g, &resume);
    describe_stop(g, &resume);
    waited_ns = waited_ns > most_ns ? most_ns : waited_ns;
    waited_ns = waited_ns < 1 ? 1 : waited_ns;
    resume.ready_ns = late_ns > 0 && late_ns < most_ns ? now - late_ns : now;
    resume.parked_ns = resume.ready_ns - waited_ns;
    resume.reason = g->wait.reason;
    resume.object = g->wait.object;
    resume.cause = cause_of(p, g);
    resume.waker = 0;
    cu__emit_waited(now, p->draws, &resume, waited_ns);
}

/* The end of every wait comes here, and most end here: they are too short for what was drawn. */
static inline void choose_wait(struct cu__p *p, struct cu__g *g)
{
    int64_t ready_ticks = g->ready_ticks;
    if (ready_ticks == 0) {
        return; /* it did not wait */
    }
    g->ready_ticks = 0;
    p->draws = p->draws * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    if (unlikely(ready_ticks - g->parked_ticks >
                 cu__drawn(p->draws, load_relaxed(&moment.wait_rate)))) {
        tell_waited(p, g, ready_ticks);
    }
}

/* ---- what is told of one moment ---- */

/* A look at the clock of kernel ticks is saved while an earlier one will do. */
static inline void keep_clock(struct cu__p *p, int64_t ticks)
{
    if (ticks - p->clock_ticks > load_relaxed(&moment.clock_late)) {
        p->clock_ns = cu__now_coarse();
        p->clock_ticks = ticks;
    }
}

static inline void note_wait(struct cu__g *g, int64_t ticks)
{
    g->parked_ticks = ticks;
    g->ready_ticks = 0;
}

int64_t cu__tell_park(struct cu__p *p, struct cu__g *g)
{
    int64_t now = 0;
    bool is_told = EVENTS_ON(COPPER_EVENTS_OF_PARK & ~EVENT_BIT(WAITED));
    if (EVENT_ON(WAITED)) {
        int64_t ticks = cu__ticks_now();
        note_wait(g, ticks);
        keep_clock(p, ticks);
    }
    if (is_told) {
        now = event_now(cu__m(), 0);
        p->clock_ns = now;
    }
    store_relaxed(&g->since_ns, p->clock_ns);
    if (is_told) {
        if (EVENT_ON(ACCOUNT)) {
            cu__account(p, g, now);
        }
        if (EVENT_ON(RUNNING)) {
            note_parked(g, now);
        }
        if (EVENT_ON(PARKED)) {
            cu__emit_parked(now, g->id, (int)p->index, g->wait.reason, g->wait.object,
                            g->wait.deadline_ns);
        }
    }
    return now;
}

void cu__tell_park_lost(struct cu__g *g)
{
    int64_t now = cu_now();
    if (EVENT_ON(WAITED)) {
        note_wait(g, cu__ticks_now());
    }
    if (EVENT_ON(RUNNING)) {
        note_parked(g, now);
    }
    if (EVENT_ON(PARKED)) {
        cu__emit_parked(now, g->id, -1, g->wait.reason, g->wait.object, g->wait.deadline_ns);
    }
}

int64_t cu__tell_yield(struct cu__p *p, struct cu__g *g)
{
    int64_t now = event_now(cu__m(), 0);
    if (EVENT_ON(ACCOUNT)) {
        cu__account(p, g, now);
    }
    if (EVENT_ON(RUNNING)) {
        cu__note_ready(g, g->id, false, now);
    }
    if (EVENT_ON(YIELDED)) {
        cu__emit_yielded(now, g->id, (int)p->index);
    }
    return now;
}

int64_t cu__tell_exit(struct cu__p *p, struct cu__g *g)
{
    int64_t now = event_now(cu__m(), 0);
    if (EVENT_ON(ACCOUNT)) {
        cu__account(p, g, now);
    }
    if (EVENT_ON(EXITED)) {
        cu__emit_exited(now, g->id, (int)p->index);
    }
    return now;
}

void cu__tell_run(struct cu__p *p, struct cu__g *g, int64_t now)
{
    if (EVENT_ON(WAITED)) {
        choose_wait(p, g);
    }
    if (EVENT_ON(RUNNING)) {
        struct cu_resume resume;
        describe(p, g, &resume);
        describe_stop(g, &resume);
        resume.cause = cause_of(p, g);
        tell(g, &resume, now ? now : event_now(cu__m(), 0));
        g->lost_cause = 0;
    }
}

void cu__tell_start(struct cu__g *g, cu_id parent)
{
    int64_t now = event_now(cu__m(), 0);
    if (EVENT_ON(RUNNING)) {
        cu__note_ready(g, parent, false, now);
    }
    if (EVENT_ON(CREATED)) {
        cu__emit_created(now, g->id, parent, g->site);
    }
}

void cu__tell_ready(struct cu__g *g)
{
    if (EVENT_ON(WAITED)) {
        g->ready_ticks = cu__ticks_now();
    }
    if (EVENTS_ON(COPPER_EVENTS_OF_READY & ~EVENT_BIT(WAITED))) {
        bool is_noted = g->noted_serial == load_relaxed(&moment.serial);
        int64_t now = event_now(cu__m(), is_noted ? g->parked_ns : 0);
        cu_id waker = cu_self();
        if (EVENT_ON(RUNNING)) {
            cu__note_ready(g, waker, true, now);
        }
        if (EVENT_ON(READY)) {
            cu__emit_ready(now, g->id, waker);
        }
    }
}

void cu__tell_resumed(struct cu__p *p, struct cu__g *g)
{
    struct cu_resume resume;
    describe(p, g, &resume);
    cu__capture_regs(&resume.regs);
    describe_stack(g, &resume);
    resume.cause = p->cause;
    tell(g, &resume, cu_now());
}
