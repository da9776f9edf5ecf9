/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the hooks that count into delay_table.h: block, mutex, schedule and hog. When they are
 * attached is in delay_rates.h.
 *
 * Waits are sampled by duration as Go does: one of `rate` or longer always counts, a shorter one
 * with the probability duration/rate, and then for as much as it stands for: 1/probability. So the
 * expected totals are exact at every rate.
 *
 * Concurrency: hooks run on the threads that tell of events, and read rates as relaxed atomics.
 */
#ifndef COPPER_DELAY_HOOKS_H
#define COPPER_DELAY_HOOKS_H

#include "delay_stacks.h"

#include <copper/hooks.h>

#define COPPER_SLICE_NS    10000000 /* who holds a P longer is a hog */
#define COPPER_DELAY_P_MAX 256

/* Each kind has a table of its own, with the events that it needs and no other: what one kind costs
 * nobody pays for another, and turning one on or off changes nothing of what others see. */
extern const struct cu_hooks cu__delay_tools[COPPER_DELAY_KINDS];

/* Wakers that are no coroutine, in place of the entry function's address. */
enum cu__waker {
    COPPER_WAKER_UNKNOWN,
    COPPER_WAKER_TIMER,
    COPPER_WAKER_POLLER,
    COPPER_WAKER_THREAD,
    COPPER_WAKER_RUNTIME, /* it yielded, or lost its P */
    COPPER_WAKER_LAST = COPPER_WAKER_RUNTIME
};

/* Delays by cause, for /metrics: counts up to each of these bounds, all, and their sum. */
#define COPPER_DELAY_BUCKETS 16
extern const int64_t cu__delay_bounds_ns[COPPER_DELAY_BUCKETS];
struct cu__delay_histogram {
    _Atomic uint64_t buckets[COPPER_DELAY_BUCKETS + 1]; /* each by itself; the last: longer */
    _Atomic int64_t sum_ns;
};
extern struct cu__delay_histogram cu__delay_histograms[COPPER_CAUSE_COUNT];
extern _Atomic int64_t cu__delay_mutex_wait_ns; /* all that the hooks saw */

/* ---- delay_hog.c: see there ---- */

typedef void cu__delay_walk_here(struct cu__delay_stack *out);

void cu__hog_running(int64_t now, const struct cu_resume *resume);
void cu__hog_stopped(int64_t now, cu_id g, int p, cu__delay_walk_here *walk);
void cu__hog_handed_off(int64_t now, cu_id g, int p);
void cu__hog_preempted(cu_id g, int p, cu__delay_walk_here *walk);
void cu__hog_stolen(int thief, int victim);
void cu__hog_forget(void); /* what holds a P now is not known any more */

#endif
