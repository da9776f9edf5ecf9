/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: go on with a walk that ended because a function keeps its frame by rbp, which the kernel
 * does not tell of a waiting thread (only sp and pc). Code built without optimisation is of that
 * kind.
 *
 * Design. Such a function begins by pushing rbp and making room by a constant, so its code tells
 * how far above sp its rbp points. Where it made more room as it ran (alloca), the pair that it
 * stored, its caller's rbp and its return address, is searched above sp instead. Either is only
 * believed if the instruction before the return address calls this function, and if the walk then
 * reaches the thread's real start. When none does, the walk stays as it was: cut.
 */
#ifndef COPPER_FRAME_SEARCH_H
#define COPPER_FRAME_SEARCH_H

#include <copper/stacks.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* w: ended over a copy of the stack bytes [copy_at, copy_at + n). True: it was completed. */
bool cu__frame_search(struct cu_walk *w, struct cu_symbolizer *symbols, const void *copy,
                      uint64_t copy_at, size_t n, uint32_t epoch);

#endif
