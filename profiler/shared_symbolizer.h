/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the one symbolizer of all who name frames. Opening libc's debug information costs a
 * tenth of a second and some 20 MB, which each client of its own would make this process pay: at
 * one time, and again in each of the C library's arenas, which keep what was freed.
 *
 * Invariants. At most one is given out anew; others are those that had become too large
 * (cu_symbolizer_is_outgrown) while somebody still used them, and go with their last user.
 *
 * Concurrency: any thread. A forked child begins without one.
 */
#ifndef COPPER_SHARED_SYMBOLIZER_H
#define COPPER_SHARED_SYMBOLIZER_H

#include <copper/stacks.h>

/* NULL: out of memory. Its strings live until it is given back. */
struct cu_symbolizer *cu__symbolizer_borrow(void);

/* Frames that are remembered, over all there are. */
size_t cu__symbolizer_frames(void);

/* Gives it back. NULL is allowed. */
void cu__symbolizer_return(struct cu_symbolizer *s);

#endif
