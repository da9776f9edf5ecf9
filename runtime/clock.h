/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: two clocks. cu_now() for deadlines; ticks, a third of its price, for "since when".
 *
 * Design: a tick is the processor's counter where the kernel itself trusts it as its clock source,
 * else a nanosecond of cu_now(). Conversion interpolates between the runtime's start and the moment
 * of the conversion, so that no calibration pause is needed and the error is that of two clock reads.
 */
#ifndef COPPER_RUNTIME_CLOCK_H
#define COPPER_RUNTIME_CLOCK_H

#include <copper/time.h>

#include "arch.h"
#include "base.h"

extern bool cu__clock_has_ticks; /* constant once the library is loaded */

static inline uint64_t cu__ticks(void)
{
    return likely(cu__clock_has_ticks) ? cu__cpu_ticks() : (uint64_t)cu_now();
}

/* A pair of readings of one moment, to convert many ticks. */
struct cu__clock_pair {
    int64_t now_ns;
    uint64_t ticks;
};
struct cu__clock_pair cu__clock_pair(void);
int64_t cu__ticks_to_ns(uint64_t ticks, struct cu__clock_pair now);     /* a moment */
int64_t cu__tick_span_to_ns(uint64_t ticks, struct cu__clock_pair now); /* a length */

#endif
