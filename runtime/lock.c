/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the slow side of lock.h, and the table of striped locks.
 */
#include "lock.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "arch.h"

#define SPINS_MAX  128 /* about 5 us of pauses */
#define YIELDS_MAX 16
#define NAP_NS     50000
#define STRIPES    64

static struct {
    struct cu__lock lock;
    char apart[60]; /* one cache line each */
} stripes[STRIPES] cache_aligned;

static bool try_take(struct cu__lock *lock)
{
    return load_relaxed(&lock->word) == 0 &&
           __atomic_exchange_n(&lock->word, 1, __ATOMIC_ACQUIRE) == 0;
}

noinline void cu__lock_wait(struct cu__lock *lock)
{
    for (unsigned tries = 0; !try_take(lock); tries++) {
        if (tries < SPINS_MAX) {
            cu__cpu_relax();
        } else if (tries < SPINS_MAX + YIELDS_MAX) {
            sched_yield();
        } else {
            nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
        }
    }
}

struct cu__lock *cu__stripe(const void *address)
{
    uint64_t hash = (uint64_t)(uintptr_t)address * 0x9E3779B97F4A7C15u;
    return &stripes[hash >> 58].lock;
}

/* The child has one thread, and that one was in fork: whoever held a stripe is gone. */
void cu__lock_after_fork(void)
{
    memset(stripes, 0, sizeof(stripes));
}

_Static_assert(STRIPES == 1 << (64 - 58), "the hash's top bits choose a stripe");
