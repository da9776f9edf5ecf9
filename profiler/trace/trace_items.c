/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_items.h. Open addressing; what follows a gap moves up when one is taken out.
 */
#include "trace_items.h"

#include <stdlib.h>

static uint32_t home_of(const struct cu__trace_items *t, uint64_t key)
{
    return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (t->size - 1);
}

/* Its place: where it is, or would be. */
static struct cu__trace_item *place_in(const struct cu__trace_items *t, uint64_t key)
{
    uint32_t at = home_of(t, key);
    while (t->items[at].key && t->items[at].key != key) {
        at = (at + 1) & (t->size - 1);
    }
    return &t->items[at];
}

static bool grow(struct cu__trace_items *t)
{
    struct cu__trace_items larger = {.size = t->size ? t->size * 2 : 1024, .count = t->count};
    larger.items = calloc(larger.size, sizeof(*larger.items));
    if (!larger.items) {
        return false;
    }
    for (uint32_t i = 0; i < t->size; i++) {
        if (t->items[i].key) {
            *place_in(&larger, t->items[i].key) = t->items[i];
        }
    }
    free(t->items);
    *t = larger;
    return true;
}

struct cu__trace_item *cu__trace_item_find(const struct cu__trace_items *t, uint64_t key)
{
    struct cu__trace_item *item = t->size ? place_in(t, key) : NULL;
    return item && item->key ? item : NULL;
}

struct cu__trace_item *cu__trace_item_get(struct cu__trace_items *t, uint64_t key)
{
    if (t->count * 2 >= t->size && !grow(t)) {
        return NULL;
    }
    struct cu__trace_item *item = place_in(t, key);
    if (item->key == 0) {
        *item = (struct cu__trace_item){
            .key = key, .name = COPPER_INTERN_NONE, .labels = COPPER_INTERN_NONE};
        t->count++;
    }
    return item;
}

/* Closes the gap, too. */
void cu__trace_item_forget(struct cu__trace_items *t, struct cu__trace_item *item)
{
    uint32_t mask = t->size - 1, hole = (uint32_t)(item - t->items);
    for (uint32_t at = (hole + 1) & mask; t->items[at].key; at = (at + 1) & mask) {
        uint32_t home = home_of(t, t->items[at].key);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            t->items[hole] = t->items[at];
            hole = at;
        }
    }
    t->items[hole].key = 0;
    t->count--;
}

void cu__trace_items_clear(struct cu__trace_items *t)
{
    free(t->items);
    *t = (struct cu__trace_items){0};
}
