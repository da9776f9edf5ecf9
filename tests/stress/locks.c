/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: mutexes and reader-writer mutexes under stress: what they guard is never seen half
 * changed, and no change is lost.
 */
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define LOCKS 3

static struct {
    cu_mutex mutexes[LOCKS];
    cu_rwmutex rwmutexes[LOCKS];
    uint64_t counts[LOCKS];             /* guarded by the mutex of the same index */
    uint64_t left[LOCKS], right[LOCKS]; /* guarded by the rwmutex; equal but while it is written */
    uint64_t locked[LOCKS], written[LOCKS]; /* atomic: what the counts must be in the end */
} l;

static void begin(uint64_t seed)
{
    (void)seed;
    l = (typeof(l)){0};
}

static void verify(void)
{
    for (size_t i = 0; i < LOCKS; i++) {
        check(l.counts[i] == l.locked[i]);
        check(l.left[i] == l.written[i] && l.right[i] == l.written[i]);
        check(cu_mutex_try_lock(&l.mutexes[i]));
        check(cu_rwmutex_try_lock(&l.rwmutexes[i]));
    }
}

static cu_ctx *soon(uint64_t *random)
{
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, draw(random, 300) * COPPER_US);
    check(ctx != NULL);
    return ctx;
}

/* False: it was not to be had in time. */
static bool lock(cu_mutex *mu, uint64_t *random)
{
    switch (draw(random, 4)) {
    case 0:
        return cu_mutex_try_lock(mu);
    case 1: {
        cu_ctx *ctx = soon(random);
        int error = cu_mutex_lock_ctx(ctx, mu);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
        return error == 0;
    }
    default:
        cu_mutex_lock(mu);
        return true;
    }
}

static void use_mutex(uint64_t random)
{
    size_t i = draw(&random, LOCKS);
    if (!lock(&l.mutexes[i], &random)) {
        return;
    }
    uint64_t before = l.counts[i];
    dawdle(random);
    l.counts[i] = before + 1;
    __atomic_fetch_add(&l.locked[i], 1, __ATOMIC_RELAXED);
    cu_mutex_unlock(&l.mutexes[i]);
}

static bool lock_for_writing(cu_rwmutex *rw, uint64_t *random)
{
    switch (draw(random, 4)) {
    case 0:
        return cu_rwmutex_try_lock(rw);
    case 1: {
        cu_ctx *ctx = soon(random);
        int error = cu_rwmutex_lock_ctx(ctx, rw);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
        return error == 0;
    }
    default:
        cu_rwmutex_lock(rw);
        return true;
    }
}

static bool lock_for_reading(cu_rwmutex *rw, uint64_t *random)
{
    switch (draw(random, 4)) {
    case 0:
        return cu_rwmutex_try_rlock(rw);
    case 1: {
        cu_ctx *ctx = soon(random);
        int error = cu_rwmutex_rlock_ctx(ctx, rw);
        check(error == 0 || error == -ETIMEDOUT);
        cu_ctx_end(ctx);
        return error == 0;
    }
    default:
        cu_rwmutex_rlock(rw);
        return true;
    }
}

static void write_pair(uint64_t random)
{
    size_t i = draw(&random, LOCKS);
    if (!lock_for_writing(&l.rwmutexes[i], &random)) {
        return;
    }
    check(l.left[i] == l.right[i]);
    l.left[i]++;
    dawdle(random);
    l.right[i]++;
    check(l.left[i] == l.right[i]);
    __atomic_fetch_add(&l.written[i], 1, __ATOMIC_RELAXED);
    cu_rwmutex_unlock(&l.rwmutexes[i]);
}

static void read_pair(uint64_t random)
{
    size_t i = draw(&random, LOCKS);
    if (!lock_for_reading(&l.rwmutexes[i], &random)) {
        return;
    }
    uint64_t seen = l.left[i];
    check(seen == l.right[i]);
    dawdle(random);
    check(l.left[i] == seen && l.right[i] == seen);
    cu_rwmutex_runlock(&l.rwmutexes[i]);
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
        write_pair(random);
        break;
    case 1:
    case 2:
    case 3:
        read_pair(random);
        break;
    default:
        use_mutex(random);
    }
}

const struct concept locks_concept = {"locks", begin, step, NULL, verify};
