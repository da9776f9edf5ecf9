/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: hashing for the interning tables and the id map.
 *
 * Design: multiply and fold. The process's random seed goes into every hash, so that a file made to
 * collide in one process does not in the next. Nothing visible depends on a hash: ids follow the
 * order of first use.
 */
#ifndef COPPER_PROTO_HASH_H
#define COPPER_PROTO_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t cu__hash_bytes(const void *bytes, size_t n);

/* Adds one word to a running hash; start from cu__hash_seed(). */
uint64_t cu__hash_seed(void);

static inline uint64_t cu__hash_word(uint64_t hash, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(hash ^ word) * 0x9e3779b97f4a7c15u;
    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ (word << 32 | word >> 32);
}

static inline uint32_t cu__hash_end(uint64_t hash)
{
    hash = (hash ^ hash >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(hash >> 32);
}

#endif
