/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the numbers by which profiles choose: xorshift64 (Marsaglia, Xorshift RNGs, 2003, shifts
 * 13, 7, 17), random enough to favour nothing. The state must not be 0.
 *
 * Concurrency: the state's owner. Signal safety: arithmetic.
 */
#ifndef COPPER_PROFILER_XORSHIFT_H
#define COPPER_PROFILER_XORSHIFT_H

#include <stdint.h>

static inline uint64_t cu__xorshift(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif
