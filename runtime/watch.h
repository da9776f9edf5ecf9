/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread that looks after the process when nothing else does.
 */
#ifndef COPPER_RUNTIME_WATCH_H
#define COPPER_RUNTIME_WATCH_H

#include "base.h"

enum {
    COPPER_WATCH_IDLE = 1, /* all P are idle, or a plain thread blocked: can anybody go on? */
    COPPER_WATCH_DUMP = 2, /* write every coroutine to standard error */
};

extern hidden uint32_t cu__watch_word; /* any: atomic; the bits that are asked for */

/* Asks for bits; async-signal-safe. Without the thread it has no effect. */
void cu__watch_ask_sig(uint32_t bits);

/* From whoever sees all P idle: one load while a look is already asked for. */
static inline void cu__watch_idle(void)
{
    if (!(load_relaxed(&cu__watch_word) & COPPER_WATCH_IDLE)) {
        cu__watch_ask_sig(COPPER_WATCH_IDLE);
    }
}

/* With the runtime: reads COPPER_DEADLOCK and COPPER_DUMP. Failing takes away these two alone. */
void cu__watch_start(void);
void cu__watch_after_fork(void);

#endif
