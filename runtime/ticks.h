/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a third clock beside clock.h's two, for how long something took: the processor's
 * counter, read without waiting for the instructions before it. A reading costs less than half of
 * cu_now(), which is what a wait of a busy channel can afford.
 *
 * Only differences mean something, and those of two threads only as far as their order is known
 * otherwise: a reading may be taken some ten nanoseconds early. Where the kernel does not trust the
 * counter itself, and in replayed time, a tick is a nanosecond of cu_now().
 */
#ifndef COPPER_RUNTIME_TICKS_H
#define COPPER_RUNTIME_TICKS_H

#include <copper/time.h>

#include "arch.h"
#include "base.h"
#include "replay.h"

struct cu__ticks {
    bool is_counter;  /* any: atomic; ticks are the processor's */
    uint64_t ns_each; /* any: atomic; nanoseconds of a tick, in 2^-32 */
    uint64_t in_ns;   /* any: atomic; ticks of a nanosecond, in 2^-32 */
};
extern hidden struct cu__ticks cu__ticks;

/* Before the first reading that counts, and when the runtime starts: chooses, and measures how long
 * a tick is, which may take two milliseconds the first time. Called by one at a time. */
void cu__ticks_prepare(void);

static inline int64_t cu__ticks_now(void)
{
    return likely(load_relaxed(&cu__ticks.is_counter)) ? (int64_t)cu__cycles() : cu_now();
}

static inline int64_t cu__ticks_scaled(int64_t value, uint64_t factor)
{
    return (int64_t)((unsigned __int128)(uint64_t)value * factor >> 32);
}
/* Of what is not negative. */
static inline int64_t cu__ticks_to_ns(int64_t ticks)
{
    return cu__ticks_scaled(ticks, load_relaxed(&cu__ticks.ns_each));
}
static inline int64_t cu__ticks_from_ns(int64_t ns)
{
    return cu__ticks_scaled(ns, load_relaxed(&cu__ticks.in_ns));
}

#endif
