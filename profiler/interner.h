/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: store byte strings once and number them from 0 in order of first use: stacks, names,
 * groups of equal coroutines. A million coroutines with one stack keep one stack.
 *
 * Design. The item that was asked for last is tried first: coroutines that were spawned one after
 * the other mostly wait at one place, and to compare is cheaper than to hash. Items live in blocks
 * that never move, so that pointers stay valid; an open-addressing table of item numbers finds
 * them. A failed allocation is sticky: numbers become COPPER_INTERN_NONE.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_INTERNER_H
#define COPPER_INTERNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_INTERN_NONE UINT32_MAX

struct cu__interner {
    struct intern_item *items; /* by number */
    uint32_t *table;           /* item number + 1; 0: free */
    struct intern_block *blocks;
    uint32_t nitems, items_cap, mask;
    uint32_t last; /* number given last; equal ones come in rows */
    bool is_failed;
};

/* All zero is an empty one. */
void cu__interner_clear(struct cu__interner *in);

/* The number of these n bytes (8-byte aligned in the store), new or known. O(1) expected. */
uint32_t cu__intern(struct cu__interner *in, const void *bytes, size_t n);
uint32_t cu__intern_text(struct cu__interner *in, const char *text); /* with its NUL */

/* What was stored. NULL for a number that is none. */
const void *cu__interned(const struct cu__interner *in, uint32_t number, size_t *n);

#endif
