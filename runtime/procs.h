/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how many P there are, also while the runtime runs.
 */
#ifndef COPPER_RUNTIME_PROCS_H
#define COPPER_RUNTIME_PROCS_H

#include "types.h"

/* For the runtime's start: how many there are to be, and making them, in nobody's hands. 0,
 * -ENOMEM. */
uint32_t cu__procs_wanted(void);
int cu__procs_prepare(uint32_t procs);
/* The start failed: nobody has seen them. */
void cu__procs_discard(void);
/* Around the start: the number does not change meanwhile. */
void cu__procs_lock(void);
void cu__procs_unlock(void);

/* p is the caller's, and one too many: what it holds goes where others find it. */
void cu__p_clear(struct cu__p *p);
/* Called with the scheduler's lock, on a P that was cleared and is nobody's: it is no more, or is
 * wanted after all. */
void cu__p_retire(struct cu__p *p);
void cu__p_reopen(struct cu__p *p);

void cu__procs_after_fork(void);

#endif
