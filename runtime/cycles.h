/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: looking for circles of waiting coroutines; the door is cu_deadlocks_check.
 */
#ifndef COPPER_RUNTIME_CYCLES_H
#define COPPER_RUNTIME_CYCLES_H

void cu__cycles_after_fork(void);

#endif
