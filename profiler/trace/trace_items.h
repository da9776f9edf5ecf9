/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what lives at a moment of a trace, found by its number: coroutines and open tasks.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_ITEMS_H
#define COPPER_TRACE_ITEMS_H

#include "interner.h"

#include <stdbool.h>
#include <stdint.h>

/* A live coroutine, or an open task. */
struct cu__trace_item {
    uint64_t key; /* its number, not 0; 0: a free place */
    int64_t ready_ns;
    uint64_t flow;         /* that ends where it starts to run, 0: none */
    uint32_t name, labels; /* interned; NONE: not known */
    uint32_t regions;      /* open ones */
    uint8_t state;
    bool is_spawn;       /* the flow comes from who spawned it */
    bool is_placeholder; /* the name says where it was spawned */
};

/* All zero is an empty one. */
struct cu__trace_items {
    struct cu__trace_item *items;
    uint32_t size, count; /* a power of two; at most half full */
};

/* Known or NULL. */
struct cu__trace_item *cu__trace_item_find(const struct cu__trace_items *t, uint64_t key);
/* Known or new, without name and labels; NULL: out of memory. Valid until the next one is added or
 * removed. */
struct cu__trace_item *cu__trace_item_get(struct cu__trace_items *t, uint64_t key);
void cu__trace_item_forget(struct cu__trace_items *t, struct cu__trace_item *item);
void cu__trace_items_clear(struct cu__trace_items *t);

#endif
