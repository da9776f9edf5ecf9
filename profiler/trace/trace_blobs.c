/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_blobs.h.
 */
#include "trace_blobs.h"

#include "pages.h"

#include <stdlib.h>

void cu__blob_drop(struct cu__blob *blob)
{
    if (blob && atomic_fetch_sub(&blob->references, 1) == 1) {
        cu__pages_unmap(blob->bytes, blob->n);
        free(blob);
    }
}

struct cu__blob *cu__blob_share(struct cu__blob *blob)
{
    atomic_fetch_add(&blob->references, 1);
    return blob;
}

static void drop_oldest(struct cu__blob_ring *ring)
{
    ring->bytes -= ring->blobs[ring->first]->n;
    cu__blob_drop(ring->blobs[ring->first]);
    ring->first = (ring->first + 1) % COPPER_FLIGHT_BLOBS;
    ring->count--;
}

/* One that reaches over the limit stays, so that no less is kept than was asked for; except for
 * bytes, which are a promise. */
void cu__blob_ring_keep(struct cu__blob_ring *ring, struct cu__blob *blob)
{
    if (ring->keep_ns == 0 || !blob->is_whole) {
        return;
    }
    while (ring->count > 0 &&
           (ring->count == COPPER_FLIGHT_BLOBS || ring->bytes + blob->n > ring->max_bytes ||
            ring->blobs[ring->first]->ended_ns < blob->ended_ns - ring->keep_ns)) {
        drop_oldest(ring);
    }
    ring->blobs[(ring->first + ring->count++) % COPPER_FLIGHT_BLOBS] = cu__blob_share(blob);
    ring->bytes += blob->n;
}

unsigned cu__blob_ring_share(const struct cu__blob_ring *ring, struct cu__blob **blobs,
                             unsigned max)
{
    unsigned n = ring->count < max ? ring->count : max;
    for (unsigned i = 0; i < n; i++) {
        unsigned at = (ring->first + ring->count - n + i) % COPPER_FLIGHT_BLOBS;
        blobs[i] = cu__blob_share(ring->blobs[at]);
    }
    return n;
}

void cu__blob_ring_clear(struct cu__blob_ring *ring)
{
    while (ring->count > 0) {
        drop_oldest(ring);
    }
}
