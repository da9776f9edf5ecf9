/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see ring.h.
 *
 * Concurrency. `written` is stored with release by the writer and loaded with acquire by the reader:
 * records below it are complete. `read` is stored with release by the reader and loaded with acquire
 * by the writer: what lies below it may be overwritten.
 */
#include "ring.h"

static struct cu__record *at_sig(struct cu__ring *ring, uint64_t offset)
{
    return (struct cu__record *)(void *)(ring->bytes + offset % COPPER_RING_BYTES);
}

/* Makes the rest of the buffer a gap. Offsets are multiples of 8, so its head always fits. */
static uint64_t pad_sig(struct cu__ring *ring, uint64_t written, uint32_t gap)
{
    struct cu__record *pad = at_sig(ring, written);
    pad->size = gap;
    pad->kind = COPPER_RECORD_PAD;
    /* pairs with the load in cu__ring_peek */
    atomic_store_explicit(&ring->written, written + gap, memory_order_release);
    return written + gap;
}

struct cu__record *cu__ring_reserve_sig(struct cu__ring *ring, size_t need, size_t *room)
{
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* pairs with the store in cu__ring_consume */
    uint64_t read = atomic_load_explicit(&ring->read, memory_order_acquire);
    uint32_t position = (uint32_t)(written % COPPER_RING_BYTES);
    uint64_t free_bytes = COPPER_RING_BYTES - (written - read);
    uint32_t to_end = COPPER_RING_BYTES - position;
    bool is_restart = written == read && position >= COPPER_RING_RESTART;
    if (to_end < need || is_restart) {
        if (free_bytes < to_end + need) {
            return NULL;
        }
        written = pad_sig(ring, written, to_end);
        free_bytes -= to_end;
        to_end = COPPER_RING_BYTES;
    }
    if (free_bytes < need) {
        return NULL;
    }
    *room = free_bytes < to_end ? free_bytes : to_end;
    return at_sig(ring, written);
}

void cu__ring_commit_sig(struct cu__ring *ring, const struct cu__record *record)
{
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* pairs with the load in cu__ring_peek */
    atomic_store_explicit(&ring->written, written + record->size, memory_order_release);
}

const struct cu__record *cu__ring_peek(struct cu__ring *ring)
{
    for (;;) {
        uint64_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
        /* pairs with the stores in pad_sig and cu__ring_commit_sig */
        if (atomic_load_explicit(&ring->written, memory_order_acquire) == read) {
            return NULL;
        }
        const struct cu__record *record = at_sig(ring, read);
        if (record->kind != COPPER_RECORD_PAD) {
            return record;
        }
        cu__ring_consume(ring, record);
    }
}

void cu__ring_consume(struct cu__ring *ring, const struct cu__record *record)
{
    uint64_t read = atomic_load_explicit(&ring->read, memory_order_relaxed);
    /* pairs with the load in cu__ring_reserve_sig */
    atomic_store_explicit(&ring->read, read + record->size, memory_order_release);
}

uint32_t cu__ring_waiting(const struct cu__ring *ring)
{
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    return (uint32_t)(written - atomic_load_explicit(&ring->read, memory_order_relaxed));
}

bool cu__ring_is_empty(const struct cu__ring *ring)
{
    /* read first: it never passes what is written, so equal means empty at that moment. Pairs with the
     * store in cu__ring_consume: whoever empties the ring is done with its records */
    uint64_t read = atomic_load_explicit(&ring->read, memory_order_acquire);
    return read == atomic_load_explicit(&ring->written, memory_order_acquire);
}
