/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: generations of a trace as bytes, shared by all who get them; and a ring of the last
 * ones.
 *
 * Concurrency: blobs are shared by count, from any thread. A ring belongs to who has its lock.
 */
#ifndef COPPER_TRACE_BLOBS_H
#define COPPER_TRACE_BLOBS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A generation, complete. */
struct cu__blob {
    _Atomic uint32_t references;
    unsigned char *bytes;
    size_t n;
    int64_t began_ns, ended_ns;
    bool is_whole; /* mentions everything: a file may begin with it */
};
/* One more reference, and one less. NULL has none. */
struct cu__blob *cu__blob_share(struct cu__blob *blob);
void cu__blob_drop(struct cu__blob *blob);

#define COPPER_FLIGHT_BLOBS 4096u

/* All zero: an empty one that keeps nothing. */
struct cu__blob_ring {
    int64_t keep_ns; /* 0: nothing */
    size_t max_bytes, bytes;
    struct cu__blob *blobs[COPPER_FLIGHT_BLOBS];
    unsigned first, count;
};
/* Keeps it, if it is whole, and drops those that are too old, or too large together. */
void cu__blob_ring_keep(struct cu__blob_ring *ring, struct cu__blob *blob);
/* The newest ones, at most `max`, oldest first; the caller drops them. Their number. */
unsigned cu__blob_ring_share(const struct cu__blob_ring *ring, struct cu__blob **blobs,
                             unsigned max);
void cu__blob_ring_clear(struct cu__blob_ring *ring);

#endif
