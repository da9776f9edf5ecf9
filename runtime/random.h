/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the numbers that the scheduler and select draw: splitmix64. A state is one word, every
 * one is good, and a step and its mixing are apart, so that who shares a state may step atomically.
 */
#ifndef COPPER_RUNTIME_RANDOM_H
#define COPPER_RUNTIME_RANDOM_H

#include "base.h"

#define COPPER_RANDOM_STEP 0x9E3779B97F4A7C15u

static inline uint64_t cu__random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* The next number. Of two who draw at once, both may get the same. */
static inline uint64_t cu__random(uint64_t *state)
{
    uint64_t x = load_relaxed(state) + COPPER_RANDOM_STEP;
    store_relaxed(state, x);
    return cu__random_mix(x);
}

#endif
