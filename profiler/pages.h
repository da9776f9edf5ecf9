/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: memory of whole pages, from the kernel and back to it: for tables that fill as they are
 * used, and for large buffers that live shortly. The C library would keep the latter's memory, once
 * in each of its arenas, of which a process with many threads has up to eight for each CPU.
 *
 * Concurrency: any thread.
 */
#ifndef COPPER_PAGES_H
#define COPPER_PAGES_H

#include <stddef.h>

/* Zeroed address space that takes memory where it is touched. NULL: none. */
void *cu__pages_map(size_t bytes);
/* Makes what was mapped larger or smaller; it may move. NULL: no room, and it is as it was. */
void *cu__pages_resize(void *pages, size_t bytes, size_t resized);
/* Gives the memory back; the address space stays and reads as zero. */
void cu__pages_empty(void *pages, size_t bytes);
/* NULL is allowed. */
void cu__pages_unmap(void *pages, size_t bytes);

#endif
