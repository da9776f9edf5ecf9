/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see origin.h.
 *
 * Design: origins are interned in a table of chains. A chain only grows at its head, by
 * compare-and- swap, so looking needs no lock and finds every node that was there before; two
 * threads that add the same one at the same time may both succeed, and the later one is used by few
 * and harms nobody but those who compare pointers: so who lost a race looks again before it tries
 * again, and the loser's node is given back. Nodes are never taken out.
 *
 * A program has few origins: places in its source, in each order in which they call each other. One
 * that has many (deep recursion through changing places) is cut by depth and by number.
 */
#include "origin.h"

#include <stdlib.h>

#define BUCKETS 1024u

struct node {
    struct cu_origin public;
    struct node *next; /* constant once it is in a chain */
};

static struct node *buckets[BUCKETS]; /* any: atomic */
static uint32_t count;                /* any: atomic */
static uint64_t refused;              /* any: atomic */

/* For what is beyond the bounds. */
static const struct cu_origin more = {.is_more = true};

static uint64_t hash(const struct cu_origin *parent, const struct cu_site *site,
                     void (*entry)(void *))
{
    uint64_t h = (uint64_t)(uintptr_t)parent * 0x9E3779B97F4A7C15u;
    h = (h ^ (uint64_t)(uintptr_t)site) * 0x9E3779B97F4A7C15u;
    h = (h ^ (uint64_t)(uintptr_t)entry) * 0x9E3779B97F4A7C15u;
    return h >> 32;
}

static struct node *find(struct node *from, const struct cu_origin *wanted)
{
    for (; from; from = from->next) {
        const struct cu_origin *o = &from->public;
        if (o->parent == wanted->parent && o->site == wanted->site && o->entry == wanted->entry) {
            break;
        }
    }
    return from;
}

static const struct cu_origin *add(struct node **bucket, struct node *seen,
                                   const struct cu_origin *wanted)
{
    struct node *node = load_relaxed(&count) < COPPER_ORIGINS_MAX ? malloc(sizeof(*node)) : NULL;
    if (node == NULL) {
        add_relaxed(&refused, 1);
        return &more;
    }
    *node = (struct node){.public = *wanted, .next = seen};
    while (!__atomic_compare_exchange_n(bucket, &node->next, node, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
        struct node *theirs = find(node->next, wanted);
        if (theirs) {
            free(node);
            return &theirs->public;
        }
    }
    add_relaxed(&count, 1);
    return &node->public;
}

const struct cu_origin *cu__origin_intern(const struct cu_origin *parent,
                                          const struct cu_site *site, void (*entry)(void *))
{
    if (parent && parent->site == site && parent->entry == entry) {
        return parent;
    }
    if (parent && parent->depth == COPPER_ORIGIN_DEPTH) {
        return &more;
    }
    struct cu_origin wanted = {
        .parent = parent, .site = site, .entry = entry, .depth = parent ? parent->depth + 1 : 1};
    struct node **bucket = &buckets[hash(parent, site, entry) % BUCKETS];
    struct node *seen = load_acquire(bucket); /* pairs with add */
    struct node *node = find(seen, &wanted);
    return node ? &node->public : add(bucket, seen, &wanted);
}

void cu__origin_stats(struct cu_runtime_stats *out)
{
    out->origins = load_relaxed(&count);
    out->origins_refused = load_relaxed(&refused);
}
