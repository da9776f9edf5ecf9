/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: lines of result, the same from every program: name, value, unit, tab-separated. A timed
 * stretch prints two: what one operation took, and how often the scheduler really switched for it,
 * so that a benchmark that was optimised or batched away does not pass for a fast one.
 */
#ifndef COPPER_BENCH_H
#define COPPER_BENCH_H

#include <copper/inspect.h>
#include <copper/time.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void bench_result(const char *name, double value, const char *unit)
{
    printf("%s\t%.2f\t%s\n", name, value, unit);
}

struct bench {
    int64_t start_ns;
    uint64_t switches;
};

static inline uint64_t bench_switches(void)
{
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    return stats.switches;
}

static inline struct bench bench_start(void)
{
    return (struct bench){.start_ns = cu_now(), .switches = bench_switches()};
}

/* Ends a stretch of `count` operations. */
static inline void bench_stop(const struct bench *b, const char *name, int64_t count)
{
    double ns = (double)(cu_now() - b->start_ns) / (double)count;
    char text[64];
    bench_result(name, ns, "ns");
    snprintf(text, sizeof(text), "%s.switches", name);
    bench_result(text, (double)(bench_switches() - b->switches) / (double)count, "each");
}

/* The program's first argument, or what it does without one. */
static inline int64_t bench_count(int argc, char **argv, int64_t otherwise)
{
    int64_t count = argc > 1 ? atoll(argv[1]) : otherwise;
    return count > 0 ? count : otherwise;
}

#endif
