/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's side of copper/hooks.h: one bit for each event, set while some attached
 * tool wants it.
 *
 * Use: `if (EVENT_ON(PARKED)) cu__emit_parked(...)`: one test of one byte and a branch when nobody
 * listens.
 */
#ifndef COPPER_RUNTIME_EVENTS_H
#define COPPER_RUNTIME_EVENTS_H

#include "arch.h"
#include "types.h"

/* Event, parameters after `tool` and `now`, arguments. One list makes bits and emitters. */
#define COPPER_EVENTS(X)                                                                           \
    X(CREATED, created, (cu_id g, cu_id parent, const struct cu_site *site), g, parent, site)      \
    X(READY, ready, (cu_id g, cu_id by), g, by)                                                    \
    X(RUNNING, running, (const struct cu_resume *resume), resume)                                  \
    X(PARKED, parked,                                                                              \
      (cu_id g, int p, enum cu_wait_reason reason, const void *object, int64_t deadline_ns), g, p, \
      reason, object, deadline_ns)                                                                 \
    X(YIELDED, yielded, (cu_id g, int p), g, p)                                                    \
    X(EXITED, exited, (cu_id g, int p), g, p)                                                      \
    X(STOLEN, stolen, (int thief_p, int victim_p, uint32_t count), thief_p, victim_p, count)       \
    X(CONTENDED, contended, (cu_id g, const void *object, int64_t waited_ns), g, object,           \
      waited_ns)                                                                                   \
    X(RELEASED, released, (cu_id g, const void *object, int64_t waited_ns), g, object, waited_ns)  \
    X(SYSCALL_BEGIN, syscall_begin, (cu_id g, int p), g, p)                                        \
    X(SYSCALL_END, syscall_end, (cu_id g, int p), g, p)                                            \
    X(HANDOFF, handoff, (int p, cu_id g, int32_t tid, enum cu_handoff_cause cause), p, g, tid,     \
      cause)                                                                                       \
    X(PREEMPTED, preempted, (cu_id g, int p), g, p)                                                \
    X(WORKER_STARTED, worker_started, (int32_t tid), tid)                                          \
    X(WORKER_STOPPED, worker_stopped, (int32_t tid), tid)                                          \
    X(P_STARTED, p_started, (int p, int32_t tid), p, tid)                                          \
    X(P_STOPPED, p_stopped, (int p), p)

enum cu__event {
#define COPPER_EVENT_ENUM(name, ...) CU__EVENT_##name,
    COPPER_EVENTS(COPPER_EVENT_ENUM)
#undef COPPER_EVENT_ENUM
        CU__EVENT_COUNT,
    /* not an event: some tool is attached, so time on a P is counted for each coroutine */
    CU__EVENT_ACCOUNT = CU__EVENT_COUNT,
};

extern hidden uint32_t cu__events_on; /* any: atomic; bit i: event i */

#define EVENT_ON(name) unlikely(cu__bit_is_set(&cu__events_on, 1u << CU__EVENT_##name))

#define COPPER_UNWRAP(...) __VA_ARGS__
#define COPPER_EVENT_DECLARE(name, member, parameters, ...)                                        \
    noinline void cu__emit_##member(COPPER_UNWRAP parameters);
COPPER_EVENTS(COPPER_EVENT_DECLARE)
#undef COPPER_EVENT_DECLARE

void cu__events_after_fork(void);

/* While some tool wants RUNNING, each coroutine carries when it parked and became ready, and by
 * whom. What is left from before the tool was attached is told by the serial. */
void cu__note_parked(struct cu__g *g);
void cu__note_ready(struct cu__g *g, cu_id waker, bool was_parked);
/* Tells of g, which is about to run on p. */
void cu__tell_running(struct cu__p *p, struct cu__g *g);
/* Tells of the calling coroutine, which lost its P and got p without leaving its stack. */
void cu__tell_resumed(struct cu__p *p, struct cu__g *g);

#endif
