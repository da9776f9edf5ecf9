/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what is inside the objects of copper/sync.h, for their own files and for inspectors.
 *
 * They have one shape: a word that decides everything while nobody waits, and lists of waiters
 * guarded by the object's stripe (lock.h), not by a lock in the object: after the store that lets
 * others in, one of them may be done and free the object, so nothing of it may be touched then.
 */
#ifndef COPPER_RUNTIME_SYNC_INT_H
#define COPPER_RUNTIME_SYNC_INT_H

#include <copper/sync.h>

#include "types.h"

/* Exports a function a second time, by the name that copper/sync_inline.h calls. */
#define COPPER_CALLED(name)                                                                        \
    extern __typeof__(name) name##_called __attribute__((alias(#name), visibility("default")))

struct cu__mutex {
    uint64_t word;              /* any: atomic; copper/sync_inline.h says what is in it */
    struct cu__waiters waiters; /* lock: its stripe */
};

/* Who holds it; 0: a plain thread or nobody. */
static inline cu_id cu__mutex_owner(uint64_t word)
{
    return (cu_id)(word >> COPPER_MUTEX_ID_SHIFT);
}

struct cu__rwmutex {
    uint64_t word;                       /* any: atomic; WRITER, WAITERS, readers: rwmutex.c */
    struct cu__waiters readers, writers; /* lock: its stripe */
    cu_id owner; /* writer: the writer that holds it; 0: a plain thread or none */
};

struct cu__cond {
    struct cu__waiters waiters; /* lock: its stripe */
};

struct cu__once {
    uint64_t word;              /* any: atomic; see once.c */
    struct cu__waiters waiters; /* lock: its stripe */
    cu_id owner;                /* writer: who runs the function; a plain thread: - its id */
};

struct cu__sem {
    uint64_t word;              /* any: atomic; see sem.c. COPPER_SEM_INIT sets these two */
    uint64_t limit;             /* constant; 0: none */
    struct cu__waiters waiters; /* lock: its stripe */
};

struct cu__wg {
    uint64_t word;              /* any: atomic; counter and whether somebody waits: waitgroup.c */
    struct cu__waiters waiters; /* lock: its stripe */
};

static inline int32_t cu__wg_count(uint64_t word)
{
    return (int32_t)(uint32_t)(word >> 32);
}

/* cu_wg_wait of what contains the group. */
int cu__wg_wait(cu_wg *wg, const struct cu__wait *why, cu_ctx *ctx);
int32_t cu__wg_active(const cu_wg *wg);

static inline int64_t cu__sem_units(uint64_t word)
{
    return (int64_t)(word >> 1);
}

static inline int64_t cu__rwmutex_readers(uint64_t word)
{
    return (int64_t)(word >> 2);
}

/* Waiters that were taken out of a list and are to be woken once locks are given back, in order. */
struct cu__chain {
    struct cu__waiter *first, **end;
};
static inline void cu__chain_init(struct cu__chain *chain)
{
    chain->first = NULL;
    chain->end = &chain->first;
}
static inline void cu__chain_add(struct cu__chain *chain, struct cu__waiter *w)
{
    w->next = NULL;
    *chain->end = w;
    chain->end = &w->next;
}
/* park.c's cu__wake for each. */
void cu__chain_wake(struct cu__chain *chain);

#endif
