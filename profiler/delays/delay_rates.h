/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: when delays are counted, and how finely: rates set by the C API or the environment, and
 * windows (?seconds=). The hooks of a kind are attached while it has a rate.
 *
 * The rates of windows are ours, and grow coarser while profiling costs more than COPPER_BUDGET. A
 * wait is scaled by the rate it was drawn with, so totals stay right when it changes.
 *
 * Concurrency: from plain threads; one lock, which no hook takes. After fork the child has no
 * thread that tends, and starts it with its next window.
 */
#ifndef COPPER_DELAY_RATES_H
#define COPPER_DELAY_RATES_H

#include "delay_table.h"

/* In force, for the hooks; 0: off. mutex: a fraction. */
extern _Atomic int64_t cu__delay_rates[COPPER_DELAY_KINDS];
static inline int64_t cu__delay_rate_now(enum cu__delay_kind kind)
{
    return atomic_load_explicit(&cu__delay_rates[kind], memory_order_relaxed);
}

/* At most: sums of sampled waits fit an int64_t many times. */
#define COPPER_DELAY_RATE_MAX_NS (INT64_C(3600) * 1000000000)

/* Opens and closes a window of a kind. 0; -ENOTSUP without a runtime; -errno. */
int cu__delay_window_open(enum cu__delay_kind kind);
void cu__delay_window_close(enum cu__delay_kind kind);

/* The rate in force (of mutex: the fraction), 0: off; whether the budget made it coarser. */
int64_t cu__delay_rate(enum cu__delay_kind kind, bool *is_lowered);

/* Has a rate been set for it? Windows do not count. */
bool cu__delay_is_on(enum cu__delay_kind kind);

/* What the environment asks for; once, at start-up. */
void cu__delay_from_environment(void);

#endif
