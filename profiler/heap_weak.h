/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the door to the allocator wrapper, which a program may have linked or not.
 */
#ifndef COPPER_HEAP_WEAK_H
#define COPPER_HEAP_WEAK_H

#include <copper/heap.h>

#pragma weak cu_heap_rate_set
#pragma weak cu_heap_rate
#pragma weak cu_heap_each
#pragma weak cu_heap_stats_read
#pragma weak cu_heap_thread_is_tool
#pragma weak cu_heap_helper

/* Is the wrapper in this process? */
static inline bool cu__has_heap(void)
{
    return cu_heap_rate_set && cu_heap_rate && cu_heap_each && cu_heap_stats_read &&
           cu_heap_thread_is_tool && cu_heap_helper;
}

#endif
