/* SPDX-License-Identifier: Apache-2.0
 *
 * Work that a CPU profile must find again: a deep chain of calls, one of them always inlined, and
 * some time inside the C library.
 */
#ifndef HTTP_BURN_H
#define HTTP_BURN_H

#include <stdint.h>
#include <stdlib.h>

static _Atomic uint64_t burn_sink;
static volatile int burn_seed = 7;

__attribute__((always_inline)) static inline uint64_t inlined_mixing(uint64_t x)
{
    for (int i = 0; i < 200; i++) {
        x = (x ^ (x >> 13)) * 0x9e3779b97f4a7c15u;
    }
    return x;
}

__attribute__((noinline)) static uint64_t hot_leaf(uint64_t x)
{
    for (int i = 0; i < 200; i++) {
        x += inlined_mixing(x + (uint64_t)i);
    }
    return x;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

__attribute__((noinline)) static uint64_t sort_in_libc(void)
{
    int numbers[256];
    for (int i = 0; i < 256; i++) {
        numbers[i] = (i * 7919 + burn_seed) % 1009;
    }
    qsort(numbers, 256, sizeof(numbers[0]), compare_ints);
    return (uint64_t)numbers[17];
}

/* Calls itself; the value after the call keeps it from becoming a loop. */
__attribute__((noinline)) static uint64_t descend(int depth)
{
    if (depth == 0) {
        return hot_leaf((uint64_t)burn_seed) + sort_in_libc();
    }
    return descend(depth - 1) * 3 + 1;
}

__attribute__((noinline)) static void burn_once(void)
{
    burn_sink += descend(10);
}

#endif
