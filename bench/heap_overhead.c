/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns per malloc/free pair, of whatever allocator the process was started with: pairs of
 * one small size, pairs of mixed sizes through a window of live blocks. heap_overhead.py runs it
 * bare and under ours, jemalloc's and gperftools' heap profilers.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PAIRS  20000000u
#define WINDOW 4096u

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(const char *name, double began)
{
    printf("%s\t%.3f\tns\n", name, (now() - began) / PAIRS);
}

static void same_size(void)
{
    double began = now();
    for (unsigned i = 0; i < PAIRS; i++) {
        void *p = malloc(64);
        __asm__ volatile("" : "+r"(p)::"memory");
        free(p);
    }
    report("malloc_free_64", began);
}

static void mixed_sizes(void)
{
    static void *live[WINDOW];
    uint32_t random = 1;
    double began = now();
    for (unsigned i = 0; i < PAIRS; i++) {
        random = random * 1664525u + 1013904223u;
        void **place = &live[random >> 20];
        free(*place);
        *place = malloc(16 + (random >> 8) % 1024);
    }
    report("malloc_free_mixed", began);
}

int main(void)
{
    same_size();
    mixed_sizes();
    return 0;
}
