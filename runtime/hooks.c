/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: attaching tools, and telling them of events.
 *
 * Design: a fixed table of slots. Whoever emits counts itself in, reads the slots, counts itself
 * out. Detaching empties a slot and waits until everybody who may have read it is out.
 *
 * Workers count in words of their own (struct cu__m.telling) without a barrier, since they emit at
 * every switch and detaching is rare: the detacher has all threads pass one (barrier.c has why that
 * is enough). Other threads share two counters, used in turn: detaching turns over to the other
 * one, twice, each time waiting for the one left behind to become zero, so that events that keep
 * coming cannot hold it up for ever. These are sequentially consistent: a reader whose counting-in
 * the detacher did not see reads the slot after it was emptied.
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
 * Concurrency: attach and detach have hooks.lock.
 */
#include <copper/hooks.h>

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "arch.h"
#include "barrier.h"
#include "clock.h"
#include "events.h"
#include "schedule.h"
#include "ticks.h"
#include "tls.h"

#define CLOCK_LATE_NS COPPER_MS /* how much later than a kernel tick before p->clock_ns may be */
#define ANCHOR_NS     64000 /* clocks that are being set right differ by 32 ns in that time... */
#define SLOWER        1024  /* ... and one that is slower by this part by 62 */
#define TOGETHER_NS   500   /* two readings of clocks further apart are not of one moment */

uint32_t cu__events_on;

/* What a tool attached. */
struct slot {
    const struct cu_hooks *hooks; /* any: atomic; NULL: free */
    void *tool;                   /* constant while hooks is set */
    int64_t wait_rate_ns;         /* writer: lock; any: atomic */
};

static struct {
    struct slot slots[COPPER_HOOK_TABLES_MAX];
    uint32_t used;       /* writer: lock; any: atomic; all that are taken are below */
    uint32_t serial;     /* writer: lock; any: atomic; counts how often RUNNING was turned on */
    int64_t waits_since; /* the same; when WAITED was turned on, in ticks */
    int64_t wait_rate;   /* the same; the finest, in ticks */
    int64_t clock_late;  /* the same; CLOCK_LATE_NS, in ticks */
    uint64_t anchored;   /* the same; ANCHOR_NS, in ticks; 0: the clock of events is cu_now() */
    uint64_t together;   /* the same; TOGETHER_NS, in ticks */
    uint64_t ns_each;    /* the same; of a tick, a little less, in 2^-32 */
    uint32_t mask;       /* lock; what cu__events_on is */
    struct cu__lock lock;
    uint32_t turn cache_aligned; /* any: atomic; other threads count in at readers[turn & 1] */
    uint32_t readers[2];         /* any: atomic */
} hooks;

static const char *const reason_texts[] = {
#define COPPER_WAIT_TEXT(name, text) text,
    COPPER_WAIT_REASONS(COPPER_WAIT_TEXT)
#undef COPPER_WAIT_TEXT
};

static const char *const cause_texts[] = {
#define COPPER_CAUSE_TEXT(name, text) text,
    COPPER_READY_CAUSES(COPPER_CAUSE_TEXT)
#undef COPPER_CAUSE_TEXT
};

static const char *const handoff_texts[] = {
#define COPPER_HANDOFF_TEXT(name, text) text,
    COPPER_HANDOFF_CAUSES(COPPER_HANDOFF_TEXT)
#undef COPPER_HANDOFF_TEXT
};

const char *cu_ready_cause_text(enum cu_ready_cause cause)
{
    return (unsigned)cause < ARRAY_LEN(cause_texts) ? cause_texts[cause] : "unknown";
}

const char *cu_handoff_cause_text(enum cu_handoff_cause cause)
{
    return (unsigned)cause < ARRAY_LEN(handoff_texts) ? handoff_texts[cause] : "unknown";
}

const char *cu_wait_reason_text(enum cu_wait_reason reason)
{
    return (unsigned)reason < ARRAY_LEN(reason_texts) ? reason_texts[reason] : "unknown";
}

/* A table of an older header ends before the newer members. */
#define HAS(h, member)                                                                             \
    (offsetof(struct cu_hooks, member) + sizeof((h)->member) <= (h)->size && (h)->member != NULL)

static uint32_t bits_of(const struct cu_hooks *h)
{
    bool has_options = offsetof(struct cu_hooks, options) + sizeof(h->options) <= h->size;
    uint64_t options = has_options ? h->options : 0;
    uint32_t bits = (options & COPPER_HOOKS_NO_CPU_TIME ? 0 : EVENT_BIT(ACCOUNT)) |
                    (HAS(h, waited) ? EVENT_BIT(WAITED) : 0);
#define COPPER_EVENT_BIT(name, member, ...) bits |= HAS(h, member) ? EVENT_BIT(name) : 0;
    COPPER_EVENTS(COPPER_EVENT_BIT)
#undef COPPER_EVENT_BIT
    return bits;
}

/* Told at each switch, and so not by cu_now(). */
#define COPPER_EVENTS_BY_COUNTER                                                                   \
    (COPPER_EVENTS_OF_PARK | COPPER_EVENTS_OF_YIELD | COPPER_EVENTS_OF_EXIT |                      \
     COPPER_EVENTS_OF_START | COPPER_EVENTS_OF_READY | COPPER_EVENTS_OF_RUN)

/* Called with the lock. */
static void set_clock(void)
{
    cu__ticks_prepare();
    bool is_counter = load_relaxed(&cu__ticks.is_counter);
    uint64_t ns_each = load_relaxed(&cu__ticks.ns_each);
    store_relaxed(&hooks.ns_each, ns_each - ns_each / SLOWER);
    store_relaxed(&hooks.together, (uint64_t)cu__ticks_from_ns(TOGETHER_NS));
    store_relaxed(&hooks.anchored, is_counter ? (uint64_t)cu__ticks_from_ns(ANCHOR_NS) : 0);
}

/* Called with the lock. What is being noted goes on as it is while somebody wants it. */
static void update_mask(void)
{
    uint32_t mask = 0, used = 0;
    int64_t rate_ns = INT64_MAX;
    for (uint32_t i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {
        const struct slot *slot = &hooks.slots[i];
        if (slot->hooks) {
            mask |= bits_of(slot->hooks);
            used = i + 1;
            rate_ns = HAS(slot->hooks, waited) && slot->wait_rate_ns < rate_ns ? slot->wait_rate_ns
                                                                               : rate_ns;
        }
    }
    uint32_t added = mask & ~hooks.mask;
    if (added & EVENT_BIT(RUNNING)) {
        store_relaxed(&hooks.serial, hooks.serial + 1);
    }
    if (added & COPPER_EVENTS_BY_COUNTER) {
        set_clock();
    }
    if (added & EVENT_BIT(WAITED)) {
        store_relaxed(&hooks.waits_since, cu__ticks_now());
        store_relaxed(&hooks.clock_late, cu__ticks_from_ns(CLOCK_LATE_NS));
    }
    store_relaxed(&hooks.wait_rate, cu__ticks_from_ns(rate_ns));
    store_release(&hooks.used, used);
    hooks.mask = mask;
    store_seq(&cu__events_on, mask);
}

int cu_hooks_attach(const struct cu_hooks *table, void *tool)
{
    if (table->version != COPPER_HOOKS_VERSION || table->size > sizeof(*table) ||
        table->size < offsetof(struct cu_hooks, created)) {
        return -EINVAL;
    }
    int error = -ENOSPC;
    cu__lock_take(&hooks.lock);
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX && error; i++) {
        struct slot *slot = &hooks.slots[i];
        if (slot->hooks == NULL) {
            slot->tool = tool;
            store_relaxed(&slot->wait_rate_ns, 0);
            store_seq(&slot->hooks, table);
            error = 0;
        }
    }
    update_mask();
    cu__lock_drop(&hooks.lock);
    return error;
}

/* Called with the lock. NULL: not attached. */
static struct slot *find_slot(const struct cu_hooks *table, const void *tool)
{
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {
        if (hooks.slots[i].hooks == table && hooks.slots[i].tool == tool) {
            return &hooks.slots[i];
        }
    }
    return NULL;
}

int cu_hooks_wait_rate(const struct cu_hooks *table, void *tool, int64_t rate_ns)
{
    if (rate_ns < 0) {
        return -EINVAL;
    }
    cu__lock_take(&hooks.lock);
    struct slot *slot = find_slot(table, tool);
    if (slot) {
        store_relaxed(&slot->wait_rate_ns, rate_ns);
        update_mask();
    }
    cu__lock_drop(&hooks.lock);
    return slot ? 0 : -ENOENT;
}

static void await_workers(void)
{
    uint32_t count = load_acquire(&cu__sched.ms_used); /* later ones see the slot empty */
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *telling = &cu__sched.ms[i].telling;
        uint32_t seen = load_acquire(telling); /* pairs with the store in count_out */
        while ((seen & 1) && load_acquire(telling) == seen) {
            sched_yield();
        }
    }
}

static void wait_for_readers(void)
{
    if (!cu__barrier_everywhere()) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* workers have one of their own then */
    }
    await_workers();
    for (int pass = 0; pass < 2; pass++) {
        uint32_t left = add_seq(&hooks.turn, 1) & 1;
        while (load_seq(&hooks.readers[left])) {
            sched_yield();
        }
    }
}

int cu_hooks_detach(const struct cu_hooks *table, void *tool)
{
    cu__lock_take(&hooks.lock);
    struct slot *slot = find_slot(table, tool);
    if (slot) {
        store_seq(&slot->hooks, NULL);
        update_mask();
        wait_for_readers();
    }
    cu__lock_drop(&hooks.lock);
    return slot ? 0 : -ENOENT;
}

/* Counts the calling thread in, which tells something of that time. What it is to be counted out
 * by; NULL: nothing, for it was in. */
static inline uint32_t *count_in(int64_t now)
{
    struct cu__m *m = cu__m();
    if (unlikely(m == NULL)) {
        uint32_t *readers = &hooks.readers[load_seq(&hooks.turn) & 1];
        add_seq(readers, 1);
        return readers;
    }
    m->told_ns = now > m->told_ns ? now : m->told_ns;
    if (unlikely(m->telling & 1)) {
        return NULL;
    }
    store_relaxed(&m->telling, m->telling + 1);
    if (unlikely(load_relaxed(&cu__sched.claims_open) != 0)) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* perhaps there is no barrier.c here */
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return &m->telling;
}

static inline void count_out(uint32_t *counted)
{
    if (unlikely(counted == NULL)) {
        return;
    }
    if (unlikely(counted == &hooks.readers[0] || counted == &hooks.readers[1])) {
        sub_seq(counted, 1);
    } else {
        store_release(counted, *counted + 1); /* pairs with the load in await_workers */
    }
}

#define COPPER_EVENT_EMIT(name, member, parameters, ...)                                           \
    noinline void cu__emit_##member(int64_t now, COPPER_UNWRAP parameters)                         \
    {                                                                                              \
        uint32_t *counted = count_in(now);                                                         \
        for (uint32_t i = 0, used = load_acquire(&hooks.used); i < used; i++) {                    \
            const struct cu_hooks *h = load_acquire(&hooks.slots[i].hooks);                        \
            if (h && HAS(h, member)) {                                                             \
                h->member(hooks.slots[i].tool, now, __VA_ARGS__);                                  \
            }                                                                                      \
        }                                                                                          \
        count_out(counted);                                                                        \
    }
COPPER_EVENTS(COPPER_EVENT_EMIT)

/* ---- the clock of events ---- */

/* Reads the clock, and keeps what it said where the counter can be read at once. */
static noinline int64_t drop_anchor(struct cu__m *m)
{
    if (load_relaxed(&hooks.anchored) == 0) {
        return cu_now();
    }
    uint64_t before = cu__cycles();
    int64_t now = cu_now();
    uint64_t after = cu__cycles_after();
    m->told_ns = now; /* forgets what was told in a replayed time, that may have been ahead */
    m->anchor_ns = now;
    m->anchor_ticks = after - before < load_relaxed(&hooks.together) ? after : 0;
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
    if (unlikely(past >= load_relaxed(&hooks.anchored))) {
        return later(drop_anchor(m), cause_ns);
    }
    int64_t now = m->anchor_ns + (int64_t)(past * load_relaxed(&hooks.ns_each) >> 32);
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
    g->noted_serial = load_relaxed(&hooks.serial);
    g->parked_ns = now;
    g->ready_ns = 0;
}

void cu__note_ready(struct cu__g *g, cu_id waker, bool was_parked, int64_t now)
{
    uint32_t serial = load_relaxed(&hooks.serial);
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
    bool is_noted = g->noted_serial == load_relaxed(&hooks.serial) && g->ready_ns != 0;
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

/* A number in [0, rate), a new one for each wait. */
static inline int64_t drawn(const struct cu__p *p, int64_t rate)
{
    return (int64_t)((unsigned __int128)p->draws * (uint64_t)rate >> 64);
}

/* Was the wait noted from its beginning to its end since tools want to know? */
static bool is_whole(const struct cu__g *g, int64_t ready_ticks)
{
    int64_t since = load_relaxed(&hooks.waits_since);
    return g->parked_ticks >= since && ready_ticks >= since;
}

static void emit_waited(const struct cu__p *p, int64_t now, const struct cu_resume *resume,
                        int64_t waited_ns)
{
    uint32_t *counted = count_in(now);
    for (uint32_t i = 0, used = load_acquire(&hooks.used); i < used; i++) {
        const struct slot *slot = &hooks.slots[i];
        const struct cu_hooks *h = load_acquire(&slot->hooks);
        int64_t rate_ns = load_relaxed(&slot->wait_rate_ns);
        if (h && HAS(h, waited) && waited_ns > drawn(p, rate_ns)) {
            h->waited(slot->tool, now, resume, waited_ns, rate_ns);
        }
    }
    count_out(counted);
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
    emit_waited(p, now, &resume, waited_ns);
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
    if (unlikely(ready_ticks - g->parked_ticks > drawn(p, load_relaxed(&hooks.wait_rate)))) {
        tell_waited(p, g, ready_ticks);
    }
}

/* ---- what is told of one moment ---- */

/* A look at the clock of kernel ticks is saved while an earlier one will do. */
static inline void keep_clock(struct cu__p *p, int64_t ticks)
{
    if (ticks - p->clock_ticks > load_relaxed(&hooks.clock_late)) {
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
        bool is_noted = g->noted_serial == load_relaxed(&hooks.serial);
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

void cu__events_hold(void)
{
    cu__lock_take(&hooks.lock);
}

void cu__events_release(void)
{
    cu__lock_drop(&hooks.lock);
}

void cu__events_start(void)
{
    cu__lock_take(&hooks.lock);
    if (hooks.mask & COPPER_EVENTS_BY_COUNTER) {
        hooks.mask &= ~COPPER_EVENTS_BY_COUNTER; /* as if they had been turned on only now */
        update_mask();
    }
    cu__lock_drop(&hooks.lock);
}

/* Tools stay attached in the child; readers of other threads are gone. */
void cu__events_after_fork(void)
{
    hooks.lock.word = 0;
    hooks.readers[0] = hooks.readers[1] = 0;
}
