/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_memory.h.
 */
#include "stack_memory.h"

#include "census.h"
#include "runtime_weak.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES        4096u
#define FIRST_BATCH_PAGES 8u /* of most coroutines all there is */
#define BATCH_PAGES       512u

/* Pages of [lo, hi) that exist, from the top to the first gap that none of what is in use lies
 * below: what a deep excursion left beyond such a gap is given back soon, and looking for it would
 * be most of the work. A stack is never unmapped, so it does not matter if it changes hands
 * meanwhile. used: the deepest byte in use. */
static uint64_t resident_bytes(uint64_t lo, uint64_t hi, uint64_t used)
{
    unsigned char is_there[BATCH_PAGES];
    uint64_t pages = 0, batch = FIRST_BATCH_PAGES;
    for (uint64_t at = hi; at > lo; batch = batch < BATCH_PAGES ? 2 * batch : BATCH_PAGES) {
        uint64_t n = (at - lo) / PAGE_BYTES;
        n = n < batch ? n : batch;
        at -= n * PAGE_BYTES;
        if (n == 0 || mincore((void *)(uintptr_t)at, n * PAGE_BYTES, is_there) != 0) {
            break;
        }
        for (uint64_t i = 0; i < n; i++) {
            pages += is_there[i] & 1;
        }
        if (at <= used && !(is_there[0] & 1)) {
            break;
        }
    }
    return pages * PAGE_BYTES;
}

static bool add_stack(const struct cu_g_info *g, void *arg)
{
    struct cu__stack_memory *m = arg;
    uint64_t used = g->has_regs ? g->regs.sp : g->stack_lo;
    uint64_t bytes = resident_bytes(g->stack_lo, g->stack_hi, used);
    if (bytes == 0) {
        return true; /* it has not run yet */
    }
    struct cu__stack_group group;
    memset(&group, 0, sizeof(group)); /* interned by its bytes: padding counts */
    group.origin = g->origin;
    group.entry = g->entry;
    group.site = g->site;
    group.labels = g->labels;
    group.bytes = bytes;
    if (cu__tally_add(&m->groups, &group, sizeof(group)) == COPPER_INTERN_NONE) {
        m->is_failed = true;
        return false;
    }
    m->inuse_bytes += bytes;
    m->sys_bytes += g->stack_hi - g->stack_lo;
    return true;
}

int cu__stack_memory_take(struct cu__stack_memory *m)
{
    *m = (struct cu__stack_memory){0};
    if (cu__has_runtime()) {
        cu_inspect_each(add_stack, m);
    }
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
