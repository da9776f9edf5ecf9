/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the stacks of coroutines take of memory, by who was spawned and by whom: the part
 * of a heap profile that no allocator sees, since the runtime maps stacks itself.
 *
 * Design. One pass over the live coroutines. The bytes of a stack are the pages of it that exist,
 * which the kernel tells (resident.h), so no stack is read, and nobody stopped but one parked
 * coroutine at a time. It is asked for some hundreds of stacks at once: of neighbours that costs a
 * fraction of asking one by one. Coroutines of one origin, with the same labels and as many bytes,
 * are one group: like allocations of one stack and size class.
 *
 * Not counted: stacks without a coroutine, which the runtime keeps for the next ones and gives
 * back after a while, and pages of the page table.
 *
 * Concurrency: one of these belongs to one thread.
 */
#ifndef COPPER_STACK_MEMORY_H
#define COPPER_STACK_MEMORY_H

#include "tally.h"

#include <copper/inspect.h>
#include <copper/stacks.h>
#include <stdbool.h>
#include <stdint.h>

/* Function that was spawned, and those of its ancestors. */
#define COPPER_SPAWN_DEPTH_MAX 40u

struct cu__stack_group {
    const struct cu_origin *origin;
    void (*entry)(void *);
    const struct cu_site *site;
    const struct cu_labels *labels;
    uint64_t bytes; /* of one stack */
};

struct cu__stack_memory {
    struct cu__tally groups;
    uint64_t inuse_bytes; /* pages that exist */
    uint64_t sys_bytes;   /* address space of those stacks */
    bool is_failed;       /* out of memory */
};

/* Empty without the runtime. 0 or -ENOMEM. To be cleared in either case. */
int cu__stack_memory_take(struct cu__stack_memory *m);
void cu__stack_memory_clear(struct cu__stack_memory *m);

const struct cu__stack_group *cu__stack_group(const struct cu__stack_memory *m, uint32_t number);

/* The function that was spawned first, then its parent's, and so on. How many: at least one. */
unsigned cu__stack_group_frames(const struct cu__stack_group *g,
                                cu_frame frames[COPPER_SPAWN_DEPTH_MAX]);

#endif
