/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: count equal things: each kind is a byte string that is stored once and numbered, beside
 * how often it came.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TALLY_H
#define COPPER_TALLY_H

#include "interner.h"

struct cu__tally {
    struct cu__interner kinds; /* numbered from 0 */
    uint64_t *counts;          /* by number */
    uint32_t counts_cap;
};

/* One more of the kind with these n bytes, all of which count, padding too. Its number, or
 * COPPER_INTERN_NONE where memory is out. All zero is an empty tally. */
uint32_t cu__tally_add(struct cu__tally *t, const void *bytes, size_t n);
void cu__tally_clear(struct cu__tally *t);

#endif
