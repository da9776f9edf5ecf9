/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the hooks that count into delay_table.h, attached while any of block, mutex, schedule
 * and hog is on: by a rate (C API, environment) or for a window (?seconds=).
 *
 * Waits are sampled by duration as Go does: one of `rate` or longer always counts, a shorter one
 * with the probability duration/rate, and then for as much as it stands for: 1/probability. So the
 * expected totals are exact at every rate.
 */
#ifndef COPPER_DELAY_HOOKS_H
#define COPPER_DELAY_HOOKS_H

#include "delay_table.h"

#include <copper/hooks.h>

#define COPPER_DELAY_WINDOW_RATE_NS 10000    /* of a window, unless a finer one is set */
#define COPPER_SLICE_NS             10000000 /* who holds a P longer is a hog */
#define COPPER_DELAY_P_MAX          256

/* Wakers that are no coroutine, in place of the entry function's address. */
enum cu__waker {
    COPPER_WAKER_UNKNOWN,
    COPPER_WAKER_TIMER,
    COPPER_WAKER_POLLER,
    COPPER_WAKER_THREAD,
    COPPER_WAKER_RUNTIME, /* it yielded, or lost its P */
    COPPER_WAKER_LAST = COPPER_WAKER_RUNTIME
};

/* Opens and closes a window of a kind. From plain threads. 0; -ENOTSUP without a runtime; -errno.
 */
int cu__delay_window_open(enum cu__delay_kind kind);
void cu__delay_window_close(enum cu__delay_kind kind);

/* The rate in force (of mutex: the fraction), 0: off; whether the budget made it coarser. */
int64_t cu__delay_rate(enum cu__delay_kind kind, bool *is_lowered);

/* Has a rate been set for it? Windows do not count. */
bool cu__delay_is_on(enum cu__delay_kind kind);

/* What the environment asks for; once, at start-up. */
void cu__delay_from_environment(void);

/* Finishes the stacks that hooks could not walk to their end. From plain threads. */
void cu__delay_tend(void);

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

struct cu__delay_stack {
    cu_frame frames[COPPER_DELAY_DEPTH];
    unsigned n;
    bool is_cut;
    const struct cu_labels *labels;
};
typedef void cu__delay_walk_here(struct cu__delay_stack *out);

void cu__hog_running(int64_t now, const struct cu_resume *resume);
void cu__hog_stopped(int64_t now, cu_id g, int p, cu__delay_walk_here *walk);
void cu__hog_handed_off(int64_t now, cu_id g, int p);
void cu__hog_preempted(cu_id g, int p, cu__delay_walk_here *walk);
void cu__hog_stolen(int thief, int victim);
void cu__hog_forget(void); /* what holds a P now is not known any more */

#endif
