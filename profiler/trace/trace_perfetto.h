/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a trace as trace event format (JSON), for ui.perfetto.dev and chrome://tracing: a track
 * for each P with a slice for each stint of a coroutine, flows from waker to woken, counters.
 *
 * Design. It reads the generations that the recorder made for `go tool trace`: both forms come from
 * the same events and cannot disagree. Within one the times of different threads differ
 * (trace_model_write.h), so that a merge by time is the order in which things happened.
 *
 * A slice is written when it ends: then the coroutine's function is known, why it stopped, and
 * where. Memory is what live coroutines and one generation need.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_PERFETTO_H
#define COPPER_TRACE_PERFETTO_H

#include "trace_clients.h"

struct cu__perfetto;

/* sink gets the text piece by piece. NULL: out of memory. */
struct cu__perfetto *cu__perfetto_new(cu__trace_sink *sink, void *arg);
/* The next generation. 0, -ENOMEM, -EBADMSG: these are no bytes of the recorder; or what the sink
 * said. After a failure nothing more is written. */
int cu__perfetto_add(struct cu__perfetto *x, const unsigned char *bytes, size_t n);
/* Ends what is open, and the text. */
int cu__perfetto_end(struct cu__perfetto *x);
void cu__perfetto_free(struct cu__perfetto *x);

#endif
