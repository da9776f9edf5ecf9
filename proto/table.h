/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the two containers that everything in a profile lives in: an array that grows, and an
 * index that finds an array's entry by its contents.
 *
 * Design: the index holds (hash, id) pairs, open addressing, at most 3/4 full; it never sees the
 * entries themselves, the caller compares. Ids are from 1, so an all-zero slot is a free one.
 *
 * Invariants: making room is the only step that can fail and it changes nothing visible; so a
 * caller first makes room in all it will touch, then changes, and a failure leaves the profile
 * consistent.
 */
#ifndef COPPER_PROTO_TABLE_H
#define COPPER_PROTO_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most entries of one table: ids are 32 bits and 0 is none. */
#define COPPER_PPROF_IDS_MAX ((size_t)UINT32_MAX - 1)

/* Makes room for `need` items in the array *items of *cap items. 0, -ENOMEM or -EOVERFLOW. */
int cu__reserve(void *items, size_t *cap, size_t need, size_t item_size);

struct cu__slot {
    uint32_t hash;
    uint32_t id; /* 0: free */
};

struct cu__index {
    struct cu__slot *slots;
    size_t nslots; /* 0 or a power of two */
    size_t used;
};

/* Is entry `id` equal to `key`? */
typedef bool cu__equal_fn(const void *ctx, uint32_t id, const void *key);

/* The id of the entry that is equal to key, or 0. */
uint32_t cu__index_find(const struct cu__index *index, uint32_t hash, cu__equal_fn *is_equal,
                        const void *ctx, const void *key);
/* Room for one more; 0 or -ENOMEM. */
int cu__index_reserve(struct cu__index *index);
/* Needs room. The caller has looked: no equal entry is there. */
void cu__index_add(struct cu__index *index, uint32_t hash, uint32_t id);
/* Forgets all entries, keeps the room. */
void cu__index_clear(struct cu__index *index);
void cu__index_free(struct cu__index *index);

#endif
