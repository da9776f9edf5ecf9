/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread behind the execution trace, and who gets what it writes.
 *
 * Design. One recording serves everybody: a client gets the generations from the cut made when it
 * came to the cut made when it left, and the flight recorder keeps the last ones. The thread
 * exists while somebody wants a trace.
 *
 * Concurrency: all of it from any ordinary thread; calls block their thread.
 */
#ifndef COPPER_TRACE_WRITER_H
#define COPPER_TRACE_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A generation, complete. */
struct cu__blob {
    _Atomic uint32_t references;
    unsigned char *bytes;
    size_t n;
    int64_t began_ns, ended_ns;
    bool is_whole; /* mentions everything: a file may begin with it */
};
void cu__blob_drop(struct cu__blob *blob);

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

/* The flight recorder: keep the last keep_ns, at most max_bytes. 0: switch it off. 0 or as join. */
int cu__flight_keep(int64_t keep_ns, size_t max_bytes);
/* What is kept, up to now, oldest first: at most `max` blobs, the caller drops them. Their number;
 * -ENOENT: the flight recorder is off; -ENOMEM. */
#define COPPER_FLIGHT_BLOBS 4096u
int cu__flight_take(struct cu__blob **blobs, unsigned max);
/* Called on the recorder's thread when a delay passed cu__trace_delay_limit_ns, with what is kept.
 */
typedef void cu__flight_late(int64_t g, int64_t delay_ns, struct cu__blob **blobs, unsigned n);
void cu__flight_on_late(cu__flight_late *late);

/* A CPU sample for the trace; from the collector. Dropped while nothing is recorded. */
struct cu__record;
void cu__trace_cpu_sample(const struct cu__record *record, const uint64_t *frames, unsigned n,
                          bool is_cut);

struct cu__trace_totals {
    uint64_t events, mended, lost, dropped, generations, bytes;
};
void cu__trace_totals(struct cu__trace_totals *out);

#endif
