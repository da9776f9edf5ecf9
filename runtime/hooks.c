/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: attaching tools, and telling them of events.
 *
 * Design: a fixed table of slots. Whoever emits counts itself in, reads the slots, counts itself
 * out. Detaching empties a slot and waits until everybody who may have read it is out.
 *
 * Concurrency: attach and detach have hooks.lock. There are two counters of readers, used in turn:
 * detaching turns over to the other one, twice, each time waiting for the one left behind to become
 * zero, so that events that keep coming cannot hold it up for ever. All of it is sequentially
 * consistent: a reader whose counting-in the detacher did not see reads the slot after it was
 * emptied.
 */
#include <copper/hooks.h>

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "events.h"

uint32_t cu__events_on;

static struct {
    struct cu__lock lock;
    uint32_t turn;       /* any: atomic; readers count in at readers[turn & 1] */
    uint32_t readers[2]; /* any: atomic */
    uint32_t serial;     /* writer: lock; counts changes of the mask */
    struct {
        const struct cu_hooks *hooks; /* any: atomic; NULL: free */
        void *tool;                   /* constant while hooks is set */
    } slots[COPPER_HOOK_TABLES_MAX];
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

/* Called with the lock. */
static void update_mask(void)
{
    uint32_t mask = 0;
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {
        const struct cu_hooks *h = load_relaxed(&hooks.slots[i].hooks);
        if (h == NULL) {
            continue;
        }
        mask |= 1u << CU__EVENT_ACCOUNT;
#define COPPER_EVENT_BIT(name, member, ...) mask |= HAS(h, member) ? 1u << CU__EVENT_##name : 0;
        COPPER_EVENTS(COPPER_EVENT_BIT)
#undef COPPER_EVENT_BIT
    }
    store_relaxed(&hooks.serial, hooks.serial + 1);
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
        if (load_relaxed(&hooks.slots[i].hooks) == NULL) {
            hooks.slots[i].tool = tool;
            store_seq(&hooks.slots[i].hooks, table);
            error = 0;
        }
    }
    update_mask();
    cu__lock_drop(&hooks.lock);
    return error;
}

static void wait_for_readers(void)
{
    for (int pass = 0; pass < 2; pass++) {
        uint32_t left = add_seq(&hooks.turn, 1) & 1;
        while (load_seq(&hooks.readers[left])) {
            sched_yield();
        }
    }
}

int cu_hooks_detach(const struct cu_hooks *table, void *tool)
{
    int error = -ENOENT;
    cu__lock_take(&hooks.lock);
    for (int i = 0; i < COPPER_HOOK_TABLES_MAX && error; i++) {
        if (load_relaxed(&hooks.slots[i].hooks) == table && hooks.slots[i].tool == tool) {
            store_seq(&hooks.slots[i].hooks, NULL);
            error = 0;
        }
    }
    update_mask();
    if (error == 0) {
        wait_for_readers();
    }
    cu__lock_drop(&hooks.lock);
    return error;
}

#define COPPER_EVENT_EMIT(name, member, parameters, ...)                                           \
    noinline void cu__emit_##member(COPPER_UNWRAP parameters)                                      \
    {                                                                                              \
        int64_t now = cu_now();                                                                    \
        uint32_t *readers = &hooks.readers[load_seq(&hooks.turn) & 1];                             \
        add_seq(readers, 1);                                                                       \
        for (int i = 0; i < COPPER_HOOK_TABLES_MAX; i++) {                                         \
            const struct cu_hooks *h = load_seq(&hooks.slots[i].hooks);                            \
            if (h && HAS(h, member)) {                                                             \
                h->member(hooks.slots[i].tool, now, __VA_ARGS__);                                  \
            }                                                                                      \
        }                                                                                          \
        sub_seq(readers, 1);                                                                       \
    }
COPPER_EVENTS(COPPER_EVENT_EMIT)

void cu__note_parked(struct cu__g *g)
{
    g->noted_serial = load_relaxed(&hooks.serial);
    g->parked_ns = cu_now();
    g->ready_ns = 0;
}

void cu__note_ready(struct cu__g *g, cu_id waker, bool was_parked)
{
    uint32_t serial = load_relaxed(&hooks.serial);
    if (!was_parked || g->noted_serial != serial) {
        g->parked_ns = 0;
    }
    g->noted_serial = serial;
    g->ready_ns = cu_now();
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

static void tell(struct cu__p *p, struct cu__g *g, enum cu_ready_cause cause,
                 const struct cu_saved_regs *regs)
{
    bool is_noted = g->noted_serial == load_relaxed(&hooks.serial) && g->ready_ns != 0;
    struct cu_resume resume = {.size = sizeof(resume),
                               .p = (int32_t)p->index,
                               .g = g->id,
                               .cause = cause,
                               .labels = g->labels,
                               .site = g->site,
                               .entry = g->entry};
    if (is_noted) {
        resume.parked_ns = g->parked_ns;
        resume.ready_ns = g->ready_ns;
        resume.waker = g->waker;
        if (g->parked_ns) {
            resume.reason = g->wait.reason;
            resume.object = g->wait.object;
        }
    }
    if (regs) {
        resume.regs = *regs;
        resume.stack_lo = (uint64_t)(uintptr_t)g->stack->lo;
        resume.stack_hi = (uint64_t)(uintptr_t)g->stack->hi;
    }
    g->ready_ns = 0;
    cu__emit_running(&resume);
}

void cu__tell_running(struct cu__p *p, struct cu__g *g)
{
    struct cu_saved_regs regs;
    bool is_new = ((const struct cu__switch_frame *)g->context.sp)->pc ==
                  (uint64_t)(uintptr_t)cu__coroutine_entry;
    if (!is_new) {
        cu__frame_regs(g->context.sp, &regs);
    }
    tell(p, g, cause_of(p, g), is_new ? NULL : &regs);
    g->lost_cause = 0;
}

void cu__tell_resumed(struct cu__p *p, struct cu__g *g)
{
    struct cu_saved_regs regs;
    cu__capture_regs(&regs);
    tell(p, g, p->cause, &regs);
}

/* Tools stay attached in the child; readers of other threads are gone. */
void cu__events_after_fork(void)
{
    hooks.lock.word = 0;
    hooks.readers[0] = hooks.readers[1] = 0;
}
