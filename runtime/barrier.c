/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the barrier that only the rare side pays for.
 *
 * A worker that dequeued a coroutine, and an inspector that wants to claim the same one, must agree
 * on who has it. A compare-and-swap by both would do, but the worker does this at every switch and
 * inspections are rare. So:
 *
 *        worker, for each coroutine             inspector, once
 *     1. stores is_picking = 1               1. stores claims_open = 1
 *        (compiler barrier only)             2. membarrier: all our threads pass a full barrier
 *     2. loads claims_open                   3. waits until each P was seen with is_picking == 0
 *     3. it is 0: stores RUNNING             4. claims, by compare-and-swap
 *        it is 1: compare-and-swap
 *     4. stores is_picking = 0
 *
 * Take the moment of the full barrier on the worker's thread. If its first step lies after it, the
 * second sees 1. If its second step lies before it, so does its first, and the inspector sees
 * is_picking until the fourth: by then RUNNING is stored, and the claim fails. If the moment lies
 * between the first and the second step, the second sees 1.
 *
 * Where the kernel has no membarrier, claims are always open.
 */
#include "barrier.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "types.h"

static bool is_available; /* any: atomic; false again if it is forbidden later */

static int membarrier(int command)
{
    return (int)syscall(SYS_membarrier, command, 0, 0);
}

/* Registering takes milliseconds once the process has threads, and nothing before. */
__attribute__((constructor)) static void register_early(void)
{
    membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

void cu__claims_prepare(void)
{
    bool is_there = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
    store_relaxed(&is_available, is_there); /* a tool may be detaching itself meanwhile */
    store_seq(&cu__sched.claims_open, is_there ? 0 : 1);
}

bool cu__barrier_everywhere(void)
{
    if (load_relaxed(&is_available) && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) {
        store_relaxed(&is_available, false);
        store_seq(&cu__sched.claims_open, 1);
    }
    return load_relaxed(&is_available);
}

void cu__claims_open(void)
{
    struct cu__sched *s = &cu__sched;
    if (!load_relaxed(&is_available)) {
        return;
    }
    store_seq(&s->claims_open, 1);
    if (!cu__barrier_everywhere()) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* from now on always open */
    }
    for (uint32_t i = 0; i < load_seq(&s->ps_seen); i++) {
        while (load_acquire(&s->ps[i].is_picking)) {
            sched_yield();
        }
    }
}

void cu__claims_close(void)
{
    if (load_relaxed(&is_available)) {
        store_seq(&cu__sched.claims_open, 0);
    }
}
