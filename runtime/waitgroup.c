/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the wait group.
 *
 * Design: one word holds the counter (upper half, signed) and whether somebody waits (WAITERS), so
 * that whoever brings the counter to zero knows in the same instruction whether anybody waits, and
 * touches the group no more if not: it may be gone. With waiters, the step to zero is made with the
 * stripe and takes all of them out together with it, so that nobody who comes later is among them:
 * a group may be used again before they have returned.
 */
#include <copper/sync.h>
#include <errno.h>

#include "arch.h"
#include "report.h"
#include "schedule.h"
#include "spawn.h"
#include "sync_int.h"
#include "tls.h"

#define COUNT_SHIFT 32
#define WAITERS     ((uint64_t)1)

static struct cu__wg *inside(cu_wg *wg)
{
    return (struct cu__wg *)(void *)wg;
}

/* The word after adding n; aborts when that is no valid counter. */
static uint64_t added(struct cu__wg *wg, uint64_t word, int64_t n)
{
    int64_t count = cu__wg_count(word);
    if (unlikely(__builtin_add_overflow(count, n, &count) || count < 0 || count > INT32_MAX)) {
        cu__misuse(count < 0 ? "negative counter in the wait group at %p"
                             : "counter out of range in the wait group at %p",
                   (void *)wg);
    }
    return (uint64_t)count << COUNT_SHIFT | (uint32_t)word;
}

/* To zero, or away from it again, while somebody waits. */
static noinline void add_slowly(struct cu__wg *wg, int64_t n)
{
    struct cu__lock *stripe = cu__stripe(wg);
    struct cu__chain chain;
    cu__chain_init(&chain);
    cu__lock_take(stripe);
    uint64_t word = load_relaxed(&wg->word), wanted;
    do {
        wanted = added(wg, word, n);
        if (cu__wg_count(wanted) == 0) {
            wanted = 0;
        }
    } while (!cas_seq(&wg->word, &word, wanted));
    if (wanted == 0) {
        for (struct cu__waiter *w; (w = cu__waiters_pop(&wg->waiters));) {
            cu__chain_add(&chain, w);
        }
    }
    cu__lock_drop(stripe);
    cu__chain_wake(&chain);
}

/* Upwards nothing can follow: one instruction, and one trip of a line that others count in too. */
static inline void add_up(struct cu__wg *wg, int64_t n)
{
    uint64_t word = add_seq(&wg->word, (uint64_t)n << COUNT_SHIFT);
    (void)added(wg, word, n);
}

void cu_wg_add(cu_wg *public, int64_t n)
{
    struct cu__wg *wg = inside(public);
    if (n > 0 && n <= INT32_MAX) {
        add_up(wg, n);
        return;
    }
    /* else the load fetches the line once, and the compare-and-swap again */
    cu__prefetch_to_write((uintptr_t)&wg->word);
    uint64_t word = load_relaxed(&wg->word), wanted;
    do {
        wanted = added(wg, word, n);
        if (cu__wg_count(wanted) == 0 && (word & WAITERS)) {
            add_slowly(wg, n);
            return;
        }
    } while (!cas_seq(&wg->word, &word, wanted));
}

void cu_wg_done(cu_wg *wg)
{
    cu_wg_add(wg, -1);
}

/* Somebody gave up: with nobody left who waits, WAITERS must not stay, since who brings the counter
 * to zero would look for waiters in a group that may be gone. */
static int give_up(struct cu__wg *wg, struct cu__lock *stripe, int error)
{
    cu__lock_take(stripe);
    uint64_t word = load_relaxed(&wg->word);
    while (wg->waiters.first == NULL && (word & WAITERS) &&
           !cas_seq(&wg->word, &word, word & ~WAITERS)) {
    }
    cu__lock_drop(stripe);
    return error;
}

int cu__wg_wait(cu_wg *public, const struct cu__wait *why, cu_ctx *ctx)
{
    struct cu__wg *wg = inside(public);
    uint64_t word = load_acquire(&wg->word);
    if (cu__wg_count(word) == 0) {
        return 0;
    }
    struct cu__lock *stripe = cu__stripe(wg);
    struct cu__waiter thread_one, *self;
    cu__lock_take(stripe);
    while (cu__wg_count(word) && !cas_seq(&wg->word, &word, word | WAITERS)) {
        word = load_acquire(&wg->word); /* the failed exchange has not acquired what was done */
    }
    if (cu__wg_count(word) == 0) {
        cu__lock_drop(stripe);
        return 0;
    }
    self = cu__waiter_init(&thread_one, NULL);
    cu__waiters_add(&wg->waiters, self);
    int result = cu__wait_ctx(self, why, stripe, &wg->waiters, ctx);
    return result < 0 ? give_up(wg, stripe, result) : 0;
}

int cu_wg_wait_ctx(cu_ctx *ctx, cu_wg *wg)
{
    struct cu__wait why = {.reason = COPPER_WAIT_WG_WAIT, .kind = COPPER_OBJECT_WG, .object = wg};
    return cu__wg_wait(wg, &why, ctx);
}

void cu_wg_wait(cu_wg *wg)
{
    cu_wg_wait_ctx(NULL, wg);
}

int32_t cu__wg_active(const cu_wg *wg)
{
    return cu__wg_count(load_acquire(&((const struct cu__wg *)(const void *)wg)->word));
}

cu_id cu_wg_go_site(cu_wg *wg, void (*fn)(void *), void *arg, const struct cu_site *site)
{
    struct cu_go_options options = {COPPER_GO_OPTIONS, .site = site};
    cu_wg_add(wg, 1);
    cu_id id = cu__spawn(&(struct cu__spawn){.fn = fn, .arg = arg, .options = &options, .wg = wg});
    if (id < 0) {
        cu_wg_add(wg, -1);
    }
    return id;
}

cu_id(cu_wg_go)(cu_wg *wg, void (*fn)(void *), void *arg)
{
    return cu_wg_go_site(wg, fn, arg, NULL);
}

_Static_assert(sizeof(struct cu__wg) <= sizeof(cu_wg), "the public size is fixed");
