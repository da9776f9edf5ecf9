/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: opening and closing an inspection: between the two, coroutines may be claimed.
 */
#ifndef COPPER_RUNTIME_BARRIER_H
#define COPPER_RUNTIME_BARRIER_H

#include <stdbool.h>

/* All threads of the process pass a full memory barrier. False: the kernel cannot. */
bool cu__barrier_everywhere(void);
/* After this every worker that dequeues a coroutine looks whether it is claimed. */
void cu__claims_open(void);
void cu__claims_close(void);
/* Once for each start of the runtime: finds out what the kernel offers. */
void cu__claims_prepare(void);

#endif
