/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see delay_stacks.h.
 */
#include "delay_stacks.h"

#include "budget.h"
#include "cpu_int.h"
#include "machine.h"
#include "runtime_weak.h"
#include "stack_bounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#pragma weak cu_inspect_here

#define SPARE_PLACES 16u
#define SPARE_BYTES  8192u

static struct spare {
    _Atomic int state; /* 0 free, 1 being filled, 2 to be finished */
    struct cu__delay_key key;
    int64_t count, delay_ns;
    struct cu_walk walk;
    uint32_t epoch, ncopy;
    cu_frame frames[COPPER_DELAY_DEPTH];
    unsigned char copy[SPARE_BYTES];
} * spares;

int cu__delay_stacks_open(void)
{
    spares = spares ? spares : calloc(SPARE_PLACES, sizeof(*spares));
    return spares ? 0 : -ENOMEM;
}

static struct spare *take_spare(void)
{
    for (unsigned i = 0; i < SPARE_PLACES; i++) {
        int state = 0;
        if (atomic_compare_exchange_strong(&spares[i].state, &state, 1)) {
            return &spares[i];
        }
    }
    return NULL;
}

/* True: the rest is done later. */
static bool defer(const struct cu__delay_key *key, const struct cu_walk *w, int64_t count,
                  int64_t delay_ns)
{
    struct spare *s = w->regs.sp >= w->lo && w->regs.sp < w->hi ? take_spare() : NULL;
    if (!s) {
        return false;
    }
    uint64_t rest = w->hi - w->regs.sp;
    s->key = *key;
    s->count = count;
    s->delay_ns = delay_ns;
    s->epoch = cu_modules_epoch_sig();
    s->ncopy = (uint32_t)(rest < SPARE_BYTES ? rest : SPARE_BYTES);
    s->walk = *w;
    s->walk.frames = s->frames;
    memcpy(s->frames, w->frames, w->n * sizeof(*w->frames));
    memcpy(s->copy, (const void *)(uintptr_t)w->regs.sp, s->ncopy);
    atomic_store(&s->state, 2);
    return true;
}

void cu__delay_tend(void)
{
    bool is_prepared = false;
    for (unsigned i = 0; spares && i < SPARE_PLACES; i++) {
        struct spare *s = &spares[i];
        int state = 2;
        if (!atomic_compare_exchange_strong(&s->state, &state, 1)) {
            continue;
        }
        if (!is_prepared) {
            cu_stacks_prepare();
            is_prepared = true;
        }
        uint64_t at = s->walk.regs.sp;
        s->walk.lo = at;
        s->walk.hi = at + s->ncopy;
        cu_stack_walk_copy(&s->walk, s->copy, at, s->ncopy, s->epoch);
        cu_frames_resolve(s->frames, s->walk.n, s->epoch);
        s->key.is_cut = s->walk.end != COPPER_WALK_ROOT;
        cu__delay_add(&s->key, s->frames, s->walk.n, s->count, s->delay_ns);
        atomic_store(&s->state, 0);
    }
}

static void count_walk(struct cu__delay_key *key, struct cu_walk *w, int64_t count,
                       int64_t delay_ns)
{
    cu_stack_walk_sig(w);
    if (w->end != COPPER_WALK_MISS || !defer(key, w, count, delay_ns)) {
        key->is_cut = w->end != COPPER_WALK_ROOT;
        cu__delay_add(key, w->frames, w->n, count, delay_ns);
    }
}

static const struct cu_labels *labels_here(void)
{
    struct cu_here here = {.kind = COPPER_HERE_THREAD};
    cu_inspect_here(&here);
    return here.labels;
}

__attribute__((noinline)) void cu__delay_count_here(struct cu__delay_key *key, int64_t count,
                                                    int64_t delay_ns)
{
    int64_t began = cu__now_ns();
    cu_frame frames[COPPER_DELAY_DEPTH];
    struct cu_walk w = {.frames = frames, .max = COPPER_DELAY_DEPTH};
    cu__regs_here((uint64_t *)&w.regs);
    w.lo = w.regs.sp;
    w.hi = cu__stack_end_here(w.lo);
    key->labels = labels_here();
    count_walk(key, &w, count, delay_ns);
    cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
}

__attribute__((noinline)) void cu__delay_stack_here(struct cu__delay_stack *out)
{
    struct cu_walk w = {.frames = out->frames, .max = COPPER_DELAY_DEPTH};
    cu__regs_here((uint64_t *)&w.regs);
    w.lo = w.regs.sp;
    w.hi = cu__stack_end_here(w.lo);
    cu_stack_walk_sig(&w);
    out->n = w.n;
    out->is_cut = w.end != COPPER_WALK_ROOT;
    out->labels = labels_here();
}

/* Counts the stack of who is about to run; of one that is new, the function it begins with. */
void cu__delay_count_resumed(struct cu__delay_key *key, const struct cu_resume *resume,
                             int64_t count, int64_t delay_ns)
{
    int64_t began = cu__now_ns();
    cu_frame frames[COPPER_DELAY_DEPTH];
    key->entry = (uint64_t)(uintptr_t)resume->entry;
    key->labels = resume->labels;
    if (resume->regs.pc == 0) {
        frames[0] = key->entry;
        cu__delay_add(key, frames, 1, count, delay_ns);
        cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
        return;
    }
    struct cu_walk w = {.frames = frames,
                        .max = COPPER_DELAY_DEPTH,
                        .lo = resume->regs.sp,
                        .hi = resume->stack_hi,
                        .is_call_site = true};
    memcpy(&w.regs, &resume->regs, sizeof(w.regs));
    count_walk(key, &w, count, delay_ns);
    cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
}
