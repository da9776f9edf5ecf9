/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. The set of coroutines alive at one moment, for "ignore what was there before".
 *
 * Design. A sorted array of ids. Ids are never used twice, so that a snapshot cannot go stale.
 */
#include "leak_int.h"

#include <stdlib.h>

#define FIRST_CAPACITY 64

struct cu_leak_snapshot {
    cu_id *ids;
    size_t n, capacity;
    bool is_out_of_memory;
};

static bool add_id(const struct cu_g_info *g, void *arg)
{
    cu_leak_snapshot *s = arg;
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : FIRST_CAPACITY;
        cu_id *ids = reallocarray(s->ids, capacity, sizeof *ids);
        if (ids == NULL) {
            s->is_out_of_memory = true;
            return false;
        }
        s->ids = ids;
        s->capacity = capacity;
    }
    s->ids[s->n++] = g->id;
    return true;
}

static int compare_ids(const void *a, const void *b)
{
    cu_id x = *(const cu_id *)a, y = *(const cu_id *)b;
    return (x > y) - (x < y);
}

cu_leak_snapshot *cu_leak_snapshot_take(void)
{
    cu_leak_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    cu_inspect_each(add_id, s);
    if (s->is_out_of_memory) {
        cu_leak_snapshot_free(s);
        return NULL;
    }
    if (s->n > 0)
        qsort(s->ids, s->n, sizeof *s->ids, compare_ids);
    return s;
}

void cu_leak_snapshot_free(cu_leak_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    free(snapshot->ids);
    free(snapshot);
}

bool cu__leak_snapshot_has(const cu_leak_snapshot *snapshot, cu_id id)
{
    return snapshot->n > 0 &&
           bsearch(&id, snapshot->ids, snapshot->n, sizeof id, compare_ids) != NULL;
}
