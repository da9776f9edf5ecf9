/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: growing arrays and the content index; see table.h.
 */
#include "table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_TABLE_FIRST 16 /* items of the first allocation */

int cu__reserve(void *items, size_t *cap, size_t need, size_t item_size)
{
    void *old, *grown;
    size_t n = *cap ? *cap : COPPER_TABLE_FIRST;
    if (need <= *cap)
        return 0;
    while (n < need) {
        if (n > SIZE_MAX / 2)
            return -EOVERFLOW;
        n *= 2;
    }
    if (n > SIZE_MAX / item_size)
        return -EOVERFLOW;
    memcpy(&old, items, sizeof old);
    grown = realloc(old, n * item_size);
    if (!grown)
        return -ENOMEM;
    memcpy(items, &grown, sizeof grown);
    *cap = n;
    return 0;
}

uint32_t cu__index_find(const struct cu__index *index, uint32_t hash, cu__equal_fn *is_equal,
                        const void *ctx, const void *key)
{
    if (!index->nslots)
        return 0;
    size_t mask = index->nslots - 1;
    for (size_t i = hash & mask; index->slots[i].id; i = (i + 1) & mask)
        if (index->slots[i].hash == hash && is_equal(ctx, index->slots[i].id, key))
            return index->slots[i].id;
    return 0;
}

static void place(struct cu__slot *slots, size_t nslots, struct cu__slot slot)
{
    size_t mask = nslots - 1, i = slot.hash & mask;
    while (slots[i].id)
        i = (i + 1) & mask;
    slots[i] = slot;
}

int cu__index_reserve(struct cu__index *index)
{
    if ((index->used + 1) * 4 <= index->nslots * 3)
        return 0;
    size_t nslots = index->nslots ? index->nslots * 2 : COPPER_TABLE_FIRST;
    struct cu__slot *slots = calloc(nslots, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < index->nslots; i++)
        if (index->slots[i].id)
            place(slots, nslots, index->slots[i]);
    free(index->slots);
    index->slots = slots;
    index->nslots = nslots;
    return 0;
}

void cu__index_add(struct cu__index *index, uint32_t hash, uint32_t id)
{
    place(index->slots, index->nslots, (struct cu__slot){hash, id});
    index->used++;
}

void cu__index_clear(struct cu__index *index)
{
    if (index->nslots)
        memset(index->slots, 0, index->nslots * sizeof *index->slots);
    index->used = 0;
}

void cu__index_free(struct cu__index *index)
{
    free(index->slots);
    *index = (struct cu__index){0};
}
