/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the end of a process whose recording is under way (`copper record`): CPU windows that are
 * open then end at once and are answered with what they have, before the process goes.
 *
 * Concurrency: counters are atomic; finishing is asked for once, by whoever runs the process's exit.
 */
#ifndef COPPER_FINISH_H
#define COPPER_FINISH_H

#include <stdbool.h>

/* For those who answer with a window: round the whole of making and sending it. */
void cu__window_begin(void);
void cu__window_end(void);

/* Asked while a window waits: it should end now, and its answer is wanted. */
bool cu__is_finishing(void);

/* For the preload shim, at exit: ends the windows and waits until they are answered, a second at most.
 * Returns at once when there are none. Not in a forked child. */
__attribute__((visibility("default"))) void cu_preload_finish(void);

#endif
