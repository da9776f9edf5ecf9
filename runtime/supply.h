/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how P and M come together: idle ones, waiting ones, handing over.
 */
#ifndef COPPER_RUNTIME_SUPPLY_H
#define COPPER_RUNTIME_SUPPLY_H

#include "types.h"

enum { CU__SLEEPING = 0, CU__WOKEN = 1, CU__NUDGED = 2, CU__POLLING = 3 }; /* struct cu__m.wake */

/* Ends the sleep of a worker whose word was changed, wherever it sleeps. */
void cu__end_sleep(struct cu__m *m, uint32_t was);

/* m takes p, which nobody has and which was handed to it. */
void cu__p_take(struct cu__m *m, struct cu__p *p);
/* m gives up its P, if it has one, to who waits for one, or to the idle list; `rests`: and lists
 * itself as idle. True: now all P are idle. */
bool cu__p_give(struct cu__m *m, bool rests);
/* Called with the scheduler's lock: the idle P that are one too many, linked; the caller's now. */
struct cu__p *cu__p_unlist_surplus(void);
/* Books the time that p ran coroutines until now. Its owner. */
void cu__p_stops(struct cu__p *p, int64_t now_ns);
/* An M that rests gets up by itself, with an idle P in m->next_p, and counts as spinning. False:
 * there is none, or somebody was faster and has woken it. */
bool cu__get_up(struct cu__m *m);
/* An M that has rested for long: true: it is not idle any more, and is to end. */
bool cu__retire(struct cu__m *m);
/* After a P became idle that work may be waiting for. */
void cu__see_to_work(void);

/* The thread of a coroutine that has lost its P gets an idle one, if there is one. Inside. */
bool cu__p_try_take_idle(struct cu__m *m);
/* The same, but blocks until there is one. */
void cu__p_await(struct cu__m *m);
/* Readies a coroutine that is locked to its thread. */
void cu__enqueue_locked(struct cu__g *g);
/* On the thread's own stack: until the coroutine that m is locked to can run; it is RUNNING. */
struct cu__g *cu__wait_locked(struct cu__m *m);

/* The time that P had no owner, summed. */
uint64_t cu__idle_ns(int64_t now_ns);
/* False: every P stays with its thread while a coroutine runs there. */
static inline bool cu__handoff_is_on(void)
{
    return cu__sched.is_handoff_on;
}

/* For who took p from a thread, or gave it up because others wait: to whom it goes next. One that
 * is one too many goes for good. */
void cu__p_hand_on(struct cu__p *p);
/* True: somebody could run p if it were taken now. */
bool cu__has_heir(void);

#endif
