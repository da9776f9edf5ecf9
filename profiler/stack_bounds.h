/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how far the calling thread's stack may be read, for walks of the caller's own stack.
 */
#ifndef COPPER_STACK_BOUNDS_H
#define COPPER_STACK_BOUNDS_H

#include <stdint.h>

/* The end of the memory that may be read from sp on, which is the caller's own stack pointer. 0: not
 * known, do not walk. Takes no lock and allocates nothing; a thread's first call asks the kernel, and
 * so does each one on a stack that is neither a coroutine's of ours nor the thread's own. */
uint64_t cu__stack_end_here(uint64_t sp);

#endif
