/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_memory.h.
 */
#include "stack_memory.h"

#include "census.h"
#include "entry_frame.h"
#include "resident.h"
#include "runtime_weak.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 256u /* coroutines; what one delays a waiting inspection by is their pages' walk */

/* Coroutines that were seen, and whose stacks are still to be asked for. */
struct batch {
    struct cu__stack_memory *memory;
    int pagemap;
    uint32_t n;
    struct cu__stack_group groups[BATCH];
    struct cu__piece stacks[BATCH];
};

static void count_one(struct cu__stack_memory *m, struct cu__stack_group *group,
                      const struct cu__piece *stack)
{
    if (stack->bytes == 0) {
        return; /* it has not run yet, or has ended since */
    }
    group->bytes = stack->bytes;
    if (cu__tally_add(&m->groups, group, sizeof(*group)) == COPPER_INTERN_NONE) {
        m->is_failed = true;
        return;
    }
    m->inuse_bytes += stack->bytes;
    m->sys_bytes += stack->hi - stack->lo;
}

/* Stacks are never unmapped, so that it does not matter whose they are by now. */
static void count_batch(struct batch *b)
{
    cu__resident_fill(b->pagemap, b->stacks, b->n);
    for (uint32_t i = 0; i < b->n; i++) {
        count_one(b->memory, &b->groups[b->stacks[i].number], &b->stacks[i]);
    }
    b->n = 0;
}

static bool add_stack(const struct cu_g_info *g, void *arg)
{
    struct batch *b = arg;
    if (g->stack_hi == 0) {
        return true; /* it has none yet */
    }
    if (b->n == BATCH) {
        count_batch(b);
    }
    struct cu__stack_group *group = &b->groups[b->n];
    memset(group, 0, sizeof(*group)); /* interned by its bytes: padding counts */
    group->origin = g->origin;
    group->entry = g->entry;
    group->site = g->site;
    group->labels = g->labels;
    b->stacks[b->n] = (struct cu__piece){.lo = g->stack_lo, .hi = g->stack_hi, .number = b->n};
    b->n++;
    return !b->memory->is_failed;
}

int cu__stack_memory_take(struct cu__stack_memory *m)
{
    *m = (struct cu__stack_memory){0};
    if (!cu__has_runtime()) {
        return 0;
    }
    struct batch *b = malloc(sizeof(*b));
    if (!b) {
        return -ENOMEM;
    }
    b->memory = m;
    b->n = 0;
    b->pagemap = cu__resident_open();
    cu_inspect_each(add_stack, b);
    count_batch(b);
    if (b->pagemap >= 0) {
        close(b->pagemap);
    }
    free(b);
    return m->is_failed ? -ENOMEM : 0;
}

void cu__stack_memory_clear(struct cu__stack_memory *m)
{
    cu__tally_clear(&m->groups);
    *m = (struct cu__stack_memory){0};
}

const struct cu__stack_group *cu__stack_group(const struct cu__stack_memory *m, uint32_t number)
{
    return cu__interned(&m->groups.kinds, number, NULL);
}

unsigned cu__stack_group_frames(const struct cu__stack_group *g,
                                cu_frame frames[COPPER_SPAWN_DEPTH_MAX])
{
    unsigned n = 0;
    frames[n++] = cu__frame_at((uint64_t)(uintptr_t)g->entry);
    const struct cu_origin *o = g->origin ? g->origin->parent : NULL;
    for (; o && !o->is_more && n < COPPER_SPAWN_DEPTH_MAX; o = o->parent) {
        frames[n++] = cu__frame_at((uint64_t)(uintptr_t)o->entry);
    }
    return n;
}
