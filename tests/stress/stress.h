/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the parts of the stress program share. Read runtime_stress.c first.
 *
 * A concept is one thing that programs do with the runtime, and a model of what must come of it.
 * Its step is called by many coroutines and plain threads at once, with a number that decides what
 * it does; it takes finitely long whatever others do, so that a step that does not return is a bug
 * of the runtime. Steps do not end their coroutine.
 */
#ifndef COPPER_TEST_STRESS_H
#define COPPER_TEST_STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "seeded.h"

struct concept {
    const char *name;
    void (*begin)(uint64_t seed);  /* before the first step of a round; NULL: nothing to do */
    void (*step)(uint64_t random); /* any thread or coroutine */
    void (*end)(void);             /* after the last one: waits for what still runs; NULL */
    void (*verify)(void);          /* then: what must hold, and gives memory back; NULL */
};
extern const struct concept tokens_concept, select_concept, locks_concept, waits_concept,
    contexts_concept, timers_concept, groups_concept, threads_concept, pipes_concept,
    alarms_concept, tickers_concept, safe_points_concept;

/* ---- runtime_stress.c ---- */

/* One of n, from bits of random that the caller has not used yet; those are used up. */
unsigned draw(uint64_t *random, unsigned n);
/* What somebody may do while others wait for it: nothing, mostly; or yield, sleep, compute. */
void dawdle(uint64_t random);
void sleep_and_check(int64_t ns);
/* Whether somebody may keep its thread for ns, from whom it has to be taken: each round has so much
 * of that, lest it last too long. */
bool may_keep_thread(int64_t ns);
/* Computes, without a call into the runtime, until its thread has used up ns of CPU, if it may. */
void compute(int64_t ns);

/* Whether a P is taken from who keeps a thread: not with COPPER_HANDOFF=0. */
bool can_hand_off(void);

/* ---- tokens.c: numbered values, each of which must arrive once ---- */

struct token {
    uint64_t number, check, filler;
};
struct cu_chan;
/* False: the round has had enough of them. */
bool token_new(struct token *t);
void token_arrives(const struct token *t);
/* One of the channels that somebody receives from until the end of the round. */
struct cu_chan *token_channel(uint64_t random);

/* ---- timers.c ---- */

/* Checks that something that began then lasted ns at least, and notes how late it ended. */
void has_lasted(int64_t before_ns, int64_t ns);

/* The longest that a sleep, or a timer, lasted beyond its time, of all rounds. */
int64_t latest_sleep_ns(void);

/* ---- watch.c: a thread that visits all coroutines without pause, reads their stacks, and sees to
 * it that nobody waits for ever ---- */

void watch_begin(void);
void watch_round(void); /* a round begins */
void watch_end(void);   /* and prints what it saw */

#endif
