/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: values that a program holds, and the stack that each was taken at: what a profile of the
 * program's own consists of.
 *
 * Design. A table of values (open addressing, an entry moves up when one before it goes) points at
 * stacks, which are stored once, with the number of values that have them, and freed with the last
 * of these. So memory follows what is held: 16 to 64 bytes a value, at most COPPER_HELD_VALUES_MAX
 * of them, and at most COPPER_HELD_STACKS_MAX stacks. Values beyond the latter count as one stack
 * that is not known.
 *
 * Concurrency: none of its own; the caller has a lock.
 */
#ifndef COPPER_HELD_H
#define COPPER_HELD_H

#include <copper/stacks.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_HELD_VALUES_MAX (1u << 20)
#define COPPER_HELD_STACKS_MAX 8192u
#define COPPER_HELD_DEPTH      128u /* frames of one stack, as Go has */
#define COPPER_HELD_BUCKETS    1024u

struct cu__held_stack {
    struct cu__held_stack *next;
    uint64_t hash;
    int64_t count;
    bool is_cut; /* it does not reach the outermost frame */
    unsigned n;  /* frames; 0: not known */
    cu_frame frames[];
};

struct cu__held {
    struct cu__held_value *values;
    size_t cap, n; /* places, taken ones */
    struct cu__held_stack *buckets[COPPER_HELD_BUCKETS];
    size_t nstacks;
    struct cu__held_stack unknown; /* of values without a stack, or beyond the limit */
};

/* All zero is an empty one. 0; -EEXIST: it is held already; -ENOSPC: at the limit; -ENOMEM. */
int cu__held_add(struct cu__held *h, const void *value, const cu_frame *frames, unsigned n,
                 bool is_cut);
/* False: it is not held. */
bool cu__held_remove(struct cu__held *h, const void *value);

/* The stacks with a value and their counts as they are now, most values first. Each has frames at
 * all->frames + first. Freed with free(). NULL: out of memory. */
struct cu__held_copy {
    size_t n;
    int64_t total;
    const cu_frame *frames;
    struct cu__held_counted {
        size_t first;
        unsigned nframes;
        bool is_cut;
        int64_t count;
    } stacks[];
};
struct cu__held_copy *cu__held_copy(const struct cu__held *h);

#endif
