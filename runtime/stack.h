/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stacks of coroutines: reserved, attached at the first run, cached, given back.
 */
#ifndef COPPER_RUNTIME_STACK_H
#define COPPER_RUNTIME_STACK_H

#include "types.h"

#define COPPER_STACK_CLASS_MIN     16u /* 64 KiB */
#define COPPER_STACK_CLASS_DEFAULT 18u /* 256 KiB */
#define COPPER_STACK_CLASS_MAX     30u /* 1 GiB */

/* The class for a wanted size (0: default); 0 when it is too large. */
uint32_t cu__stack_class(size_t size);
/* Sets address space for one more stack aside, so that attaching cannot fail for want of it. p may
 * be NULL. 0, -ENOMEM. */
int cu__stack_reserve(struct cu__p *p, uint32_t class);
void cu__stack_unreserve(struct cu__p *p, uint32_t class);
/* Sets aside what the caches of so many P may hold, in all. 0, -ENOMEM. */
int cu__stack_hold_back(uint32_t ps);
/* What p's cache holds is for others. p is the caller's. */
void cu__stack_empty(struct cu__p *p);
/* Gives g a stack and puts the first frame on it. On a thread's own stack, without locks. */
void cu__stack_attach(struct cu__p *p, struct cu__g *g);
/* The same anywhere, if p has a warm stack for g; else false. */
bool cu__stack_attach_warm(struct cu__p *p, struct cu__g *g);
/* Takes it away again, when nothing runs on it. Undoes the reservation too. */
void cu__stack_detach(struct cu__p *p, struct cu__g *g);
/* Reads the environment; once, before the first stack. */
void cu__stack_configure(void);
void cu__stack_after_fork(void);

#endif
