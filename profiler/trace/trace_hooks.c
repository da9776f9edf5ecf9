/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the hook table of the execution trace: each event becomes a record of the thread it
 * happens on. See trace_record.h.
 *
 * Concurrency: hooks run on any thread, on coroutine stacks; they neither lock, allocate nor park.
 */
#include "trace_hooks.h"

#include "budget.h"
#include "cpu_int.h"
#include "machine.h"

#include <copper/time.h>
#include <string.h>

#pragma weak cu_hooks_attach
#pragma weak cu_hooks_detach
#pragma weak cu_hooks_now
#pragma weak cu_inspect_here
#pragma weak cu_now
#pragma weak cu_self

#define MEASURED_ONE_IN 61

_Atomic int64_t cu__trace_delay_limit_ns;
static _Atomic int64_t longest_delay_ns, longest_delay_g;

/* ---- records --------------------------------------------------------------------------------- */

/* Field by field, and for a record of its head alone. What is put together elsewhere first and then
 * copied is read wider than it was written, for which the processor waits as long as for a miss. */
static inline void fill(struct cu__trace_record *r, enum cu__trace_kind kind, int64_t now,
                        int64_t g, int p)
{
    r->now_ns = now;
    r->g = g;
    r->kind = (uint8_t)kind;
    r->reason = 0;
    r->stack = 0;
    r->p = (int16_t)p;
    r->words = COPPER_TRACE_HEAD_WORDS;
}

/* A record with this argument behind its head, that is still to be published. NULL: no room. */
static inline struct cu__trace_record *put_arg(struct cu__trace_stream *s, enum cu__trace_kind kind,
                                               int64_t now, int64_t g, int p, uint64_t arg)
{
    struct cu__trace_record *r = cu__trace_reserve(s, COPPER_TRACE_HEAD_WORDS + 1);
    if (r) {
        fill(r, kind, now, g, p);
        r->words = COPPER_TRACE_HEAD_WORDS + 1;
        r->args[0] = arg;
    }
    return r;
}

/* ---- stacks ---------------------------------------------------------------------------------- */

/* 64 bits with full avalanche: two stacks of one thread that share them are not told apart, which
 * at 1024 stacks happens once in 10^13 runs. */
static uint64_t hash_frames(const cu_frame *frames, unsigned n)
{
    uint64_t hash = n;
    for (unsigned i = 0; i < n; i++) {
        hash = (hash ^ frames[i]) * UINT64_C(0xd6e8feb86659fd93);
        hash ^= hash >> 32;
    }
    hash *= UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

/* The stream's number for a stack; defines it where it is not known. 0: no room. */
static uint16_t number_stack(struct cu__trace_stream *s, const struct cu_walk *w, uint64_t hash,
                             int64_t now)
{
    uint32_t at = (uint32_t)hash & (COPPER_TRACE_STACK_CACHE - 1);
    if (s->known[at] == hash) {
        return (uint16_t)(at + 1);
    }
    unsigned words = COPPER_TRACE_HEAD_WORDS + w->n;
    struct cu__trace_record *r = cu__trace_reserve(s, words);
    if (!r) {
        return 0;
    }
    s->known[at] = hash;
    fill(r, COPPER_TRACE_STACK, now, 0, -1);
    r->reason = w->end != COPPER_WALK_ROOT;
    r->stack = (uint16_t)(at + 1);
    r->words = (uint16_t)words;
    memcpy(r->args, w->frames, w->n * sizeof(*w->frames));
    cu__trace_publish(s, words);
    return (uint16_t)(at + 1);
}

static struct cu__trace_memos *memos_at(struct cu__trace_stream *s, uint64_t sp)
{
    return &s->memos[(sp >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 58 & (COPPER_TRACE_MEMOS - 1)];
}

/* The number of the stack, by a memo of it; 0: there is none. */
static inline uint16_t recall(const struct cu__trace_stream *s, struct cu__trace_memos *memos,
                              const struct cu_walk *w)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct cu__trace_memo *memo = &memos->ways[i];
        if (memo->number && s->known[memo->number - 1] == memo->hash &&
            cu_walk_memo_holds_sig(&memo->walk, w)) {
            memos->newest = (uint8_t)i;
            return memo->number;
        }
    }
    return 0;
}

/* Walks, and remembers the way if this stack was here before. */
static __attribute__((noinline)) uint16_t walk_anew(struct cu__trace_stream *s, struct cu_walk *w,
                                                    struct cu__trace_memos *memos, int64_t now)
{
    cu_frame frames[COPPER_TRACE_DEPTH];
    w->frames = frames;
    w->max = COPPER_TRACE_DEPTH;
    w->end = COPPER_WALK_ROOT;
    const struct cu_walk start = *w;
    cu_stack_walk_sig(w);
    if (w->n == 0) {
        return 0;
    }
    uint64_t hash = hash_frames(frames, w->n);
    uint16_t number = number_stack(s, w, hash, now);
    uint8_t way = memos->ways[0].hash == hash   ? 0
                  : memos->ways[1].hash == hash ? 1
                                                : !memos->newest;
    struct cu__trace_memo *memo = &memos->ways[way];
    bool is_again = memo->hash == hash && w->end == COPPER_WALK_ROOT;
    memos->newest = way;
    memo->hash = hash;
    memo->number = is_again && cu_walk_memo_fill_sig(&memo->walk, &start) ? number : 0;
    return number;
}

/* The stack of the calling coroutine from here on; 0 on the stacks of threads, whose bounds are
 * not known. Our own frames are dropped when it is named. */
static __attribute__((noinline)) uint16_t walk_here(struct cu__trace_stream *s, int64_t now)
{
    struct cu_here here;
    struct cu_walk w; /* member by member: to clear it all takes longer than a walk that is known */
    cu_inspect_here(&here);
    cu__regs_here((uint64_t *)&w.regs);
    w.is_call_site = false;
    w.context = NULL;
    w.n = 0;
    if (here.kind != COPPER_HERE_COROUTINE || w.regs.sp < here.stack_lo ||
        w.regs.sp >= here.stack_hi) {
        return 0;
    }
    w.lo = w.regs.sp;
    w.hi = here.stack_hi;
    struct cu__trace_memos *memos = memos_at(s, w.regs.sp);
    uint16_t known = recall(s, memos, &w);
    return known ? known : walk_anew(s, &w, memos, now);
}

/* What walks cost is measured on some: a trace has no rate to lower, but says what it takes. */
static uint16_t stack_here(struct cu__trace_stream *s, int64_t now)
{
    if ((uint64_t)now % MEASURED_ONE_IN != 0) {
        return walk_here(s, now);
    }
    int64_t began = cu__now_ns();
    uint16_t stack = walk_here(s, now);
    cu__cost_add(COPPER_COST_TRACE, (cu__now_ns() - began) * MEASURED_ONE_IN);
    return stack;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

/* An event of kind about g on p, with this stack. */
static inline void put(struct cu__trace_stream *s, enum cu__trace_kind kind, int64_t now, cu_id g,
                       int p, uint8_t reason, uint16_t stack)
{
    struct cu__trace_record *r = cu__trace_reserve(s, COPPER_TRACE_HEAD_WORDS);
    if (r) {
        fill(r, kind, now, g, p);
        r->reason = reason;
        r->stack = stack;
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS);
        s->is_begun = true;
    }
}

/* With the calling coroutine's. */
static inline void note(enum cu__trace_kind kind, int64_t now, cu_id g, int p, uint8_t reason)
{
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (s) {
        put(s, kind, now, g, p, reason, stack_here(s, now));
    }
}

/* Without. */
static inline void note_bare(enum cu__trace_kind kind, int64_t now, cu_id g, int p)
{
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (s) {
        put(s, kind, now, g, p, 0, 0);
    }
}

static void on_created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)tool;
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (!s) {
        return;
    }
    uint16_t stack = stack_here(s, now);
    struct cu__trace_record *r = cu__trace_reserve(s, COPPER_TRACE_HEAD_WORDS + 2);
    if (r) {
        fill(r, COPPER_TRACE_CREATED, now, g, -1);
        r->stack = stack;
        r->words = COPPER_TRACE_HEAD_WORDS + 2;
        r->args[0] = (uint64_t)parent;
        r->args[1] = (uint64_t)(uintptr_t)site;
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 2);
    }
}

/* Tells by whom: as the first thing that a thread tells, it says who runs there. */
static __attribute__((noinline)) void note_first_ready(struct cu__trace_stream *s, int64_t now,
                                                       cu_id g, cu_id by, uint16_t stack)
{
    struct cu__trace_record *r = put_arg(s, COPPER_TRACE_READY, now, g, -1, (uint64_t)by);
    if (r) {
        r->stack = stack;
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 1);
        s->is_begun = true;
    }
}

static void on_ready(void *tool, int64_t now, cu_id g, cu_id by)
{
    (void)tool;
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (!s) {
        return;
    }
    uint16_t stack = by ? stack_here(s, now) : 0;
    if (s->is_begun) {
        put(s, COPPER_TRACE_READY, now, g, -1, 0, stack);
    } else {
        note_first_ready(s, now, g, by, stack);
    }
}

static __attribute__((noinline)) void note_delay(int64_t g, int64_t delay_ns)
{
    int64_t longest = atomic_load_explicit(&longest_delay_ns, memory_order_relaxed);
    while (delay_ns > longest) {
        if (atomic_compare_exchange_weak(&longest_delay_ns, &longest, delay_ns)) {
            atomic_store(&longest_delay_g, g);
            return;
        }
    }
}

int64_t cu__trace_delay_take(int64_t *g)
{
    int64_t delay_ns = atomic_exchange(&longest_delay_ns, 0);
    *g = atomic_load(&longest_delay_g);
    return delay_ns;
}

/* Tells g's labels where they are not what this thread told last. */
static inline void tell_labels(struct cu__trace_stream *s, int64_t now,
                               const struct cu_resume *resume)
{
    unsigned at = (unsigned)((uint64_t)resume->g * UINT64_C(0x9e3779b97f4a7c15) >> 58);
    const void *labels = resume->labels;
    if (s->labelled[at].g == resume->g ? s->labelled[at].labels == labels : labels == NULL) {
        return;
    }
    s->labelled[at].g = resume->g;
    s->labelled[at].labels = labels;
    if (put_arg(s, COPPER_TRACE_LABELS, now, resume->g, -1, (uint64_t)(uintptr_t)labels)) {
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 1);
    }
}

static __attribute__((noinline)) void note_first_run(struct cu__trace_stream *s, int64_t now,
                                                     const struct cu_resume *resume)
{
    struct cu__trace_record *r = cu__trace_reserve(s, COPPER_TRACE_HEAD_WORDS + 2);
    if (r) {
        fill(r, COPPER_TRACE_RUNNING, now, resume->g, resume->p);
        r->reason = (uint8_t)resume->cause;
        r->words = COPPER_TRACE_HEAD_WORDS + 2;
        r->args[0] = (uint64_t)(uintptr_t)resume->entry;
        r->args[1] = (uint64_t)(uintptr_t)resume->site;
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 2);
    }
}

static void on_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool;
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (!s) {
        return;
    }
    tell_labels(s, now, resume);
    if (resume->regs.pc == 0) {
        note_first_run(s, now, resume);
    } else {
        put(s, COPPER_TRACE_RUNNING, now, resume->g, resume->p, (uint8_t)resume->cause, 0);
    }
    /* after the record, so that who takes the delay finds it */
    int64_t limit = atomic_load_explicit(&cu__trace_delay_limit_ns, memory_order_relaxed);
    if (limit && resume->ready_ns && now - resume->ready_ns > limit) {
        note_delay(resume->g, now - resume->ready_ns);
    }
}

static void on_parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                      const void *object, int64_t deadline_ns)
{
    (void)tool, (void)object, (void)deadline_ns;
    note(COPPER_TRACE_PARKED, now, g, p, (uint8_t)reason);
}

static void on_yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    note(COPPER_TRACE_YIELDED, now, g, p, 0);
}

static void on_exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    note_bare(COPPER_TRACE_EXITED, now, g, p);
}

static void on_syscall_begin(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    note(COPPER_TRACE_SYSCALL_BEGIN, now, g, p, 0);
}

static void on_syscall_end(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    note_bare(COPPER_TRACE_SYSCALL_END, now, g, p);
}

static void on_handoff(void *tool, int64_t now, int p, cu_id g, int32_t tid,
                       enum cu_handoff_cause cause)
{
    (void)tool, (void)cause;
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (s && put_arg(s, COPPER_TRACE_HANDOFF, now, g, p, (uint64_t)(uint32_t)tid)) {
        cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 1);
    }
}

static void on_preempted(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    note(COPPER_TRACE_PREEMPTED, now, g, p, 0);
}

static void on_p_started(void *tool, int64_t now, int p, int32_t tid)
{
    (void)tool, (void)tid;
    note_bare(COPPER_TRACE_P_STARTED, now, 0, p);
}

static void on_p_stopped(void *tool, int64_t now, int p)
{
    (void)tool;
    note_bare(COPPER_TRACE_P_STOPPED, now, 0, p);
}

static void on_worker_stopped(void *tool, int64_t now, int32_t tid)
{
    (void)tool, (void)tid;
    note_bare(COPPER_TRACE_THREAD_ENDED, now, 0, -1);
}

static void on_procs_changed(void *tool, int64_t now, int procs)
{
    (void)tool;
    struct cu__trace_stream *s = cu__trace_own_stream();
    if (s) {
        uint16_t stack = stack_here(s, now);
        struct cu__trace_record *r = put_arg(s, COPPER_TRACE_PROCS, now, 0, -1, (uint64_t)procs);
        if (r) {
            r->stack = stack;
            cu__trace_publish(s, COPPER_TRACE_HEAD_WORDS + 1);
        }
    }
}

static const struct cu_hooks table = {
    .version = COPPER_HOOKS_VERSION,
    .size = sizeof(table),
    .created = on_created,
    .ready = on_ready,
    .running = on_running,
    .parked = on_parked,
    .yielded = on_yielded,
    .exited = on_exited,
    .syscall_begin = on_syscall_begin,
    .syscall_end = on_syscall_end,
    .handoff = on_handoff,
    .preempted = on_preempted,
    .worker_stopped = on_worker_stopped,
    .p_started = on_p_started,
    .p_stopped = on_p_stopped,
    .options = COPPER_HOOKS_NO_CPU_TIME,
    .procs_changed = on_procs_changed,
};

bool cu__trace_can_record(void)
{
    return cu_hooks_attach && cu_hooks_detach && cu_inspect_here && cu_inspect_each && cu_now &&
           cu_self;
}

int cu__trace_hooks_attach(void)
{
    return cu_hooks_attach(&table, NULL);
}

void cu__trace_hooks_detach(void)
{
    cu_hooks_detach(&table, NULL);
}

/* ---- tasks, regions, logs -------------------------------------------------------------------- */

/* Copies the texts one after the other behind the arguments, zero-padded to whole words. */
static void put_texts(struct cu__trace_record *r, unsigned nargs,
                      const struct cu__trace_text *texts, unsigned ntexts)
{
    char *at = (char *)(r->args + nargs);
    for (unsigned i = 0; i < ntexts; i++) {
        memcpy(at, texts[i].bytes, texts[i].n);
        at += texts[i].n;
    }
}

static void note_texts(enum cu__trace_kind kind, const uint64_t *args, unsigned nargs,
                       const struct cu__trace_text *texts, unsigned ntexts)
{
    cu_id g = cu_self();
    struct cu__trace_stream *s = g ? cu__trace_own_stream() : NULL;
    if (!s) {
        return;
    }
    size_t bytes = 0;
    for (unsigned i = 0; i < ntexts; i++) {
        bytes += texts[i].n;
    }
    unsigned words = COPPER_TRACE_HEAD_WORDS + nargs + (unsigned)((bytes + 7) / 8);
    int64_t now = cu_hooks_now ? cu_hooks_now() : cu_now();
    uint16_t stack = stack_here(s, now);
    struct cu__trace_record *r = cu__trace_reserve(s, words);
    if (!r) {
        return;
    }
    fill(r, kind, now, g, -1);
    r->stack = stack;
    r->words = (uint16_t)words;
    memcpy(r->args, args, nargs * sizeof(*args));
    put_texts(r, nargs, texts, ntexts);
    cu__trace_publish(s, words);
}

void cu__trace_note(enum cu__trace_kind kind, const uint64_t *args, unsigned nargs,
                    const struct cu__trace_text *texts, unsigned ntexts)
{
    atomic_fetch_add(&cu__trace_noting, 1);
    if (atomic_load(&cu__trace_session)) {
        note_texts(kind, args, nargs, texts, ntexts);
    }
    atomic_fetch_sub(&cu__trace_noting, 1);
}
