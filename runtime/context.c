/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/context.h.
 *
 * Design: a tree in which each context that can be done has its list of children, of waiters, and
 * of functions to run afterwards. One that cannot (a value, without_cancel) only refers to the
 * nearest above that can: `done`, which is itself for the others.
 *
 * Being done goes down level by level, without recursion: whoever sets the error of a context first
 * puts it into a chain of contexts whose children, waiters and functions are still to be told. A
 * child that is made meanwhile sees its parent's error under the parent's lock.
 *
 * Lifetime: a context lives while it has references: its maker's, those of cu_ctx_ref, one of each
 * child, one of a running timer, one of whoever is making it done. A child is in its parent's list
 * without being counted there, and takes itself out before it is freed; so who finds it in the
 * list, under the parent's lock, may take a reference only if there still is one.
 *
 * Concurrency: the lock of a context guards its lists and the setting of its error. Locks of two
 * contexts are held together nowhere but for parent and child, in this order.
 */
#include "context.h"

#include <copper/go.h>
#include <copper/time.h>
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "race.h"
#include "report.h"
#include "schedule.h"
#include "tls.h"

struct after {
    struct after *next, *prev;
    void (*fn)(void *);
    void *arg;
    bool is_queued;
};
_Static_assert(sizeof(struct after) <= sizeof(struct cu_ctx_after), "the public size is fixed");

struct cu_ctx {
    struct cu__lock lock;
    uint32_t references; /* any: atomic */
    int err;             /* writer: lock, once; any: atomic */
    int cause;           /* written before err */
    cu_ctx *parent;      /* constant; has a reference */
    cu_ctx *done;        /* constant; NULL: never done */
    int64_t deadline_ns; /* constant; 0: none; the earliest from here up */
    const void *key;     /* constant */
    void *value;
    cu_ctx *children;           /* lock */
    cu_ctx *sibling, *elder;    /* lock: the parent's; elder: before it in the list */
    bool is_listed;             /* lock: the parent's */
    cu_ctx *next_done;          /* whoever makes it done */
    struct cu__waiters waiters; /* lock */
    struct after *afters;       /* lock */
    struct cu__timer timer;
};

/* ---- references ---------------------------------------------------------------------------- */

cu_ctx *cu_ctx_ref(cu_ctx *ctx)
{
    if (ctx) {
        add_relaxed(&ctx->references, 1);
    }
    return ctx;
}

/* For who found it in its parent's list, under the parent's lock. */
static bool try_ref(cu_ctx *ctx)
{
    uint32_t count = load_relaxed(&ctx->references);
    while (count && !cas_seq(&ctx->references, &count, count + 1)) {
    }
    return count != 0;
}

/* Called with the parent's lock. */
static void unlist(cu_ctx *parent, cu_ctx *child)
{
    if (!child->is_listed) {
        return;
    }
    if (child->elder) {
        child->elder->sibling = child->sibling;
    } else {
        parent->children = child->sibling;
    }
    if (child->sibling) {
        child->sibling->elder = child->elder;
    }
    child->is_listed = false;
}

/* A child may hold the last reference of its parent, and so on upwards. */
void cu_ctx_unref(cu_ctx *ctx)
{
    while (ctx && sub_seq(&ctx->references, 1) == 1) {
        cu_ctx *parent = ctx->parent, *above = parent ? parent->done : NULL;
        if (above && ctx->done == ctx) {
            cu__lock_take(&above->lock);
            unlist(above, ctx);
            cu__lock_drop(&above->lock);
        }
        /* passing through the lock: who made it done may be about to give it back */
        cu__lock_take(&ctx->lock);
        bool is_watched = ctx->waiters.first || ctx->afters;
        cu__lock_drop(&ctx->lock);
        if (is_watched) {
            cu__misuse("the last reference to a context at %p was dropped while it is waited for",
                       (void *)ctx);
        }
        free(ctx);
        ctx = parent;
    }
}

/* ---- becoming done ------------------------------------------------------------------------- */

/* True: the caller is the one who tells the others. */
static bool set_error(cu_ctx *ctx, int err, int cause)
{
    cu__lock_take(&ctx->lock);
    bool is_first = ctx->err == 0;
    if (is_first) {
        ctx->cause = cause;
        store_release(&ctx->err, err);
    }
    cu__lock_drop(&ctx->lock);
    return is_first;
}

static void start_after(struct after *after)
{
    void (*fn)(void *) = after->fn;
    cu_id id = cu_go(fn, after->arg);
    if (id < 0) {
        cu__complain("the function %p, to be run after a context was done, could not be started: "
                     "error %d",
                     (void *)(uintptr_t)fn, (int)-id);
    }
}

/* Puts the children that were not done yet in front of the chain; they are referenced. */
static cu_ctx *tell_children(cu_ctx *ctx, cu_ctx *chain)
{
    cu_ctx *child;
    cu__lock_take(&ctx->lock);
    while ((child = ctx->children)) {
        unlist(ctx, child);
        if (!try_ref(child)) {
            continue; /* about to be freed: it waits for our lock */
        }
        if (set_error(child, ctx->err, ctx->cause)) {
            child->next_done = chain;
            chain = child;
            continue;
        }
        cu__lock_drop(&ctx->lock); /* it may be the last reference */
        cu_ctx_unref(child);
        cu__lock_take(&ctx->lock);
    }
    cu__lock_drop(&ctx->lock);
    return chain;
}

static void wake_waiters(cu_ctx *ctx)
{
    struct cu__waiter *chain = NULL, **end = &chain, *w;
    cu__lock_take(&ctx->lock);
    while ((w = cu__waiters_pop(&ctx->waiters))) {
        w->result = ctx->err;
        *end = w;
        end = &w->next;
    }
    *end = NULL;
    cu__lock_drop(&ctx->lock);
    for (struct cu__waiter *next; chain; chain = next) {
        next = chain->next;
        cu__wake(chain);
    }
}

static void run_afters(cu_ctx *ctx)
{
    for (;;) {
        cu__lock_take(&ctx->lock);
        struct after *first = ctx->afters, copy = {0};
        if (first) {
            ctx->afters = first->next;
            if (first->next) {
                first->next->prev = NULL;
            }
            first->is_queued = false;
            copy = *first; /* from now on the record may be gone */
        }
        cu__lock_drop(&ctx->lock);
        if (first == NULL) {
            return;
        }
        start_after(&copy);
    }
}

static void stop_timer(cu_ctx *ctx)
{
    if (cu__timer_stop(&ctx->timer)) {
        cu_ctx_unref(ctx);
    }
}

static void finish(cu_ctx *ctx, int err, int cause)
{
    if (!set_error(ctx, err, cause)) {
        return;
    }
    cu_ctx *chain = cu_ctx_ref(ctx);
    chain->next_done = NULL;
    while (chain) {
        cu_ctx *one = chain;
        chain = tell_children(one, one->next_done);
        wake_waiters(one);
        run_afters(one);
        stop_timer(one);
        cu_ctx_unref(one);
    }
}

static void deadline_is_due(struct cu__timer *t, uint64_t tag, int64_t now_ns)
{
    cu_ctx *ctx = container_of(t, cu_ctx, timer);
    (void)tag, (void)now_ns;
    finish(ctx, -ETIMEDOUT, -ETIMEDOUT);
    cu_ctx_unref(ctx);
}

/* ---- making them --------------------------------------------------------------------------- */

static cu_ctx *make(cu_ctx *parent)
{
    cu_ctx *ctx = cu__start() ? NULL : calloc(1, sizeof(*ctx));
    if (ctx) {
        ctx->references = 1;
        ctx->parent = cu_ctx_ref(parent);
        ctx->deadline_ns = parent ? parent->deadline_ns : 0;
    }
    return ctx;
}

/* Enters a new context below the nearest that can be done, or makes it done with it. */
static void list_below(cu_ctx *ctx)
{
    cu_ctx *above = ctx->parent ? ctx->parent->done : NULL;
    ctx->done = ctx;
    if (above == NULL) {
        return;
    }
    cu__lock_take(&above->lock);
    if (above->err == 0) {
        ctx->sibling = above->children;
        if (above->children) {
            above->children->elder = ctx;
        }
        above->children = ctx;
        ctx->is_listed = true;
    } else {
        ctx->cause = above->cause;
        ctx->err = above->err;
    }
    cu__lock_drop(&above->lock);
}

cu_ctx *cu_ctx_with_cancel(cu_ctx *parent)
{
    cu_ctx *ctx = make(parent);
    if (ctx) {
        list_below(ctx);
    }
    return ctx;
}

cu_ctx *cu_ctx_with_deadline(cu_ctx *parent, int64_t deadline_ns)
{
    cu_ctx *ctx = make(parent);
    if (ctx == NULL) {
        return NULL;
    }
    bool is_earlier = ctx->deadline_ns == 0 || deadline_ns < ctx->deadline_ns;
    if (is_earlier) {
        ctx->deadline_ns = deadline_ns > 0 ? deadline_ns : 1;
    }
    list_below(ctx);
    if (is_earlier && load_acquire(&ctx->err) == 0) {
        if (ctx->deadline_ns <= cu_now()) {
            finish(ctx, -ETIMEDOUT, -ETIMEDOUT);
            return ctx;
        }
        ctx->timer.fire = deadline_is_due;
        cu_ctx_ref(ctx);
        cu__timer_start(&ctx->timer, ctx->deadline_ns);
        if (load_seq(&ctx->err)) {
            stop_timer(ctx); /* the parent was done meanwhile, and may not have seen the timer */
        }
    }
    return ctx;
}

cu_ctx *cu_ctx_with_timeout(cu_ctx *parent, int64_t ns)
{
    return cu_ctx_with_deadline(parent, cu__deadline(ns));
}

cu_ctx *cu_ctx_with_value(cu_ctx *parent, const void *key, void *value)
{
    cu_ctx *ctx = make(parent);
    if (ctx) {
        ctx->done = parent ? parent->done : NULL;
        ctx->key = key;
        ctx->value = value;
    }
    return ctx;
}

cu_ctx *cu_ctx_without_cancel(cu_ctx *parent)
{
    cu_ctx *ctx = make(parent);
    if (ctx) {
        ctx->deadline_ns = 0;
    }
    return ctx;
}

/* ---- using them ---------------------------------------------------------------------------- */

void cu_ctx_cancel_cause(cu_ctx *ctx, int cause)
{
    if (ctx == NULL || ctx->done != ctx) {
        cu__misuse("cancel of a context that cannot be cancelled (%s)",
                   ctx ? "made by with_value or without_cancel" : "the background");
    }
    finish(ctx, -ECANCELED, cause ? cause : -ECANCELED);
}

void cu_ctx_cancel(cu_ctx *ctx)
{
    cu_ctx_cancel_cause(ctx, 0);
}

void cu_ctx_end(cu_ctx *ctx)
{
    if (ctx && ctx->done == ctx) {
        finish(ctx, -ECANCELED, -ECANCELED);
    }
    cu_ctx_unref(ctx);
}

int cu_ctx_err(const cu_ctx *ctx)
{
    return ctx && ctx->done ? load_acquire(&ctx->done->err) : 0;
}

int cu_ctx_cause(const cu_ctx *ctx)
{
    return cu_ctx_err(ctx) ? ctx->done->cause : 0;
}

int64_t cu_ctx_deadline(const cu_ctx *ctx)
{
    return ctx ? ctx->deadline_ns : 0;
}

void *cu_ctx_value(const cu_ctx *ctx, const void *key)
{
    while (ctx && (ctx->key != key || key == NULL)) {
        ctx = ctx->parent;
    }
    return ctx ? ctx->value : NULL;
}

void cu_ctx_after_func(cu_ctx *ctx, struct cu_ctx_after *public, void (*fn)(void *), void *arg)
{
    struct after *after = (struct after *)(void *)public;
    *after = (struct after){.fn = fn, .arg = arg};
    cu_ctx *done = ctx ? ctx->done : NULL;
    if (done == NULL) {
        return;
    }
    cu__lock_take(&done->lock);
    bool is_done = done->err != 0;
    if (!is_done) {
        after->next = done->afters;
        if (done->afters) {
            done->afters->prev = after;
        }
        done->afters = after;
        after->is_queued = true;
    }
    cu__lock_drop(&done->lock);
    if (is_done) {
        start_after(after);
    }
}

bool cu_ctx_after_stop(cu_ctx *ctx, struct cu_ctx_after *public)
{
    struct after *after = (struct after *)(void *)public;
    cu_ctx *done = ctx ? ctx->done : NULL;
    if (done == NULL) {
        return after->fn != NULL;
    }
    cu__lock_take(&done->lock);
    bool is_stopped = after->is_queued;
    if (is_stopped) {
        if (after->prev) {
            after->prev->next = after->next;
        } else {
            done->afters = after->next;
        }
        if (after->next) {
            after->next->prev = after->prev;
        }
        after->is_queued = false;
    }
    cu__lock_drop(&done->lock);
    return is_stopped;
}

/* ---- waits --------------------------------------------------------------------------------- */

int cu__ctx_watch(cu_ctx *ctx, struct cu__waiter *w)
{
    cu_ctx *done = ctx ? ctx->done : NULL;
    if (done == NULL) {
        return 0;
    }
    cu__lock_take(&done->lock);
    int err = done->err;
    if (err == 0) {
        cu__waiters_add(&done->waiters, w);
    }
    cu__lock_drop(&done->lock);
    return err;
}

void cu__ctx_unwatch(cu_ctx *ctx, struct cu__waiter *w)
{
    cu_ctx *done = ctx ? ctx->done : NULL;
    if (done == NULL) {
        return;
    }
    /* also where it is out already: who took it out may still hold the lock */
    cu__lock_take(&done->lock);
    if (w->is_queued) {
        cu__waiters_remove(&done->waiters, w);
    }
    cu__lock_drop(&done->lock);
}

struct cu__wait cu__ctx_limit(const struct cu__wait *why, const cu_ctx *ctx)
{
    struct cu__wait limited = *why;
    int64_t deadline_ns = ctx->done ? ctx->deadline_ns : 0;
    if (deadline_ns && limited.deadline_ns == 0) {
        limited.deadline_ns = deadline_ns;
        limited.is_timed_elsewhere = true; /* the context's own timer */
    }
    return limited;
}

/* Until ctx is done, or `deadline_ns`: then -ETIMEDOUT without its being done. */
static int wait_for_done(cu_ctx *ctx, const struct cu__wait *why)
{
    struct cu__g *g = cu__g_self();
    struct cu__race own = {0}, *race = g ? &g->race : &own;
    cu__race_open_gated(race);
    struct cu__waiter w = {.g = g, .race = race};
    int err = cu__ctx_watch(ctx, &w);
    if (err) {
        cu__race_call_off(race);
        return err;
    }
    struct cu__wait limited = ctx ? cu__ctx_limit(why, ctx) : *why;
    struct cu__waiter *winner = cu__wait_gated(race, g, &limited);
    cu__ctx_unwatch(ctx, &w);
    return winner == &w ? cu_ctx_err(ctx) : -ETIMEDOUT;
}

int cu_ctx_wait(cu_ctx *ctx)
{
    struct cu__wait why = {
        .reason = COPPER_WAIT_CTX_DONE, .kind = COPPER_OBJECT_CTX, .object = ctx};
    return wait_for_done(ctx, &why);
}

int cu_sleep_ctx(cu_ctx *ctx, int64_t ns)
{
    int err = cu_ctx_err(ctx);
    if (err) {
        return err;
    }
    if (ns <= 0) {
        cu_yield();
        return cu_ctx_err(ctx);
    }
    struct cu__wait why = {.reason = COPPER_WAIT_SLEEP, .deadline_ns = cu__deadline(ns)};
    wait_for_done(ctx, &why);
    return cu_ctx_err(ctx);
}
