/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: hash.h's functions that are not worth inlining.
 *
 * Concurrency: any thread; the seed is the only shared state.
 */
#include "hash.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>

uint64_t cu__hash_seed(void)
{
    /* whoever comes first stores it, at once or again: all would store the same */
    static _Atomic uint64_t seed;
    uint64_t known = atomic_load_explicit(&seed, memory_order_relaxed);
    if (known)
        return known;
    /* 16 random bytes that the kernel gives every process: no file, no failure */
    const void *random = (const void *)getauxval(AT_RANDOM);
    known = 0x2545f4914f6cdd1du;
    if (random)
        memcpy(&known, random, sizeof known);
    known |= 1;
    atomic_store_explicit(&seed, known, memory_order_relaxed);
    return known;
}

uint64_t cu__hash_bytes(const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint64_t hash = cu__hash_word(cu__hash_seed(), n), word;
    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = cu__hash_word(hash, word);
    }
    word = 0;
    if (n)
        memcpy(&word, at, n);
    return cu__hash_word(hash, word);
}
