/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the reader-writer mutex.
 *
 * Design: one word: WRITER, WAITERS, and the number of readers above. While nobody waits, each call
 * is one compare-and-swap on it; programs have that of readers compiled in (copper/sync_inline.h).
 * Readers and writers that wait are in two lists.
 *   - A reader takes the lock when no writer has it and none waits. Otherwise it waits until it is
 *     let in: whoever does that counts it.
 *   - A writer takes the lock when nobody has it.
 *   - The last reader to leave hands the lock to the first writer, since others that may read would
 *     come before it else.
 *   - A writer that unlocks lets all readers in that wait; if there are none, it wakes the first
 *     writer but leaves the lock free, as a mutex does, and hands it over only to one that starves.
 * So a reader waits for one writer at most once it waits, and a writer for the readers of one turn.
 *
 * Invariants: WAITERS changes only with the stripe, and is set while a list is not empty. With it
 * set, only unlocking of readers other than the last changes the word without the stripe. While the
 * lock is free and a list is not empty, a writer has been woken and is on its way.
 */
#define COPPER_NO_INLINE
#include <copper/sync.h>

#include "clock.h"
#include "events.h"
#include "report.h"
#include "schedule.h"
#include "sync_int.h"
#include "tls.h"

#define WRITER      ((uint64_t)1)
#define WAITERS     ((uint64_t)2)
#define READER      ((uint64_t)COPPER_RWMUTEX_READER)
#define STARVING_NS COPPER_MS

enum { TRY_AGAIN = 0, HANDED_OVER = 1 }; /* results of a wait */

static struct cu__rwmutex *inside(cu_rwmutex *rw)
{
    return (struct cu__rwmutex *)(void *)rw;
}

static void set_owner(struct cu__rwmutex *rw)
{
    const struct cu__g *g = cu__g_self();
    store_relaxed(&rw->owner, g ? g->id : 0);
}

/* Called with the stripe. */
static uint64_t waiters_bit(const struct cu__rwmutex *rw)
{
    return rw->readers.first || rw->writers.first ? WAITERS : 0;
}

/* ---- those who let others in: with the stripe; who is let in goes into the chain ---- */

struct let_in {
    struct cu__chain chain;
    int64_t now_ns, waited_ns; /* waited_ns: in sum, by those in the chain */
};

static void begin(struct let_in *l)
{
    *l = (struct let_in){.now_ns = cu_now()};
    cu__chain_init(&l->chain);
}

static void let_one_in(struct let_in *l, struct cu__waiter *w, int result)
{
    w->result = result;
    l->waited_ns += l->now_ns - w->tag;
    cu__chain_add(&l->chain, w);
}

/* All readers that wait; what they add to the word. */
static uint64_t let_readers_in(struct cu__rwmutex *rw, struct let_in *l)
{
    uint64_t readers = 0;
    for (struct cu__waiter *w; (w = cu__waiters_pop(&rw->readers)); readers += READER) {
        let_one_in(l, w, HANDED_OVER);
    }
    return readers;
}

/* The first writer; what it adds to the word. */
static uint64_t let_writer_in(struct cu__rwmutex *rw, struct let_in *l, bool hand_over)
{
    struct cu__waiter *w = cu__waiters_pop(&rw->writers);
    if (w == NULL) {
        return 0;
    }
    hand_over |= w->value != NULL || l->now_ns - w->tag > STARVING_NS;
    let_one_in(l, w, hand_over ? HANDED_OVER : TRY_AGAIN);
    return hand_over ? WRITER : 0;
}

/* Without the stripe. */
static void let_go(struct cu__rwmutex *rw, struct let_in *l)
{
    if (l->chain.first) {
        cu__chain_wake(&l->chain);
        if (EVENT_ON(RELEASED)) {
            cu__emit_released(cu_now(), cu_self(), rw, l->waited_ns);
        }
    }
}

/* ---- waiting: with the stripe, which is given back ---- */

static int wait_as_reader(struct cu__rwmutex *rw, struct cu__lock *stripe, int64_t since_ns,
                          cu_ctx *ctx)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {
        .reason = COPPER_WAIT_RWMUTEX_RLOCK, .kind = COPPER_OBJECT_RWMUTEX, .object = rw};
    self->tag = since_ns;
    cu__waiters_add(&rw->readers, self);
    return cu__wait_ctx(self, &why, stripe, &rw->readers, ctx);
}

/* Who was there before goes to the head, and says with `value` whether it starves. */
static int wait_as_writer(struct cu__rwmutex *rw, struct cu__lock *stripe, int64_t since_ns,
                          bool was_there, cu_ctx *ctx)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {
        .reason = COPPER_WAIT_RWMUTEX_LOCK, .kind = COPPER_OBJECT_RWMUTEX, .object = rw};
    self->tag = since_ns;
    if (was_there) {
        self->tag = cu_now();
        self->value = self->tag - since_ns > STARVING_NS ? self : NULL;
        cu__waiters_add_first(&rw->writers, self);
    } else {
        cu__waiters_add(&rw->writers, self);
    }
    return cu__wait_ctx(self, &why, stripe, &rw->writers, ctx);
}

/* Somebody gave up: readers may have waited only for it. */
static int give_up(struct cu__rwmutex *rw, struct cu__lock *stripe, int error)
{
    struct let_in l;
    begin(&l);
    cu__lock_take(stripe);
    uint64_t word = load_relaxed(&rw->word), readers = 0, wanted;
    if (!(word & WRITER) && rw->writers.first == NULL) {
        readers = let_readers_in(rw, &l);
    }
    do {
        wanted = ((word & ~WAITERS) + readers) | waiters_bit(rw);
    } while (!cas_acquire(&rw->word, &word, wanted));
    cu__lock_drop(stripe);
    cu__chain_wake(&l.chain);
    return error;
}

static void tell_contended(struct cu__rwmutex *rw, int64_t since_ns)
{
    if (EVENT_ON(CONTENDED)) {
        int64_t now = cu_now();
        cu__emit_contended(now, cu_self(), rw, now - since_ns);
    }
}

/* ---- writers ---- */

/* Called with the stripe. */
static bool take_or_announce(struct cu__rwmutex *rw)
{
    uint64_t word = load_relaxed(&rw->word), wanted;
    bool is_free;
    do {
        is_free = word < READER && !(word & WRITER);
        wanted = is_free ? WRITER | waiters_bit(rw) : word | WAITERS;
    } while (!cas_acquire(&rw->word, &word, wanted));
    return is_free;
}

static noinline int lock_slowly(struct cu__rwmutex *rw, cu_ctx *ctx)
{
    struct cu__lock *stripe = cu__stripe(rw);
    int64_t since_ns = cu_now();
    for (bool was_there = false;; was_there = true) {
        cu__lock_take(stripe);
        if (take_or_announce(rw)) {
            cu__lock_drop(stripe);
            break;
        }
        int result = wait_as_writer(rw, stripe, since_ns, was_there, ctx);
        if (result < 0) {
            return give_up(rw, stripe, result);
        }
        if (result == HANDED_OVER) {
            break;
        }
    }
    tell_contended(rw, since_ns);
    return 0;
}

void cu_rwmutex_lock(cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = 0;
    if (unlikely(!cas_acquire(&rw->word, &word, WRITER))) {
        lock_slowly(rw, NULL);
    }
    set_owner(rw);
}

int cu_rwmutex_lock_ctx(cu_ctx *ctx, cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = 0;
    if (unlikely(!cas_acquire(&rw->word, &word, WRITER))) {
        int error = lock_slowly(rw, ctx);
        if (error) {
            return error;
        }
    }
    set_owner(rw);
    return 0;
}

bool cu_rwmutex_try_lock(cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = 0;
    if (!cas_acquire(&rw->word, &word, WRITER)) {
        return false;
    }
    set_owner(rw);
    return true;
}

static noinline void unlock_slowly(struct cu__rwmutex *rw)
{
    struct cu__lock *stripe = cu__stripe(rw);
    struct let_in l;
    begin(&l);
    cu__lock_take(stripe);
    uint64_t word = let_readers_in(rw, &l);
    if (word == 0) {
        word = let_writer_in(rw, &l, false);
    }
    /* nobody else changes the word of a writer; the last touch of the lock */
    store_release(&rw->word, word | waiters_bit(rw));
    cu__lock_drop(stripe);
    let_go(rw, &l);
}

void cu_rwmutex_unlock(cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = load_relaxed(&rw->word);
    if (unlikely(!(word & WRITER))) {
        cu__misuse("unlock of a rwmutex at %p that no writer holds", (void *)rw);
    }
    store_relaxed(&rw->owner, 0);
    word = WRITER;
    if (unlikely(!cas_release(&rw->word, &word, 0))) {
        unlock_slowly(rw);
    }
}
COPPER_CALLED(cu_rwmutex_unlock);

/* ---- readers ---- */

bool cu_rwmutex_try_rlock(cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = load_relaxed(&rw->word);
    while (!(word & (WRITER | WAITERS))) {
        if (cas_acquire(&rw->word, &word, word + READER)) {
            return true;
        }
    }
    return false;
}

static noinline int rlock_slowly(struct cu__rwmutex *rw, cu_ctx *ctx)
{
    struct cu__lock *stripe = cu__stripe(rw);
    int64_t since_ns = cu_now();
    cu__lock_take(stripe);
    uint64_t word = load_relaxed(&rw->word), wanted;
    bool is_free;
    do {
        is_free = !(word & WRITER) && rw->writers.first == NULL;
        wanted = is_free ? ((word & ~WAITERS) + READER) | waiters_bit(rw) : word | WAITERS;
    } while (!cas_acquire(&rw->word, &word, wanted));
    if (is_free) {
        cu__lock_drop(stripe);
    } else {
        int result = wait_as_reader(rw, stripe, since_ns, ctx);
        if (result < 0) {
            return give_up(rw, stripe, result);
        }
    }
    tell_contended(rw, since_ns);
    return 0;
}

void cu_rwmutex_rlock(cu_rwmutex *public)
{
    if (unlikely(!cu_rwmutex_try_rlock(public))) {
        rlock_slowly(inside(public), NULL);
        __asm__ volatile(""); /* no jump: profiles of waits show this function */
    }
}
COPPER_CALLED(cu_rwmutex_rlock);

int cu_rwmutex_rlock_ctx(cu_ctx *ctx, cu_rwmutex *public)
{
    return cu_rwmutex_try_rlock(public) ? 0 : rlock_slowly(inside(public), ctx);
}

/* The last reader leaves while others wait. Called with the stripe; nobody else changes the word.
 */
static void leave_to_others(struct cu__rwmutex *rw, struct let_in *l)
{
    /* who is let in must come after the readers that left before, too, which took no stripe */
    uint64_t word = load_acquire(&rw->word);
    word = let_writer_in(rw, l, true);
    if (word == 0) {
        word = let_readers_in(rw, l); /* the writers before them gave up */
    }
    store_release(&rw->word, word | waiters_bit(rw));
}

static noinline void runlock_slowly(struct cu__rwmutex *rw)
{
    struct cu__lock *stripe = cu__stripe(rw);
    struct let_in l;
    begin(&l);
    cu__lock_take(stripe);
    for (uint64_t word = load_relaxed(&rw->word);;) {
        if ((word & WAITERS) && word < 2 * READER) {
            leave_to_others(rw, &l);
            break;
        }
        if (cas_release(&rw->word, &word, word - READER)) {
            break;
        }
    }
    cu__lock_drop(stripe);
    let_go(rw, &l);
}

void cu_rwmutex_runlock(cu_rwmutex *public)
{
    struct cu__rwmutex *rw = inside(public);
    uint64_t word = load_relaxed(&rw->word);
    do {
        if (unlikely(word < READER)) {
            cu__misuse("unlock of a rwmutex at %p that no reader holds", (void *)rw);
        }
        if (unlikely((word & WAITERS) && word < 2 * READER)) {
            runlock_slowly(rw);
            return;
        }
    } while (!cas_release(&rw->word, &word, word - READER));
}
COPPER_CALLED(cu_rwmutex_runlock);

_Static_assert(sizeof(struct cu__rwmutex) <= sizeof(cu_rwmutex), "the public size is fixed");
_Static_assert(offsetof(struct cu__rwmutex, word) == 0, "programs know where it is");
_Static_assert((WRITER | WAITERS) < READER, "programs look at what is below a reader");
