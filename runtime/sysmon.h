/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread that watches the others.
 */
#ifndef COPPER_RUNTIME_SYSMON_H
#define COPPER_RUNTIME_SYSMON_H

#include "types.h"

extern hidden uint32_t cu__sysmon_sleeps; /* any: atomic; it waits for something to run */

/* Starts it; 0 or -errno. */
int cu__sysmon_start(void);
void cu__sysmon_wake(void);
/* A P is idle, work waits, and there is no thread that could take it. */
void cu__sysmon_want_thread(void);
/* A coroutine gives its P to another thread, or would, and none rests that could run what is
 * queued. */
void cu__sysmon_want_heir(void);
void cu__sysmon_after_fork(void);

/* Somebody took a P: there is something to watch. */
static inline void cu__sysmon_work(void)
{
    if (unlikely(load_seq(&cu__sysmon_sleeps))) {
        cu__sysmon_wake();
    }
}

/* worker.c: one more worker, which has no P yet. 0; -EAGAIN: COPPER_MAXTHREADS; -errno. */
int cu__worker_add(void);

#endif
