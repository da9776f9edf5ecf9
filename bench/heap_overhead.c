/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns per malloc/free pair, of whatever allocator the process was started with: pairs of
 * one small size, pairs of mixed sizes through a window of live blocks. heap_overhead.py runs it
 * bare and under ours, jemalloc's and gperftools' heap profilers.
 *
 *     bench_heap_overhead [PAIRS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WINDOW 4096u

static unsigned long pairs = 20000000;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void report(const char *name, double began)
{
    printf("%s\t%.3f\tns\n", name, (now() - began) / (double)pairs);
}

static void same_size(void)
{
    double began = now();
    for (unsigned long i = 0; i < pairs; i++) {
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
    for (unsigned long i = 0; i < pairs; i++) {
        random = random * 1664525u + 1013904223u;
        void **place = &live[random >> 20];
        free(*place);
        *place = malloc(16 + (random >> 8) % 1024);
    }
    report("malloc_free_mixed", began);
}

int main(int argc, char **argv)
{
    if (argc > 1 && (pairs = strtoul(argv[1], NULL, 10)) == 0) {
        fprintf(stderr, "%s: how many pairs, not %s\n", argv[0], argv[1]);
        return 2;
    }
    same_size();
    mixed_sizes();
    return 0;
}
