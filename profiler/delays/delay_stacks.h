/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the stacks that delays are counted with, walked where an event is told.
 *
 * Design. A hook walks the stack in place with prepared tables. Where a module has none yet, the
 * top of the stack is copied into one of a few spare places, which a thread of ours finishes and
 * counts; with all of them taken the stack counts as far as it was seen.
 *
 * Concurrency: from hooks, on any thread: nothing here locks, allocates or waits. Tending is for
 * plain threads, any number at a time.
 */
#ifndef COPPER_DELAY_STACKS_H
#define COPPER_DELAY_STACKS_H

#include "delay_table.h"

#include <copper/hooks.h>

struct cu__delay_stack {
    cu_frame frames[COPPER_DELAY_DEPTH];
    unsigned n;
    bool is_cut;
    const struct cu_labels *labels;
};

/* Reserves the memory; before any of the others. 0 or -ENOMEM. */
int cu__delay_stacks_open(void);
/* The caller's stack; and counts it. */
void cu__delay_stack_here(struct cu__delay_stack *out);
void cu__delay_count_here(struct cu__delay_key *key, int64_t count, int64_t delay_ns);
/* Counts the stack of who is about to run; of one that is new, the function it begins with. */
void cu__delay_count_resumed(struct cu__delay_key *key, const struct cu_resume *resume,
                             int64_t count, int64_t delay_ns);
/* Finishes the stacks that hooks could not walk to their end. */
void cu__delay_tend(void);

#endif
