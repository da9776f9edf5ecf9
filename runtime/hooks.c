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
 * What is told of a coroutine that stops or runs, and by which clock, is in tell.c.
 *
 * Concurrency: attach and detach have hooks.lock.
 */
#include <copper/hooks.h>

#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "arch.h"
#include "barrier.h"
#include "events.h"
#include "schedule.h"
#include "tls.h"

uint32_t cu__events_on;

/* What a tool attached. */
struct slot {
    const struct cu_hooks *hooks; /* any: atomic; NULL: free */
    void *tool;                   /* constant while hooks is set */
    int64_t wait_rate_ns;         /* writer: lock; any: atomic */
};

static struct {
    struct slot slots[COPPER_HOOK_TABLES_MAX];
    uint32_t used; /* writer: lock; any: atomic; all that are taken are below */
    uint32_t mask; /* lock; what cu__events_on is */
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
    cu__tell_prepare(mask & ~hooks.mask, rate_ns);
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

void cu__emit_waited(int64_t now, uint64_t draws, const struct cu_resume *resume, int64_t waited_ns)
{
    uint32_t *counted = count_in(now);
    for (uint32_t i = 0, used = load_acquire(&hooks.used); i < used; i++) {
        const struct slot *slot = &hooks.slots[i];
        const struct cu_hooks *h = load_acquire(&slot->hooks);
        int64_t rate_ns = load_relaxed(&slot->wait_rate_ns);
        if (h && HAS(h, waited) && waited_ns > cu__drawn(draws, rate_ns)) {
            h->waited(slot->tool, now, resume, waited_ns, rate_ns);
        }
    }
    count_out(counted);
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
