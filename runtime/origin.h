/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: where coroutines come from, generation by generation.
 */
#ifndef COPPER_RUNTIME_ORIGIN_H
#define COPPER_RUNTIME_ORIGIN_H

#include "types.h"

#define COPPER_ORIGIN_DEPTH 32u

/* The one for a place and function below a parent's origin (NULL: a plain thread). Takes no lock;
 * allocates once for each. */
const struct cu_origin *cu__origin_intern(const struct cu_origin *parent,
                                          const struct cu_site *site, void (*entry)(void *));

struct cu_runtime_stats;
void cu__origin_stats(struct cu_runtime_stats *out);

/* By who spawns: mostly the same child as the time before. */
static inline const struct cu_origin *cu__origin_of_child(struct cu__g *parent,
                                                          const struct cu_site *site,
                                                          void (*entry)(void *))
{
    if (unlikely(parent == NULL)) {
        return cu__origin_intern(NULL, site, entry);
    }
    const struct cu_origin *last = parent->child;
    if (unlikely(last == NULL || last->site != site || last->entry != entry)) {
        last = cu__origin_intern(parent->origin, site, entry);
        parent->child = last;
    }
    return last;
}

#endif
