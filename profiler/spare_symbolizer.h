/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one symbolizer that waits for its next user. Opening libc's debug information costs a tenth
 * of a second, which a client that takes a window each second would make this process pay each time.
 *
 * Concurrency: any number of threads may borrow; the second at one time opens another. No lock, so
 * that a fork cannot leave it held.
 */
#ifndef COPPER_SPARE_SYMBOLIZER_H
#define COPPER_SPARE_SYMBOLIZER_H

#include <copper/stacks.h>

/* The spare one, or a new one. NULL: out of memory. Its strings live until it is given back. */
struct cu_symbolizer *cu__symbolizer_borrow(void);

/* Gives it back: it becomes the spare one, or is closed when there is one, or when it has been in use
 * so often that what it remembers should go. NULL is allowed. */
void cu__symbolizer_return(struct cu_symbolizer *s);

#endif
