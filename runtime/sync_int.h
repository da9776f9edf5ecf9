/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what is inside cu_mutex and cu_wg, for their own files and for inspectors.
 */
#ifndef COPPER_RUNTIME_SYNC_INT_H
#define COPPER_RUNTIME_SYNC_INT_H

#include <copper/sync.h>

#include "types.h"

struct cu__mutex {
    uint32_t word;              /* any: atomic; LOCKED, WAITERS in mutex.c */
    struct cu__waiters waiters; /* lock: its stripe */
    cu_id owner;                /* writer: who holds it; 0: a plain thread or nobody */
};

struct cu__wg {
    uint64_t word;              /* any: atomic; counter and number of waiters, see waitgroup.c */
    struct cu__waiters waiters; /* lock: its stripe */
};

static inline int32_t cu__wg_count(uint64_t word)
{
    return (int32_t)(uint32_t)(word >> 32);
}

#endif
