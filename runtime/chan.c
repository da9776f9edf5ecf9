/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: channels.
 *
 * Design: a ring of values and two lists of waiters, in order of arrival, under one lock. A value
 * goes straight from a sender to a waiting receiver, and from a waiting sender to a receiver; the
 * receiver of a full buffer takes the oldest value and moves the first waiting sender's one into
 * the place that became free. So nothing is decided twice, and who is woken has what it waited for.
 *
 * Invariants, outside of the lock:
 *   - receivers wait only while the buffer is empty and nobody sends
 *   - senders wait only while the buffer is full and nobody receives
 *   - nobody waits on a closed channel
 *
 * Lifetime: a waiting coroutine does not hold a reference. Freeing passes through the channel's
 * stripe, under which an inspector may be describing it.
 */
#include "chan.h"

#include <copper/context.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "schedule.h"
#include "timer_chan.h"
#include "tls.h"

cu_chan *cu_chan_new_site(size_t size, size_t cap, const struct cu_site *site)
{
    size_t bytes;
    if (__builtin_mul_overflow(size, cap, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(cu_chan), &bytes)) {
        return NULL;
    }
    cu_chan *c = malloc(bytes);
    if (c) {
        *c = (cu_chan){.references = 1, .size = size, .cap = cap, .site = site};
    }
    return c;
}

cu_chan *(cu_chan_new)(size_t size, size_t cap)
{
    return cu_chan_new_site(size, cap, NULL);
}

cu_chan *cu_chan_ref(cu_chan *c)
{
    add_relaxed(&c->references, 1);
    return c;
}

void cu_chan_name(cu_chan *c, const char *name)
{
    cu__lock_take(&c->lock);
    memset(c->name, 0, sizeof(c->name));
    if (name) {
        memcpy(c->name, name, strnlen(name, sizeof(c->name) - 1));
    }
    cu__lock_drop(&c->lock);
}

/* Values are small and mostly of these sizes: no call then. */
static inline void copy(void *to, const void *from, size_t size)
{
    switch (size) {
    case 0:
        return;
    case 4:
        memcpy(to, from, 4);
        return;
    case 8:
        memcpy(to, from, 8);
        return;
    default:
        memcpy(to, from, size);
    }
}

static char *slot(cu_chan *c, size_t i)
{
    size_t at = c->first + i;
    return c->values + (at < c->cap ? at : at - c->cap) * c->size;
}

static void push(cu_chan *c, const void *value)
{
    copy(slot(c, c->count), value, c->size);
    store_relaxed(&c->count, c->count + 1);
}

static void pop(cu_chan *c, void *value)
{
    if (value) {
        copy(value, slot(c, 0), c->size);
    }
    c->first = c->first + 1 < c->cap ? c->first + 1 : 0;
    store_relaxed(&c->count, c->count - 1);
}

static noinline int wait_in_thread(cu_chan *c, struct cu__waiters *list, void *value)
{
    struct cu__waiter self;
    struct cu__wait why = {.deadline_ns = 0};
    cu__waiters_add(list, cu__waiter_init(&self, value));
    return cu__wait(&self, &why, &c->lock);
}

/* Waits in `list`; the lock is held, and given back. All tail calls for a coroutine, from cu_send
 * and cu_recv down to the switch. */
static noinline int wait_in(cu_chan *c, struct cu__waiters *list, void *value,
                            enum cu_wait_reason reason)
{
    struct cu__m *m = cu__m();
    if (unlikely(m == NULL)) {
        return wait_in_thread(c, list, value);
    }
    struct cu__g *g = m->g;
    g->waiter.value = value;
    g->waiter.result = 0;
    g->wait.reason = reason;
    g->wait.kind = COPPER_OBJECT_CHAN;
    g->wait.object = c;
    g->wait.deadline_ns = 0;
    g->wait.is_gated = false;
    cu__waiters_add(list, &g->waiter);
    return cu__schedule(m, COPPER_AFTER_PARK, &c->lock);
}

static noinline void forbid(cu_chan *c, const char *what)
{
    cu__lock_drop(&c->lock);
    cu__misuse("%s the channel of a %s, made at %s:%u: it is for receiving", what, c->name,
               c->site ? c->site->file : "?", c->site ? c->site->line : 0);
}

/* A NULL channel is never ready. */
static noinline int wait_for_ever(enum cu_wait_reason reason)
{
    struct cu__lock nobody_else = {0};
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {.reason = reason, .kind = COPPER_OBJECT_CHAN};
    cu__lock_take(&nobody_else);
    return cu__wait(self, &why, &nobody_else);
}

static inline int send_now(cu_chan *c, const void *value, struct cu__waiter **wake)
{
    *wake = NULL;
    if (unlikely(c->is_closed)) {
        return -EPIPE;
    }
    struct cu__waiter *receiver = cu__waiters_pop(&c->receivers);
    if (receiver) {
        if (receiver->value) {
            copy(receiver->value, value, c->size);
        }
        *wake = receiver;
        return 0;
    }
    if (c->count < c->cap) {
        push(c, value);
        return 0;
    }
    return -EAGAIN;
}

/* Closed and drained: zeroes the destination. */
static int drained(cu_chan *c, void *value)
{
    if (value) {
        memset(value, 0, c->size);
    }
    return -EPIPE;
}

static inline int receive_now(cu_chan *c, void *value, struct cu__waiter **wake)
{
    struct cu__waiter *sender = NULL;
    if (c->count) {
        pop(c, value);
        sender = cu__waiters_pop(&c->senders);
        if (sender) {
            push(c, sender->value);
        }
    } else {
        sender = cu__waiters_pop(&c->senders);
        if (sender && value) {
            copy(value, sender->value, c->size);
        }
        if (sender == NULL) {
            *wake = NULL;
            return c->is_closed ? drained(c, value) : -EAGAIN;
        }
    }
    *wake = sender;
    return 0;
}

int cu__chan_send_now(cu_chan *c, const void *value, struct cu__waiter **wake)
{
    return send_now(c, value, wake);
}

int cu__chan_receive_now(cu_chan *c, void *value, struct cu__waiter **wake)
{
    int result = receive_now(c, value, wake);
    return result == -EAGAIN && unlikely(c->is_timed) ? cu__timed_receive_now(c, value) : result;
}

/* Gives the lock back after what needed no waiting. */
static inline int done(cu_chan *c, int result, struct cu__waiter *wake)
{
    cu__lock_drop(&c->lock);
    if (wake) {
        cu__wake(wake);
    }
    return result;
}

static inline int send(cu_chan *c, const void *value, bool may_wait)
{
    struct cu__waiter *wake;
    cu__lock_take(&c->lock);
    int result = send_now(c, value, &wake);
    if (result != -EAGAIN || !may_wait) {
        return done(c, result, wake);
    }
    if (unlikely(c->is_timed)) {
        forbid(c, "send to");
    }
    return wait_in(c, &c->senders, (void *)(uintptr_t)value, COPPER_WAIT_CHAN_SEND);
}

static inline int receive(cu_chan *c, void *value, bool may_wait)
{
    struct cu__waiter *wake;
    cu__lock_take(&c->lock);
    int result = receive_now(c, value, &wake);
    if (result == -EAGAIN && unlikely(c->is_timed)) {
        return cu__timed_receive(c, value, may_wait, NULL);
    }
    if (result != -EAGAIN || !may_wait) {
        return done(c, result, wake);
    }
    return wait_in(c, &c->receivers, value, COPPER_WAIT_CHAN_RECV);
}

int cu_send(cu_chan *c, const void *value)
{
    return likely(c) ? send(c, value, true) : wait_for_ever(COPPER_WAIT_CHAN_SEND_NIL);
}

int cu_recv(cu_chan *c, void *value)
{
    return likely(c) ? receive(c, value, true) : wait_for_ever(COPPER_WAIT_CHAN_RECV_NIL);
}

int cu_try_send(cu_chan *c, const void *value)
{
    return c ? send(c, value, false) : -EAGAIN;
}

int cu_try_recv(cu_chan *c, void *value)
{
    return c ? receive(c, value, false) : -EAGAIN;
}

/* The lock is held, and given back. */
static int wait_in_ctx(cu_ctx *ctx, cu_chan *c, struct cu__waiters *list, void *value,
                       enum cu_wait_reason reason)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, value);
    struct cu__wait why = {.reason = reason, .kind = COPPER_OBJECT_CHAN, .object = c};
    cu__waiters_add(list, self);
    return cu__wait_ctx(self, &why, &c->lock, list, ctx);
}

int cu_send_ctx(cu_ctx *ctx, cu_chan *c, const void *value)
{
    struct cu__waiter *wake;
    int result = cu_ctx_err(ctx);
    if (result || c == NULL) {
        return result ? result : cu_ctx_wait(ctx);
    }
    cu__lock_take(&c->lock);
    result = send_now(c, value, &wake);
    if (result != -EAGAIN) {
        return done(c, result, wake);
    }
    if (unlikely(c->is_timed)) {
        forbid(c, "send to");
    }
    return wait_in_ctx(ctx, c, &c->senders, (void *)(uintptr_t)value, COPPER_WAIT_CHAN_SEND);
}

int cu_recv_ctx(cu_ctx *ctx, cu_chan *c, void *value)
{
    struct cu__waiter *wake;
    int result = cu_ctx_err(ctx);
    if (result || c == NULL) {
        return result ? result : cu_ctx_wait(ctx);
    }
    cu__lock_take(&c->lock);
    result = receive_now(c, value, &wake);
    if (result != -EAGAIN) {
        return done(c, result, wake);
    }
    if (unlikely(c->is_timed)) {
        return cu__timed_receive(c, value, true, ctx);
    }
    return wait_in_ctx(ctx, c, &c->receivers, value, COPPER_WAIT_CHAN_RECV);
}

/* Takes everybody out who waits, with -EPIPE and, for receivers, a zeroed value. Called with the
 * lock; returns a chain linked by next, in order of arrival. */
static struct cu__waiter *expel(cu_chan *c)
{
    struct cu__waiter *chain = NULL, **end = &chain, *w;
    while ((w = cu__waiters_pop(&c->receivers))) {
        w->result = drained(c, w->value);
        *end = w;
        end = &w->next;
    }
    while ((w = cu__waiters_pop(&c->senders))) {
        w->result = -EPIPE;
        *end = w;
        end = &w->next;
    }
    *end = NULL;
    return chain;
}

static size_t wake_chain(struct cu__waiter *w)
{
    size_t count = 0;
    for (struct cu__waiter *next; w; w = next, count++) {
        next = w->next;
        cu__wake(w);
    }
    return count;
}

void cu_chan_close(cu_chan *c)
{
    if (c == NULL) {
        cu__misuse("close of a NULL channel");
    }
    cu__lock_take(&c->lock);
    if (c->is_timed) {
        forbid(c, "close of");
    }
    if (c->is_closed) {
        char name[COPPER_NAME_SIZE];
        memcpy(name, c->name, sizeof(name));
        cu__lock_drop(&c->lock);
        cu__misuse("close of closed channel %s%s%s(cap %zu, made at %s:%u)", name[0] ? "'" : "",
                   name, name[0] ? "' " : "", c->cap, c->site ? c->site->file : "?",
                   c->site ? c->site->line : 0);
    }
    store_relaxed(&c->is_closed, true);
    struct cu__waiter *chain = expel(c);
    cu__lock_drop(&c->lock);
    wake_chain(chain);
}

void cu_chan_unref(cu_chan *c)
{
    if (c == NULL || __atomic_fetch_sub(&c->references, 1, __ATOMIC_ACQ_REL) != 1) {
        return;
    }
    /* taking the lock also waits until who parked here last has left its stack */
    cu__lock_take(&c->lock);
    struct cu__waiter *chain = expel(c);
    cu__lock_drop(&c->lock);
    if (chain) {
        size_t count = wake_chain(chain);
        cu__complain("the last reference to channel %s%s(cap %zu, made at %s:%u) was dropped while "
                     "%zu waited on it; they got -EPIPE",
                     c->name, c->name[0] ? " " : "", c->cap, c->site ? c->site->file : "?",
                     c->site ? c->site->line : 0, count);
    }
    struct cu__lock *stripe = cu__stripe(c);
    cu__lock_take(stripe);
    cu__lock_drop(stripe);
    if (c->is_timed) {
        cu__timed_free(c);
    } else {
        free(c);
    }
}

size_t cu_chan_len(const cu_chan *c)
{
    return c ? load_relaxed(&c->count) : 0;
}

size_t cu_chan_cap(const cu_chan *c)
{
    return c ? c->cap : 0;
}

void cu__chan_describe(const struct cu_chan *c, struct cu_object_info *out)
{
    cu__lock_take((struct cu__lock *)(uintptr_t)&c->lock);
    out->cap = c->cap;
    out->len = c->count;
    out->is_closed = c->is_closed;
    out->site = c->site;
    memcpy(out->name, c->name, sizeof(out->name));
    cu__lock_drop((struct cu__lock *)(uintptr_t)&c->lock);
}

size_t cu__chan_value_size(const struct cu_chan *c)
{
    return c->size;
}
