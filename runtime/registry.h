/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: all control blocks: where they live, ids, finding and walking them.
 *
 * Design: slots live in chunks that are never given back, so that any id and any pointer ever
 * handed out can be looked at. id = generation * 2^24 + slot + 1: one compare tells a stale one,
 * and the first coroutines of a program are called 1, 2, 3.
 */
#ifndef COPPER_RUNTIME_REGISTRY_H
#define COPPER_RUNTIME_REGISTRY_H

#include "types.h"

#define COPPER_CHUNK_SLOTS 4096u
#define COPPER_CHUNKS      (COPPER_COROUTINES_MAX / COPPER_CHUNK_SLOTS)

extern hidden struct cu__g *cu__registry_chunks[COPPER_CHUNKS];
extern hidden uint32_t cu__registry_used;

/* The slot of an id that was once given. */
static inline uint32_t cu__registry_index(cu_id id)
{
    return (uint32_t)((id - 1) % (cu_id)COPPER_COROUTINES_MAX);
}

/* A dead slot with its next id set; NULL and *error = -ENOMEM or -EAGAIN. p may be NULL. */
struct cu__g *cu__registry_take(struct cu__p *p, int *error);
/* The slot of a coroutine that ended. */
void cu__registry_give(struct cu__p *p, struct cu__g *g);
/* What p's cache holds is for others. p is the caller's. */
void cu__registry_empty(struct cu__p *p);
/* Slot number i, for i below cu__registry_count(). */
struct cu__g *cu__registry_slot(uint32_t i);
uint32_t cu__registry_count(void);
/* At most this many coroutines. */
void cu__registry_limit(uint32_t limit);
void cu__registry_after_fork(void);

#endif
