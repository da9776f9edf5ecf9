/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: map a file's ids to ours; see idmap.h.
 */
#include "idmap.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t hash_id(uint64_t theirs)
{
    return cu__hash_end(cu__hash_word(cu__hash_seed(), theirs));
}

static bool is_equal(const void *ctx, uint32_t id, const void *key)
{
    const struct cu__idmap *map = ctx;
    return map->entries[id - 1].theirs == *(const uint64_t *)key;
}

int cu__idmap_add(struct cu__idmap *map, uint64_t theirs, uint32_t ours)
{
    uint32_t hash = hash_id(theirs);
    int err;
    if (cu__index_find(&map->index, hash, is_equal, map, &theirs))
        return -EEXIST;
    if (map->n >= COPPER_PPROF_IDS_MAX)
        return -EOVERFLOW;
    if ((err = cu__reserve(&map->entries, &map->cap, map->n + 1, sizeof *map->entries)) ||
        (err = cu__index_reserve(&map->index)))
        return err;
    map->entries[map->n++] = (struct cu__idmap_entry){theirs, ours};
    cu__index_add(&map->index, hash, (uint32_t)map->n);
    return 0;
}

uint32_t cu__idmap_find(const struct cu__idmap *map, uint64_t theirs)
{
    uint32_t id = cu__index_find(&map->index, hash_id(theirs), is_equal, map, &theirs);
    return id ? map->entries[id - 1].ours : 0;
}

void cu__idmap_free(struct cu__idmap *map)
{
    free(map->entries);
    cu__index_free(&map->index);
    *map = (struct cu__idmap){0};
}
