/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/heap.h: what the allocations of this process are, by sampling.
 *
 * Linking copper::heap (libcopper_heap) is all that a program does: malloc, calloc, realloc,
 * reallocarray, posix_memalign, aligned_alloc, memalign, valloc, pvalloc and free then go through
 * it to whatever allocator the process has, and `heap` and `allocs` under /debug/pprof are filled.
 * Pointers are the allocator's own: malloc_usable_size, its other calls and blocks that others
 * allocated work as before. C++'s new and delete are seen where they call malloc, as libstdc++'s
 * do.
 *
 * An allocation of n bytes is sampled with probability 1 - exp(-n / rate), whatever was before it.
 * COPPER_HEAP_RATE=BYTES in the environment, or cu_heap_rate_set, changes the rate from 512 KiB; 1
 * takes every allocation, 0 switches sampling off. A rate that nobody asked for is lowered (a
 * larger number) while sampling costs more than COPPER_BUDGET of the program's CPU time.
 *
 * Everything here may be called from coroutines and plain threads, not from signal handlers;
 * nothing parks.
 */
#ifndef COPPER_HEAP_H
#define COPPER_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_HEAP_RATE_DEFAULT (512u << 10)
#define COPPER_HEAP_RATE_MAX     (UINT64_C(1) << 40)

/* Samples once in this many bytes on average; 0: not at all. From now on, for each thread from its
 * next sample on; what was sampled keeps the rate it was sampled at. 0; -EINVAL over
 * COPPER_HEAP_RATE_MAX. */
int cu_heap_rate_set(uint64_t bytes);
uint64_t cu_heap_rate(void);

struct cu_labels;

/* Sampled allocations of one stack, labels and size class. Counts are of samples, not scaled: each
 * stands for 1 / (1 - exp(-(alloc_bytes / allocs) / rate)) allocations. They never fall. */
struct cu_heap_site {
    const uint64_t *frames; /* leaf first, frames as in copper/stacks.h; valid during the visit */
    unsigned nframes;       /* 0: unknown, or folded together since there were too many stacks */
    bool is_cut;            /* the stack does not reach the outermost frame */
    const struct cu_labels *labels; /* of the coroutine or thread; NULL: none */
    uint64_t size;                  /* largest of its size class: exact to 6 % */
    uint64_t rate;                  /* that they were sampled at */
    uint64_t allocs, alloc_bytes, frees, free_bytes;
};

/* Calls visit for every site, in order of first sight, until it returns false. Allocations go on
 * meanwhile. visit may allocate; it is not called in parallel. Returns the number of sites or
 * -errno. */
int64_t cu_heap_each(bool (*visit)(const struct cu_heap_site *site, void *arg), void *arg);

/* Totals since the process started. */
struct cu_heap_stats {
    uint32_t size;    /* set by the caller to sizeof(struct cu_heap_stats) */
    bool is_active;   /* false: the program's malloc is another's (a sanitizer's, or a library that
                         comes before us), nothing is seen */
    uint64_t rate;    /* now */
    uint64_t asked;   /* the rate that was asked for; smaller than rate while the budget binds */
    uint64_t samples; /* taken */
    uint64_t live;    /* of these, not freed yet */
    uint64_t unfollowed; /* samples beyond the room for live ones: counted as freed at once */
    uint64_t folded;     /* samples whose stack found no room: counted without one */
    uint64_t cut;        /* samples whose stack is incomplete */
    uint64_t waiting;    /* samples whose stack is still to be completed */
    uint64_t sites;
    uint64_t bytes;     /* memory that all this takes */
    uint64_t ns;        /* time spent on samples */
    uint64_t sites_max; /* room for sites */
};
void cu_heap_stats_read(struct cu_heap_stats *out);

/* The thread that completes stacks, by its id; 0: there is none yet. It is no thread of the
 * program's. */
int32_t cu_heap_helper(void);

/* The calling thread's allocations are not sampled from now on: for threads of tools. */
void cu_heap_thread_is_tool(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
