/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the function that a coroutine was spawned with, in stacks that have lost it: a function
 * whose last act is a call leaves its frame by a jump. Then nothing of the program's would be on the
 * stack of a coroutine that sleeps at its end.
 *
 * Invariant: exact where the jump went into another module; one within the module is not noticed, for
 * then a function of the program is on the stack.
 *
 * Concurrency: none. Not for hooks and handlers: modules are looked up.
 */
#ifndef COPPER_ENTRY_FRAME_H
#define COPPER_ENTRY_FRAME_H

#include <copper/stacks.h>

/* Inserts entry where it belongs in the n frames of a whole stack of a coroutine, if it is missing;
 * there is room for one more. The number of frames then. */
unsigned cu__entry_restore(cu_frame *frames, unsigned n, uint64_t entry);

/* A frame, of the module that is there now. */
cu_frame cu__frame_at(uint64_t pc);

#endif
