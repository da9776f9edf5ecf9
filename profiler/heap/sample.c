/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which allocations are sampled, and the taking of one.
 *
 * Design. Sample points lie on the axis of bytes allocated by a thread, at distances drawn from an
 * exponential distribution of mean `rate`; an allocation that holds one is sampled. So each byte is
 * as likely as any other, whatever sizes come in what order, and the chance of an allocation is 1 -
 * exp(-n / rate). A thread keeps how far the next point is; the wrappers subtract.
 *
 * The stack is walked here, in the caller's thread, with prepared tables. Where these do not reach,
 * the rest is copied for finish.c.
 */
#include "internal.h"
#include "xorshift.h"

#include <copper/inspect.h>
#include <errno.h>
#include <math.h>
#include <string.h>

extern __typeof__(cu_inspect_here) cu_inspect_here __attribute__((weak));

#define LEFT_NEVER (UINT64_MAX / 2)
#define LEFT_OFF   (UINT64_C(64) << 20) /* how soon a thread hears that sampling is on again */

__thread struct cu__heap_thread cu__heap_thread;

static _Atomic uint32_t serials;

static uint64_t next_random(struct cu__heap_thread *t)
{
    if (t->random == 0) {
        t->random = (uint64_t)cu__heap_now(CLOCK_MONOTONIC) * UINT64_C(0x9e3779b97f4a7c15) ^
                    (uint64_t)(uintptr_t)t << 17 ^ 1;
    }
    return cu__xorshift(&t->random) * UINT64_C(0x2545f4914f6cdd1d);
}

/* The byte, counted from 1, that the next point falls into. */
static void draw(struct cu__heap_thread *t)
{
    t->rate = atomic_load_explicit(&cu__heap_rate_now, memory_order_relaxed);
    if (t->rate == 0 || t->is_tool) {
        t->left = t->is_tool ? LEFT_NEVER : LEFT_OFF;
    } else if (t->rate == 1) {
        t->left = 1;
    } else {
        double u = (double)((next_random(t) >> 11) + 1) * 0x1p-53; /* (0, 1] */
        t->left = (uint64_t)(-log(u) * (double)t->rate) + 1;
    }
}

bool cu__heap_is_due(size_t n, uint64_t *rate)
{
    struct cu__heap_thread *t = &cu__heap_thread;
    if (t->is_busy) {
        return false;
    }
    bool is_new = t->left == 0 && t->rate == 0;
    if (is_new) {
        draw(t);
        if (n < t->left) {
            t->left -= n;
            return false;
        }
    }
    *rate = t->rate;
    draw(t);
    return *rate != 0 && n > 0 && !t->is_tool;
}

/* ---- one sample ------------------------------------------------------------------------------ */

/* Where our code lies, by the linker. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

static bool is_ours(cu_frame frame)
{
    uint64_t pc = COPPER_FRAME_PC(frame);
    return pc >= (uint64_t)(uintptr_t)__ehdr_start && pc < (uint64_t)(uintptr_t)etext;
}

#define READS_STACKS __attribute__((noinline, no_sanitize("address"), no_sanitize("thread")))

/* Walks from here outwards; what is left over after a miss is up to the caller. */
READS_STACKS static void walk_from_here(struct cu_walk *w, struct cu__bounds *bounds)
{
    struct cu_regs *r = &w->regs;
    __asm__ volatile("leaq 0(%%rip), %%rax\n\t"
                     "movq %%rax, 0(%0)\n\t"
                     "movq %%rsp, 8(%0)\n\t"
                     "movq %%rbp, 16(%0)\n\t"
                     "movq %%rbx, 24(%0)\n\t"
                     "movq %%r12, 32(%0)\n\t"
                     "movq %%r13, 40(%0)\n\t"
                     "movq %%r14, 48(%0)\n\t"
                     "movq %%r15, 56(%0)"
                     :
                     : "r"(r)
                     : "rax", "memory");
    *bounds = cu__heap_stack_at(r->sp);
    w->lo = r->sp;
    w->hi = bounds->hi;
    cu_stack_walk_sig(w);
}

READS_STACKS static uint32_t copy_rest(struct cu__pending *p, uint64_t hi)
{
    uint64_t from = p->walk.regs.sp & ~UINT64_C(7);
    uint64_t n = hi > from ? hi - from : 0;
    n = n < COPPER_PENDING_COPY_MAX ? n & ~UINT64_C(7) : COPPER_PENDING_COPY_MAX;
    const volatile uint64_t *words = (const volatile uint64_t *)(uintptr_t)from;
    for (uint64_t i = 0; i < n / 8; i++) {
        p->copy[i] = words[i];
    }
    p->copy_at = from;
    return (uint32_t)n;
}

struct sample {
    struct cu__block block;
    uint64_t rate;
    const struct cu_labels *labels;
};

static void follow(const struct cu__block *block)
{
    if (!cu__block_add(block)) {
        atomic_fetch_add_explicit(&cu__heap_unfollowed, 1, memory_order_relaxed);
        cu__heap_count_free(block);
    }
}

/* Keeps the sample for when there are tables. False: no room for that. */
static bool defer(const struct sample *s, const struct cu_walk *walk, uint32_t epoch, uint64_t hi)
{
    struct cu__pending *p = cu__pending_claim();
    if (!p) {
        return false;
    }
    p->serial = s->block.serial;
    p->epoch = epoch;
    p->address = s->block.address;
    p->bytes = s->block.bytes;
    p->rate = s->rate;
    p->labels = s->labels;
    p->walk = *walk;
    memcpy(p->frames, walk->frames, walk->n * sizeof(cu_frame));
    p->ncopy = copy_rest(p, hi);
    struct cu__block block = s->block;
    block.site = COPPER_SITE_PENDING;
    if (!cu__block_add(&block)) {
        atomic_fetch_add_explicit(&cu__heap_unfollowed, 1, memory_order_relaxed);
    }
    cu__pending_ready(p);
    return true;
}

static __attribute__((noinline)) void take(struct sample *s)
{
    cu_frame frames[COPPER_STACK_DEPTH_MAX];
    struct cu_walk w = {.frames = frames, .max = COPPER_STACK_DEPTH_MAX};
    struct cu__bounds bounds;
    uint32_t epoch = cu_modules_epoch_sig();
    walk_from_here(&w, &bounds);
    if (w.end == COPPER_WALK_MISS && defer(s, &w, epoch, bounds.hi)) {
        return;
    }
    unsigned first = 0;
    while (first < w.n && is_ours(frames[first])) {
        first++;
    }
    bool is_cut = w.end != COPPER_WALK_ROOT;
    if (is_cut) {
        atomic_fetch_add_explicit(&cu__heap_cut, 1, memory_order_relaxed);
    }
    struct cu__site_key key = {.frames = frames + first,
                               .nframes = w.n - first,
                               .is_cut = is_cut,
                               .epoch = epoch,
                               .labels = s->labels,
                               .bytes = s->block.bytes,
                               .rate = s->rate};
    s->block.site = cu__site_of(&key);
    cu__site_alloc(s->block.site, s->block.bytes);
    follow(&s->block);
}

void cu__heap_record(void *block, size_t n, uint64_t rate)
{
    struct cu__heap_thread *t = &cu__heap_thread;
    int saved = errno;
    t->is_busy = true;
    int64_t began = cu__heap_now(CLOCK_MONOTONIC);
    struct sample s = {.rate = rate};
    s.block.address = (uint64_t)(uintptr_t)block;
    s.block.bytes = n;
    s.block.serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed);
    if (cu_inspect_here) {
        struct cu_here here;
        cu_inspect_here(&here);
        s.labels = here.labels;
    }
    take(&s);
    atomic_fetch_add_explicit(&cu__heap_samples, 1, memory_order_relaxed);
    cu__heap_account(cu__heap_now(CLOCK_MONOTONIC) - began);
    t->is_busy = false;
    errno = saved;
}

void cu_heap_thread_is_tool(void)
{
    cu__heap_thread.is_tool = true;
    cu__heap_thread.left = LEFT_NEVER;
}
