/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which threads of the process might wake a coroutine.
 */
#ifndef COPPER_RUNTIME_SERVICE_H
#define COPPER_RUNTIME_SERVICE_H

#include "base.h"

/* Plain threads that wait in one of our calls, for good unless woken by us. The waiting thread says
 * so after it can be found by a waker; the waker takes it back, and not the thread itself, so that
 * no thread that can already go on is counted. Asks for a look at whether anybody can: it may have
 * been the last. */
void cu__thread_blocks(void);
void cu__thread_is_woken(void);
int32_t cu__threads_blocked(void);

/* Threads of the process that are neither workers, nor services, nor blocked: what the program has
 * that could wake a coroutine. Errs on the high side only. -errno when it cannot be found out. */
int32_t cu__threads_foreign(void);

void cu__service_after_fork(void);

#endif
