/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: asking a coroutine that computes to give way at its next safe point.
 */
#ifndef COPPER_RUNTIME_PREEMPT_H
#define COPPER_RUNTIME_PREEMPT_H

#include "types.h"

/* The calling worker can be asked from now on, or no more. */
void cu__preempt_begin(struct cu__m *m);
void cu__preempt_end(struct cu__m *m);
/* sysmon: m's coroutine, which runs since its P's tick was `tick`, is to give way. */
void cu__preempt_ask(struct cu__m *m, uint32_t tick);

#endif
