/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the condition.
 *
 * Design: a list of waiters in order of arrival, guarded by the stripe. A waiter enters it before
 * it unlocks the mutex, so that it misses no signal, and parks after that, without the stripe in
 * between (unlocking may take another stripe, perhaps the same). Who signals in between takes it
 * out but must not wake it: it does not sleep yet. Its tag says so, and it sees that it is out.
 */
#include <copper/sync.h>

#include "schedule.h"
#include "sync_int.h"

enum { AWAKE = 0, PARKED = 1 }; /* tag of a waiter; lock: the stripe */

static struct cu__cond *inside(cu_cond *cond)
{
    return (struct cu__cond *)(void *)cond;
}

int cu_cond_wait_ctx(cu_ctx *ctx, cu_cond *public, cu_mutex *mu)
{
    int result = 0;
    struct cu__cond *cond = inside(public);
    struct cu__lock *stripe = cu__stripe(cond);
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {
        .reason = COPPER_WAIT_COND_WAIT, .kind = COPPER_OBJECT_COND, .object = cond};
    self->tag = AWAKE;
    cu__lock_take(stripe);
    cu__waiters_add(&cond->waiters, self);
    cu__lock_drop(stripe);
    cu_mutex_unlock(mu);
    cu__lock_take(stripe);
    if (self->is_queued) {
        self->tag = PARKED;
        result = cu__wait_ctx(self, &why, stripe, &cond->waiters, ctx);
    } else {
        cu__lock_drop(stripe);
    }
    cu_mutex_lock(mu);
    return result;
}

void cu_cond_wait(cu_cond *cond, cu_mutex *mu)
{
    cu_cond_wait_ctx(NULL, cond, mu);
}

/* Called with the stripe. False: nobody waits. */
static bool take_one(struct cu__cond *cond, struct cu__chain *chain)
{
    struct cu__waiter *w = cu__waiters_pop(&cond->waiters);
    if (w && w->tag == PARKED) {
        cu__chain_add(chain, w);
    }
    return w != NULL;
}

void cu_cond_signal(cu_cond *public)
{
    struct cu__cond *cond = inside(public);
    struct cu__lock *stripe = cu__stripe(cond);
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(stripe);
    take_one(cond, &chain);
    cu__lock_drop(stripe);
    cu__chain_wake(&chain);
}

void cu_cond_broadcast(cu_cond *public)
{
    struct cu__cond *cond = inside(public);
    struct cu__lock *stripe = cu__stripe(cond);
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(stripe);
    while (take_one(cond, &chain)) {
    }
    cu__lock_drop(stripe);
    cu__chain_wake(&chain);
}

_Static_assert(sizeof(struct cu__cond) <= sizeof(cu_cond), "the public size is fixed");
