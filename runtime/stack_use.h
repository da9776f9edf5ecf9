/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how deep coroutines go, by what they run, and giving back what they no longer use.
 */
#ifndef COPPER_RUNTIME_STACK_USE_H
#define COPPER_RUNTIME_STACK_USE_H

#include "types.h"

/* Reads COPPER_STACK_CENSUS; once, before the first stack. */
void cu__census_configure(void);
/* Every so many stacks handed out, this one is measured: makes it cold, so that what is there in
 * the end is g's. Called before the first frame is put on it. */
void cu__census_begin(struct cu__p *p, struct cu__g *g);
/* g has ended; its stack is still there. */
void cu__census_end(const struct cu__g *g);

/* Bytes from the deepest page that is there to the top; 0 when none is. */
size_t cu__stack_depth(const struct cu__stack *stack);

/* Gives the pages back that parked coroutines went down to and do not use now, of those that have
 * been parked for a second and were not looked at since. Returns bytes; *again: some will be due
 * soon. By the watch thread. */
int64_t cu__stacks_tidy(bool *again);

#endif
