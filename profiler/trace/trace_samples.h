/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: CPU samples on their way from the collector into the trace.
 *
 * Concurrency: any ordinary thread; one lock, held for copies only.
 */
#ifndef COPPER_TRACE_SAMPLES_H
#define COPPER_TRACE_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

struct cu__model;
struct cu__record;

/* A sample for the trace; from the collector. Dropped while nothing is recorded; lost where more
 * come between two rounds of the writer than there is room for. */
void cu__trace_cpu_sample(const struct cu__record *record, const uint64_t *frames, unsigned n,
                          bool is_cut);

uint64_t cu__trace_samples_lost(void);

/* For the writer thread: what came since the last call goes into the model. */
void cu__trace_samples_take(struct cu__model *model);
/* Forgets them, and gives the memory back. */
void cu__trace_samples_clear(void);
/* In a forked child. */
void cu__trace_samples_forget(void);

#endif
