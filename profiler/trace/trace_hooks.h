/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: between trace_hooks.c, which the runtime calls, and trace_record.c, where records go.
 */
#ifndef COPPER_TRACE_HOOKS_H
#define COPPER_TRACE_HOOKS_H

#include "trace_record.h"

int cu__trace_hooks_attach(void);
void cu__trace_hooks_detach(void);

/* Which stream is this thread's, in which session. Never held across anything that parks. */
struct cu__trace_own {
    struct cu__trace_stream *stream;
    uint32_t session;
};
extern __attribute__((tls_model("initial-exec"))) __thread struct cu__trace_own cu__trace_own;

/* Gives the calling thread one. NULL: there are too many threads; counted as an event lost. */
struct cu__trace_stream *cu__trace_join_stream(uint32_t session);
/* The calling thread's stream. NULL: nothing is recorded; or there are too many threads, and the
 * event is counted as lost. */
static inline struct cu__trace_stream *cu__trace_own_stream(void)
{
    uint32_t session = atomic_load_explicit(&cu__trace_session, memory_order_relaxed);
    if (session == 0) {
        return NULL;
    }
    bool is_known = cu__trace_own.session == session && cu__trace_own.stream;
    return is_known ? cu__trace_own.stream : cu__trace_join_stream(session);
}

struct cu__trace_record *cu__trace_turn(struct cu__trace_stream *s);
/* Room for a record of that many words; NULL: lost, and counted. */
static inline struct cu__trace_record *cu__trace_reserve(struct cu__trace_stream *s, unsigned words)
{
    return (size_t)(s->end - s->at) >= words * 8u ? (void *)s->at : cu__trace_turn(s);
}
/* Publishes the record last reserved. */
static inline void cu__trace_publish(struct cu__trace_stream *s, unsigned words)
{
    uint32_t n = atomic_load_explicit(s->published, memory_order_relaxed) + words * 8u;
    s->at += words * 8u;
    /* pairs with the load in cu__trace_cursor_look */
    atomic_store_explicit(s->published, n, memory_order_release);
}

/* Threads inside cu__trace_note: recording ends when they are out. */
extern _Atomic uint32_t cu__trace_noting;

#endif
