/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/trace.h: the execution trace: what every coroutine did, when, where and why. Opens in
 * `go tool trace` of Go 1.22 and newer.
 *
 *     struct cu_trace *trace;
 *     int err = cu_trace_start_file("out.trace", &trace);
 *     ...
 *     err = cu_trace_stop(trace);                        // then: go tool trace out.trace
 *
 * Over HTTP it is /debug/pprof/trace?seconds=5. Several traces may be taken at once; they share one
 * recorder. While none is, an event costs one test in the runtime, and the calls for tasks, regions
 * and logs about 5 ns.
 *
 * Needs the coroutine runtime in the process; plain threads are seen where they spawn or wake
 * coroutines.
 */
#ifndef COPPER_TRACE_H
#define COPPER_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- recording ------------------------------------------------------------------------------- */

struct cu_trace;

/* Gets the next bytes of the trace, about once a second and at the end. On the recorder's thread:
 * it may block for a while (events are buffered meanwhile, up to 256 MiB), but may not start or
 * stop a trace. 0, or a negative value, which ends the trace and is what cu_trace_stop returns. */
typedef int cu_trace_sink(void *arg, const void *bytes, size_t n);

/* Starts a trace. When it returns 0, everything that happens from now on is in it, and what existed
 * before is introduced. 0; -ENOTSUP: no coroutine runtime in this process; -ENOMEM; -ENOSPC: too
 * many tools are attached to the runtime; -errno of the first write, or of starting a thread. From
 * plain threads and from coroutines, where it blocks the thread for some milliseconds. */
int cu_trace_start(cu_trace_sink *sink, void *arg, struct cu_trace **out);
/* The same into a file, which is created or replaced when the trace is stopped: until then it is
 * beside path, under that name with ".PID.N.tmp", and can be read there if the process dies. When the
 * disk gets full, cu_trace_stop says so, a file that was there is untouched and nothing is left. A path
 * that is there and is no regular file is written to directly. */
int cu_trace_start_file(const char *path, struct cu_trace **out);
/* Ends it: when it returns, the trace is complete, and sink is not called any more. Frees the
 * trace. 0, or what failed meanwhile: -errno of the file, what sink returned, -ENOMEM. */
int cu_trace_stop(struct cu_trace *trace);

/* ---- flight recorder ------------------------------------------------------------------------- */

/* Keeps what happened in the last keep_ns, all the time, in at most max_bytes (0: 64 MiB); 0: stops
 * that. What happens after the return is kept; waits some milliseconds for that, and so is not for
 * constructors. Also done at start-up for COPPER_FLIGHT=10s, which begins some milliseconds into
 * the program. 0; -EINVAL: negative; or as cu_trace_start. */
int cu_flight_start(int64_t keep_ns, size_t max_bytes);
/* Writes what is kept into a file, up to now. 0; -ENOENT: nothing is kept; -errno. Blocks. */
int cu_flight_write(const char *path);

/* ---- what the program says of itself ----------------------------------------------------------
 *
 * Coroutines only: from a plain thread the calls do nothing, except that ids are given. Texts are
 * copied, and cut to 1024 bytes. */

/* A task is work that may pass through several coroutines, such as a request. parent: the task it
 * is part of, 0: none. Returns its id, never 0, never used twice. */
uint64_t cu_trace_task_begin(const char *name, uint64_t parent);
void cu_trace_task_end(uint64_t task);

/* A region is a stretch of one coroutine's work for a task (0: for none). Regions nest; end takes
 * what begin took, in the same coroutine. */
void cu_trace_region_begin(uint64_t task, const char *name);
void cu_trace_region_end(uint64_t task, const char *name);

/* A message, at a point in time. key may be "". */
void cu_trace_log(uint64_t task, const char *key, const char *text);

/* ---- totals ---------------------------------------------------------------------------------- */

/* Of this process so far. A set that began with what was missing when it started is no loss. */
struct cu_trace_stats {
    uint32_t size;        /* set by cu_trace_stats_read */
    uint64_t events;      /* of the runtime, in the recording under way or the last one */
    uint64_t mended;      /* ... and states made up, because the trace began in the middle or
                             events were lost */
    uint64_t dropped;     /* ... and tasks, regions and logs without a place in the trace */
    uint64_t lost;        /* events that found no room: the program was faster than the recorder */
    uint64_t generations; /* parts written */
    uint64_t bytes;       /* ... and their length */
};
void cu_trace_stats_read(struct cu_trace_stats *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
