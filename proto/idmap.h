/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what became of a file's ids. Other writers' ids may be any 64-bit numbers; ours are
 * dense.
 */
#ifndef COPPER_PROTO_IDMAP_H
#define COPPER_PROTO_IDMAP_H

#include "table.h"

#include <stddef.h>
#include <stdint.h>

struct cu__idmap_entry {
    uint64_t theirs;
    uint32_t ours;
};

struct cu__idmap {
    struct cu__idmap_entry *entries;
    size_t n, cap;
    struct cu__index index;
};

/* 0, -EEXIST (theirs is there), -ENOMEM or -EOVERFLOW. */
int cu__idmap_add(struct cu__idmap *map, uint64_t theirs, uint32_t ours);
/* Our id, or 0. */
uint32_t cu__idmap_find(const struct cu__idmap *map, uint64_t theirs);
void cu__idmap_free(struct cu__idmap *map);

#endif
