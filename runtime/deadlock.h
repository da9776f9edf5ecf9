/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: finding out that nothing in the whole program can go on.
 */
#ifndef COPPER_RUNTIME_DEADLOCK_H
#define COPPER_RUNTIME_DEADLOCK_H

#include "base.h"

enum cu__deadlock_look {
    COPPER_LOOK_BUSY,    /* something runs, or will by itself */
    COPPER_LOOK_FOREIGN, /* only a thread of the program could wake somebody, and there is one */
    COPPER_LOOK_DEAD,    /* reported, and the program goes on because that was asked for */
};

/* By the watch thread. Does not return when it finds a deadlock and is to end the process. */
enum cu__deadlock_look cu__deadlock_look(void);
/* COPPER_DEADLOCK: whether to look at all, and how often without being asked; 0: never. */
bool cu__deadlock_is_wanted(void);
int64_t cu__deadlock_period_ns(void);

/* Something that is neither a thread nor a timer nor a descriptor may wake coroutines (a signal):
 * until it is taken back nothing is reported. */
void cu__deadlock_hold(void);
void cu__deadlock_release(void);
void cu__deadlock_after_fork(void);

#endif
