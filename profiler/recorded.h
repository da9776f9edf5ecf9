/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the beginning and the end of a process that is recorded, by `copper record` or itself. It begins when the
 * first CPU window is open, and before it exits, windows that are open end at once and are answered
 * with what they have: so the recording is whole, however short the program.
 *
 * Concurrency: counters are atomic; begin and finish are called once each, by whoever runs the
 * process's start and exit.
 */
#ifndef COPPER_RECORDED_H
#define COPPER_RECORDED_H

#include <stdbool.h>

/* For those who answer with a window: round the whole of making and sending it. */
void cu__window_begin(void);
void cu__window_end(void);
/* For those who make it: from now on samples count. */
void cu__window_opened(void);

/* Windows end from now on. */
void cu__finishing_begin(void);
/* Asked while a window waits: it should end now, and its answer is wanted. */
bool cu__is_finishing(void);

/* For the preload shim, before main: waits until a window is open, half a second at most. */
__attribute__((visibility("default"))) void cu_preload_begin(void);
/* ... and at exit: ends the windows and waits until they are answered, a second at most. Returns at
 * once when there are none. So do recordings by COPPER_CONTINUOUS, which may take ten. Not in a
 * forked child. */
__attribute__((visibility("default"))) void cu_preload_finish(void);

#endif
