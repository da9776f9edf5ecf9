/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the runtime's side of copper/hooks.h: one bit for each event, set while some attached
 * tool wants it.
 *
 * Use: `if (EVENT_ON(STOLEN)) cu__emit_stolen(cu_now(), ...)`: one test of one word and a branch
 * when nobody listens. Where several things are told of one moment (a coroutine stops, another one
 * runs), one test stands for all of them, and one reading of the clock: EVENTS_ON, cu__tell_...
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
    X(P_STOPPED, p_stopped, (int p), p)                                                            \
    X(PROCS_CHANGED, procs_changed, (int procs), procs)

enum cu__event {
#define COPPER_EVENT_ENUM(name, ...) CU__EVENT_##name,
    COPPER_EVENTS(COPPER_EVENT_ENUM)
#undef COPPER_EVENT_ENUM
        CU__EVENT_COUNT,
    CU__EVENT_WAITED = CU__EVENT_COUNT, /* told by chance, and so not like the others */
    /* not an event: some tool wants time on a P to be counted for each coroutine */
    CU__EVENT_ACCOUNT,
};

extern hidden uint32_t cu__events_on; /* any: atomic; bit i: event i */

#define EVENT_BIT(name) (1u << CU__EVENT_##name)
#define EVENTS_ON(bits) unlikely(cu__bit_is_set(&cu__events_on, (bits)))
#define EVENT_ON(name)  EVENTS_ON(EVENT_BIT(name))

/* What is told, or noted to be told later, of one moment. */
#define COPPER_EVENTS_OF_PARK                                                                      \
    (EVENT_BIT(ACCOUNT) | EVENT_BIT(RUNNING) | EVENT_BIT(PARKED) | EVENT_BIT(WAITED))
#define COPPER_EVENTS_OF_YIELD (EVENT_BIT(ACCOUNT) | EVENT_BIT(RUNNING) | EVENT_BIT(YIELDED))
#define COPPER_EVENTS_OF_EXIT  (EVENT_BIT(ACCOUNT) | EVENT_BIT(EXITED))
#define COPPER_EVENTS_OF_START (EVENT_BIT(RUNNING) | EVENT_BIT(CREATED))
#define COPPER_EVENTS_OF_READY (EVENT_BIT(RUNNING) | EVENT_BIT(READY) | EVENT_BIT(WAITED))
#define COPPER_EVENTS_OF_RUN   (EVENT_BIT(RUNNING) | EVENT_BIT(WAITED))

/* Told at each switch, and so not by cu_now(). */
#define COPPER_EVENTS_BY_COUNTER                                                                   \
    (COPPER_EVENTS_OF_PARK | COPPER_EVENTS_OF_YIELD | COPPER_EVENTS_OF_EXIT |                      \
     COPPER_EVENTS_OF_START | COPPER_EVENTS_OF_READY | COPPER_EVENTS_OF_RUN)

#define COPPER_UNWRAP(...) __VA_ARGS__
#define COPPER_EVENT_DECLARE(name, member, parameters, ...)                                        \
    noinline void cu__emit_##member(int64_t now, COPPER_UNWRAP parameters);
COPPER_EVENTS(COPPER_EVENT_DECLARE)
#undef COPPER_EVENT_DECLARE

/* A number in [0, rate), by what was drawn for a wait. */
static inline int64_t cu__drawn(uint64_t draws, int64_t rate)
{
    return (int64_t)((unsigned __int128)draws * (uint64_t)rate >> 64);
}
/* A wait is told to those whose rate says so. */
void cu__emit_waited(int64_t now, uint64_t draws, const struct cu_resume *resume,
                     int64_t waited_ns);

void cu__events_after_fork(void);
/* Meanwhile nobody detaches, which looks at all workers. */
void cu__events_hold(void);
void cu__events_release(void);
/* The runtime starts: what time means was decided (replay.h). */
void cu__events_start(void);

/* Called with the lock of attached tools: these events were turned on, and waits are told from this
 * rate on. */
void cu__tell_prepare(uint32_t added, int64_t wait_rate_ns);
/* For g, which leaves p. The clock, where it was read, else 0: for cu__tell_run of who follows. */
int64_t cu__tell_park(struct cu__p *p, struct cu__g *g);
int64_t cu__tell_yield(struct cu__p *p, struct cu__g *g);
int64_t cu__tell_exit(struct cu__p *p, struct cu__g *g);
void cu__tell_park_lost(struct cu__g *g); /* it lost its P before */
/* For g, which is about to run on p. now: 0: not read. */
void cu__tell_run(struct cu__p *p, struct cu__g *g, int64_t now);
/* For g, which is new, and about to become runnable. */
void cu__tell_start(struct cu__g *g, cu_id parent);
/* For g, which waits and is about to become runnable. */
void cu__tell_ready(struct cu__g *g);

/* While some tool wants RUNNING, each coroutine carries when it parked and became ready, and by
 * whom; while one wants WAITED, the same by ticks.h. What is left from before is told by a serial.
 */
void cu__note_ready(struct cu__g *g, cu_id waker, bool was_parked, int64_t now);
/* Tells of the calling coroutine, which lost its P and got p without leaving its stack. */
void cu__tell_resumed(struct cu__p *p, struct cu__g *g);

#endif
