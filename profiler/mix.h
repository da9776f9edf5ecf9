/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: hashes of stacks, word by word. A multiplication alone will not do: frames of one stack
 * differ in few bits.
 *
 * Concurrency: none needed. Signal safety: arithmetic.
 */
#ifndef COPPER_PROFILER_MIX_H
#define COPPER_PROFILER_MIX_H

#include <stdint.h>

/* hash with one more word in it; each bit of both moves each bit of the result. */
static inline uint64_t cu__mix(uint64_t hash, uint64_t word)
{
    hash ^= word;
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ (hash >> 32);
}

#endif
