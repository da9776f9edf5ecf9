/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what `copper record -e` can record: name, path under /debug/pprof/, the sample type that
 * its table shows, and what one of its units is called.
 *
 * CPU and wall samples are asked for in windows (?ms=), whose answers add up. Cumulative profiles are
 * asked for as totals, of which the last one counts. A trace is one answer, and its type is "".
 */
#ifndef COPPER_CLI_EVENTS_H
#define COPPER_CLI_EVENTS_H

#include <copper/pprof.h>

#define COPPER_CLI_EVENTS(X)                                                                        \
    X("cpu", "profile", "cpu", false, "of CPU time")                                                \
    X("wall", "wall", "wall", false, "of wall time over all stacks")                                \
    X("heap", "heap", "alloc_space", true, "allocated")                                             \
    X("block", "block", "delay", true, "of waiting")                                                \
    X("mutex", "mutex", "delay", true, "of waiting for holders")                                    \
    X("schedule", "schedule", "delay", true, "from ready to running")                               \
    X("hog", "hog", "delay", true, "of delay caused to others")                                     \
    X("trace", "trace", "", false, "of trace")

struct cu__event {
    const char *name, *path, *type;
    bool is_total;
    const char *what;
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
