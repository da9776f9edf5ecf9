/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: who gets the execution trace: clients and the flight recorder.
 *
 * Design. One recording serves everybody: a client gets the generations from the cut made when it
 * came to the cut made when it left, and the flight recorder keeps the last ones. Who comes,
 * leaves, or takes what is kept asks for a cut; who leaves is done with one that began after that.
 * The writer's thread (trace_writer.h) is started by the first who wants a trace and ends when
 * nobody does; who comes while it ends waits, and starts another.
 *
 * Concurrency: all of it from any ordinary thread; calls block their thread. One lock for all,
 * which threads that are traced never take. A sink is called with it.
 */
#ifndef COPPER_TRACE_CLIENTS_H
#define COPPER_TRACE_CLIENTS_H

#include "trace_blobs.h"

struct cu__trace_client;
typedef int cu__trace_sink(void *arg, const void *bytes, size_t n); /* 0 or -errno */

/* Joins; when it returns 0, whatever happens is in the trace. sink: gets the generations, on the
 * recorder's thread; NULL: they are fetched by cu__trace_next. 0; -ENOTSUP (no coroutine runtime
 * in this process), -ENOMEM, -ENOSPC (too many tools attached), -errno of starting the thread. */
int cu__trace_join(cu__trace_sink *sink, void *arg, struct cu__trace_client **out);
/* The next generation: 1 and its blob (the caller drops it); 0 after timeout_ns; -EPIPE after the
 * last one; -ENOMEM: the recorder ran out of memory, or this client did not keep up. */
int cu__trace_next(struct cu__trace_client *c, int64_t timeout_ns, struct cu__blob **out);
/* The last generation ends now; with a sink, it was called for the last time when this returns. 0
 * or what failed. */
int cu__trace_finish(struct cu__trace_client *c);
void cu__trace_leave(struct cu__trace_client *c);

/* The flight recorder: keep the last keep_ns, at most max_bytes. 0: switch it off. waits: until it
 * records, or has failed to. 0 or as join. */
int cu__flight_keep(int64_t keep_ns, size_t max_bytes, bool waits);
/* What is kept, up to now, oldest first: at most `max` blobs, the caller drops them. Their number;
 * -ENOENT: the flight recorder is off; -ENOMEM. */
int cu__flight_take(struct cu__blob **blobs, unsigned max);
/* Called on the recorder's thread when a delay passed cu__trace_delay_limit_ns, with what is kept.
 */
typedef void cu__flight_late(int64_t g, int64_t delay_ns, struct cu__blob **blobs, unsigned n);
void cu__flight_on_late(cu__flight_late *late);

struct cu__trace_totals {
    uint64_t events, mended, lost, dropped, generations, bytes;
};
void cu__trace_totals(struct cu__trace_totals *out);

/* ---- for the writer's thread ----------------------------------------------------------------- */

struct cu__model_stats;

/* What somebody waits for. */
struct cu__trace_asked {
    bool is_cut;   /* a cut, once everything that happened until now is in the trace */
    uint64_t cuts; /* which ones it is for */
};

/* False: nobody wants a trace any more. Then the thread must end: cu__clients_ended. */
bool cu__clients_want(struct cu__trace_asked *asked);
/* Until a round is over, or somebody asks for something. */
void cu__clients_wait(void);
/* A generation begins: who has come gets it. True: it must mention everything, so that a file may
 * begin with it. */
bool cu__clients_begin(void);
/* One has ended, asked for by these; its bytes are shared, and stay the caller's. NULL: out of
 * memory, and every client fails. */
void cu__clients_deliver(struct cu__blob *blob, const struct cu__trace_asked *asked,
                         const struct cu__model_stats *stats);
void cu__clients_lost(uint64_t records);
/* Does somebody want to know of a delay? */
bool cu__clients_want_late(struct cu__trace_asked *asked);
/* Gives what the flight recorder keeps to who wants to know of it. */
void cu__clients_late(int64_t g, int64_t delay_ns);
/* The thread could not begin, and must end. */
void cu__clients_fail(int err);
/* The last thing it does. */
void cu__clients_ended(void);

#endif
