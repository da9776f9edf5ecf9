/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: contexts under stress: whoever waits under one is let go, whatever it waits for, when
 * anything above it is cancelled or its time is over; with the right error and cause; and what it
 * waited for is as if it had never come.
 *
 * A step makes a tree of contexts of its own, waiters below them on objects that nobody else uses
 * and that never become ready, and ends the root.
 */
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

#define NODES_MAX   5
#define WAITERS_MAX 4
#define CAUSE       (-4242)

/* Held, empty, or full. */
struct objects {
    cu_chan *empty;
    cu_mutex mu, cond_mu;
    cu_rwmutex rw;
    cu_sem sem;
    cu_wg wg;
    cu_cond cond;
};

struct waiter {
    struct objects *objects;
    cu_ctx *ctx;
    uint64_t random;
    cu_wg *wg;
};

static int wait_somehow(struct objects *o, cu_ctx *ctx, uint64_t random)
{
    uint64_t value = 0;
    switch (random % 10) {
    case 0:
        return cu_recv_ctx(ctx, o->empty, &value);
    case 1: {
        cu_case cases[] = {cu_on_recv(o->empty, &value), cu_on_done(ctx), cu_on_recv(NULL, NULL)};
        check(cu_select(cases, 3) == 1);
        return cases[1].err;
    }
    case 2:
        return cu_sleep_ctx(ctx, 1000 * COPPER_SEC);
    case 3:
        return cu_mutex_lock_ctx(ctx, &o->mu);
    case 4:
        return cu_rwmutex_lock_ctx(ctx, &o->rw);
    case 5:
        return cu_rwmutex_rlock_ctx(ctx, &o->rw);
    case 6:
        return cu_sem_acquire_ctx(ctx, &o->sem, 1 + (int64_t)(random / 16 % 3));
    case 7:
        return cu_wg_wait_ctx(ctx, &o->wg);
    case 8: {
        cu_mutex_lock(&o->cond_mu);
        int error = cu_cond_wait_ctx(ctx, &o->cond, &o->cond_mu);
        cu_mutex_unlock(&o->cond_mu);
        return error;
    }
    default:
        return cu_ctx_wait(ctx);
    }
}

static void wait_below(void *arg)
{
    struct waiter *w = arg;
    int error = wait_somehow(w->objects, w->ctx, w->random);
    check(error == -ECANCELED || error == -ETIMEDOUT);
    check(cu_ctx_err(w->ctx) == error);
    int cause = cu_ctx_cause(w->ctx);
    check(cause == error || (cause == CAUSE && error == -ECANCELED));
}

struct afterwards {
    struct cu_ctx_after record;
    uint64_t ran; /* atomic */
    cu_wg wg;
};

static void run_afterwards(void *arg)
{
    struct afterwards *a = arg;
    __atomic_fetch_add(&a->ran, 1, __ATOMIC_RELAXED);
    cu_wg_done(&a->wg);
}

static cu_ctx *make_node(cu_ctx *parent, uint64_t random)
{
    static const char key;
    cu_ctx *ctx = random % 4 == 0 ? cu_ctx_with_value(parent, &key, parent)
                  : random % 4 == 1
                      ? cu_ctx_with_timeout(parent, (int64_t)(random / 4 % 3000) * COPPER_US)
                      : cu_ctx_with_cancel(parent);
    check(ctx != NULL);
    check(random % 4 || cu_ctx_value(ctx, &key) == parent);
    return ctx;
}

static void prepare(struct objects *o)
{
    *o = (struct objects){.empty = cu_chan_new(sizeof(uint64_t), 0)};
    check(o->empty != NULL);
    cu_mutex_lock(&o->mu);
    cu_rwmutex_lock(&o->rw);
    cu_wg_add(&o->wg, 1);
}

/* As if nobody had waited. */
static void verify_objects(struct objects *o)
{
    uint64_t value;
    check(cu_try_recv(o->empty, &value) == -EAGAIN && cu_try_send(o->empty, &value) == -EAGAIN);
    check(cu_sem_units(&o->sem) == 0);
    cu_sem_release(&o->sem, 1);
    check(cu_sem_try_acquire(&o->sem, 1) == 0);
    cu_mutex_unlock(&o->mu);
    check(cu_mutex_try_lock(&o->mu));
    cu_rwmutex_unlock(&o->rw);
    check(cu_rwmutex_try_rlock(&o->rw) && cu_rwmutex_try_rlock(&o->rw));
    check(!cu_rwmutex_try_lock(&o->rw));
    check(cu_mutex_try_lock(&o->cond_mu));
    cu_wg_done(&o->wg);
    cu_wg_wait(&o->wg);
    cu_chan_unref(o->empty);
}

static void cancel_tree(uint64_t random)
{
    struct objects o;
    struct waiter waiters[WAITERS_MAX];
    struct afterwards after = {.ran = 0};
    cu_ctx *nodes[NODES_MAX] = {cu_ctx_with_cancel(NULL)};
    unsigned depth = 1 + draw(&random, NODES_MAX), count = 1 + draw(&random, WAITERS_MAX);
    uint64_t more = random;
    cu_wg wg = {0};
    check(nodes[0] != NULL);
    prepare(&o);
    for (unsigned i = 1; i < depth; i++) {
        nodes[i] = make_node(nodes[i - 1], next_random(&more));
    }
    for (unsigned i = 0; i < count; i++) {
        random = next_random(&more);
        waiters[i] = (struct waiter){&o, nodes[draw(&random, depth)], random, &wg};
        check(cu_wg_go(&wg, wait_below, &waiters[i]) > 0);
    }
    cu_wg_add(&after.wg, 1);
    cu_ctx_after_func(nodes[depth - 1], &after.record, run_afterwards, &after);
    dawdle(random);
    bool is_stopped = random % 4 == 0 && cu_ctx_after_stop(nodes[depth - 1], &after.record);
    if (is_stopped) {
        cu_wg_done(&after.wg);
    }
    cu_ctx_cancel_cause(nodes[0], random % 2 ? CAUSE : 0);
    cu_wg_wait(&after.wg);
    check(after.ran == !is_stopped);
    cu_wg_wait(&wg);
    for (unsigned i = depth; i-- > 0;) {
        check(cu_ctx_err(nodes[i]) != 0);
        cu_ctx_end(nodes[i]);
    }
    verify_objects(&o);
}

struct shared {
    cu_ctx *ctx;
    cu_wg wg;
};

static void cancel_shared(void *arg)
{
    struct shared *s = arg;
    cu_ctx_cancel(s->ctx);
    cu_ctx_unref(s->ctx);
}

/* Children come and go under a context that others cancel meanwhile. */
static void make_while_cancelled(uint64_t random)
{
    struct shared s = {.ctx = cu_ctx_with_cancel(NULL)};
    check(s.ctx != NULL);
    for (int i = 0; i < 2; i++) {
        cu_ctx_ref(s.ctx);
        check(cu_wg_go(&s.wg, cancel_shared, &s) > 0);
    }
    for (unsigned i = draw(&random, 12); i > 0; i--) {
        cu_ctx *child = cu_ctx_with_timeout(s.ctx, (int64_t)i * 50 * COPPER_US);
        check(child != NULL);
        if (random % 3 == 0) {
            cu_yield();
        }
        cu_ctx_end(child);
    }
    check(cu_ctx_wait(s.ctx) == -ECANCELED);
    cu_wg_wait(&s.wg);
    cu_ctx_end(s.ctx);
}

static void step(uint64_t random)
{
    if (draw(&random, 4)) {
        cancel_tree(random);
    } else {
        make_while_cancelled(random);
    }
}

const struct concept contexts_concept = {"contexts", NULL, step, NULL, NULL};
