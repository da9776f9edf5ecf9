/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: hash.h's functions that are not worth inlining.
 */
#include "hash.h"

#include <string.h>
#include <sys/auxv.h>

uint64_t cu__hash_seed(void)
{
    /* 16 random bytes that the kernel gives every process: no call, no file, no failure */
    const void *random = (const void *)getauxval(AT_RANDOM);
    uint64_t seed = 0x2545f4914f6cdd1du;
    if (random)
        memcpy(&seed, random, sizeof seed);
    return seed | 1;
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
