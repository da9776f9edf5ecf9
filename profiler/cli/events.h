/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what `copper record -e` can record: name, path under /debug/pprof/, the sample type that
 * its table shows, and what one of its units is called.
 *
 * Each is asked for in windows (?ms=), whose answers add up: CPU and wall samples, and the differences
 * of cumulative profiles. Traces do not: a trace is one answer, and its type is "".
 */
#ifndef COPPER_CLI_EVENTS_H
#define COPPER_CLI_EVENTS_H

#include <copper/pprof.h>

#define COPPER_CLI_EVENTS(X)                                                                        \
    X("cpu", "profile", "cpu", "of CPU time")                                                       \
    X("wall", "wall", "wall", "of wall time over all stacks")                                       \
    X("heap", "heap", "alloc_space", "allocated")                                                   \
    X("block", "block", "delay", "of waiting")                                                      \
    X("mutex", "mutex", "delay", "of waiting for holders")                                          \
    X("schedule", "schedule", "delay", "from ready to running")                                     \
    X("hog", "hog", "delay", "of delay caused to others")                                           \
    X("trace", "trace", "", "of trace")

struct cu__event {
    const char *name, *path, *type, *what;
};

/* By name; NULL: there is none. */
const struct cu__event *cu__event_find(const char *name);
/* One answer that is kept as it comes, for go tool trace. */
bool cu__event_is_trace(const struct cu__event *event);
/* "cpu, wall, heap, ..." */
const char *cu__event_names(void);

/* Which value of a sample has this type; the last one where none has. There is at least one. */
size_t cu__value_index(const struct cu_pprof *p, const char *type);
/* "1.20s", "3.5MB", "12": a value of this unit as people read it. */
void cu__value_text(int64_t value, const char *unit, char *out, size_t size);

#endif
