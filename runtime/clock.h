/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a second clock beside cu_now(): the same one as of the last kernel tick, for "since
 * when" in reports. It is up to 4 ms late and costs a fraction of a precise reading, which on many
 * machines is the most expensive thing a switch could do.
 */
#ifndef COPPER_RUNTIME_CLOCK_H
#define COPPER_RUNTIME_CLOCK_H

#include <copper/time.h>
#include <time.h>

#include "replay.h"

/* cu_now() for whom no replay concerns. */
int64_t cu__real_now(void);

static inline int64_t cu__now_coarse(void)
{
    struct timespec t;
    if (cu__replay_is_on() && cu__replay_is_here()) {
        return load_relaxed(&cu__replay.now_ns);
    }
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * COPPER_SEC + t.tv_nsec;
}

#endif
