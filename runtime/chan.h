/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a channel's inside, for chan.c and for who describes the object a coroutine waits on.
 */
#ifndef COPPER_RUNTIME_CHAN_H
#define COPPER_RUNTIME_CHAN_H

#include <copper/chan.h>

#include "types.h"

struct cu_chan {
    struct cu__lock lock;
    uint32_t references;        /* any: atomic */
    size_t size, cap;           /* constant */
    size_t first, count;        /* lock; in values. Both are read by who only looks */
    bool is_closed;             /* lock */
    bool is_timed;              /* constant; a timer's: timer_chan.h */
    struct cu__waiters senders; /* lock */
    struct cu__waiters receivers;
    const struct cu_site *site;  /* constant */
    char name[COPPER_NAME_SIZE]; /* lock */
    char values[];
};

/* With the lock: sends or receives if that needs no waiting. 0, -EPIPE, or -EAGAIN: nothing was
 * done. *wake: who is to be woken once the lock is given back; NULL: nobody. */
int cu__chan_send_now(cu_chan *c, const void *value, struct cu__waiter **wake);
int cu__chan_receive_now(cu_chan *c, void *value, struct cu__waiter **wake);

/* A glance without the lock: would it be worth trying? */
static inline bool cu__chan_may_send(const cu_chan *c)
{
    return load_relaxed(&c->count) < c->cap || load_relaxed(&c->receivers.first) ||
           load_relaxed(&c->is_closed);
}
static inline bool cu__chan_may_receive(const cu_chan *c)
{
    return load_relaxed(&c->count) || load_relaxed(&c->senders.first) ||
           load_relaxed(&c->is_closed) || c->is_timed;
}

/* Fills in what is known of the channel; called while a waiter keeps it alive (inspect.c). */
void cu__chan_describe(const struct cu_chan *c, struct cu_object_info *out);
/* The size it was made with. */
size_t cu__chan_value_size(const struct cu_chan *c);

#endif
