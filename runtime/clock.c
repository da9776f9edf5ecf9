/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the clock of copper/time.h.
 */
#include "clock.h"

int64_t cu__real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * COPPER_SEC + t.tv_nsec;
}

int64_t cu_now(void)
{
    return cu__replay_is_on() && cu__replay_is_here() ? cu__replay_now() : cu__real_now();
}
