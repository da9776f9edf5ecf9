/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how much of many pieces of our address space is in memory, without touching them.
 *
 * Design. The kernel tells the pages that exist of a long range at once (PAGEMAP_SCAN, Linux 6.7),
 * so pieces that lie near each other are asked for together. Where it does not, or /proc is not to
 * be had, each piece is asked for by mincore, which takes several times as long.
 *
 * Concurrency: any thread; no state. What is mapped meanwhile, or unmapped, may count or not.
 */
#ifndef COPPER_RESIDENT_H
#define COPPER_RESIDENT_H

#include <stddef.h>
#include <stdint.h>

struct cu__piece {
    uint64_t lo, hi; /* [lo, hi), whole pages, mapped */
    uint64_t bytes;  /* out: of the pages that exist */
    uint32_t number; /* the caller's */
};

/* What cu__resident_fill asks; -1: by mincore only. The caller closes it. */
int cu__resident_open(void);
/* Fills in the bytes, in order of addresses: pieces are sorted by them. */
void cu__resident_fill(int pagemap, struct cu__piece *pieces, size_t n);

#endif
