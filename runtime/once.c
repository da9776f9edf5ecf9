/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: something is done once, and everybody waits until it is.
 *
 * Design: a word that goes NEW -> RUNNING -> DONE, the latter with the stripe, which takes out all
 * who wait. Programs have the test for DONE compiled in (copper/sync_inline.h). A function that
 * ends its coroutine is over as well: at_end.h.
 */
#define COPPER_NO_INLINE
#include <copper/sync.h>
#include <unistd.h>

#include "at_end.h"
#include "report.h"
#include "schedule.h"
#include "sync_int.h"
#include "tls.h"

enum { NEW = 0, RUNNING = 1, DONE = COPPER_ONCE_DONE };

struct run {
    struct cu__at_end at_end;
    struct cu__once *once;
};

static void finish(struct cu__once *once)
{
    struct cu__lock *stripe = cu__stripe(once);
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(stripe);
    for (struct cu__waiter *w; (w = cu__waiters_pop(&once->waiters));) {
        cu__chain_add(&chain, w);
    }
    store_relaxed(&once->owner, 0);
    /* pairs with the load in cu_once_do; the last touch */
    store_release(&once->word, DONE);
    cu__lock_drop(stripe);
    cu__chain_wake(&chain);
}

static void coroutine_ends(struct cu__at_end *at_end)
{
    finish(container_of(at_end, struct run, at_end)->once);
}

static cu_id caller(void)
{
    struct cu__g *g = cu__g_self();
    return g ? g->id : -(cu_id)gettid();
}

static void wait_for(struct cu__once *once)
{
    struct cu__lock *stripe = cu__stripe(once);
    struct cu__waiter thread_one, *self;
    struct cu__wait why = {
        .reason = COPPER_WAIT_ONCE_DO, .kind = COPPER_OBJECT_ONCE, .object = once};
    if (load_relaxed(&once->owner) == caller()) {
        cu__misuse("cu_once_do called from its own function, for the once at %p", (void *)once);
    }
    cu__lock_take(stripe);
    if (load_acquire(&once->word) == DONE) {
        cu__lock_drop(stripe);
        return;
    }
    self = cu__waiter_init(&thread_one, NULL);
    cu__waiters_add(&once->waiters, self);
    cu__wait(self, &why, stripe);
}

static noinline void do_slowly(struct cu__once *once, void (*fn)(void *), void *arg)
{
    uint64_t word = NEW;
    if (!cas_acquire(&once->word, &word, RUNNING)) {
        wait_for(once);
        return;
    }
    struct run run = {.at_end.run = coroutine_ends, .once = once};
    store_relaxed(&once->owner, caller());
    cu__at_end_push(&run.at_end);
    fn(arg);
    cu__at_end_pop(&run.at_end);
    finish(once);
}

void cu_once_do(cu_once *public, void (*fn)(void *), void *arg)
{
    struct cu__once *once = (struct cu__once *)(void *)public;
    /* pairs with the store in finish */
    if (unlikely(load_acquire(&once->word) != DONE)) {
        do_slowly(once, fn, arg);
    }
}
COPPER_CALLED(cu_once_do);

_Static_assert(sizeof(struct cu__once) <= sizeof(cu_once), "the public size is fixed");
_Static_assert(offsetof(struct cu__once, word) == 0, "programs know where it is");
