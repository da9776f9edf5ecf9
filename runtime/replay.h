/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: COPPER_SCHED_SEED=N: the same interleaving each time, another one for another N.
 *
 * There is one P then, nobody takes it away, the order of the queue and what else is left to chance
 * follow from the seed, and coroutines live in a time of their own. What comes from outside (plain
 * threads, descriptors, signals) comes when it comes, and is not replayed.
 */
#ifndef COPPER_RUNTIME_REPLAY_H
#define COPPER_RUNTIME_REPLAY_H

#include "base.h"

struct cu__g;
struct cu__p;

struct cu__replay {
    uint32_t is_on;  /* constant while the runtime runs */
    uint64_t random; /* owner of the P */
    int64_t now_ns;  /* any: atomic; what coroutines take for the time */
    int64_t real_ns; /* any: atomic; the clock when a worker last looked, while all sleep; else 0 */
};
extern hidden struct cu__replay cu__replay;

static inline bool cu__replay_is_on(void)
{
    return unlikely(load_relaxed(&cu__replay.is_on) != 0);
}

/* Reads the environment; before the first P is made. */
void cu__replay_configure(void);
/* The next coroutine of p's queues, whichever the seed says. NULL: none. */
struct cu__g *cu__replay_get(struct cu__p *p);
/* Whether time can be made that of the next timer when nothing is runnable. False: there is none,
 * or something may come from a descriptor before, so that time has to pass as it really does. */
bool cu__replay_can_advance(void);
/* Does so, if it can be done. */
bool cu__replay_advance(struct cu__p *p);
/* Whether the calling thread lives in that time, and what time it is there. */
bool cu__replay_is_here(void);
int64_t cu__replay_now(void);
/* A deadline of that time on the real clock, for the kernel. */
int64_t cu__replay_real(int64_t deadline_ns);
void cu__replay_after_fork(void);

#endif
