/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one line of result, the same from every program: name, value, unit, tab-separated.
 */
#ifndef COPPER_BENCH_H
#define COPPER_BENCH_H

#include <copper/time.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void bench_result(const char *name, double value, const char *unit)
{
    printf("%s\t%.2f\t%s\n", name, value, unit);
}

static inline double bench_ns_each(int64_t since_ns, int64_t count)
{
    return (double)(cu_now() - since_ns) / (double)count;
}

/* The program's first argument, or what it does without one. */
static inline int64_t bench_count(int argc, char **argv, int64_t otherwise)
{
    int64_t count = argc > 1 ? atoll(argv[1]) : otherwise;
    return count > 0 ? count : otherwise;
}

#endif
