/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the records of all threads, in one order, into the model.
 *
 * Design. A round looks at all streams, then applies every record up to a time, the earliest first.
 * The caller has read that time before: so everything that could have caused one of these records
 * is in sight (trace_record.h). Of records with equal times one that cannot be next waits for one
 * that can.
 *
 * Concurrency: one thread at a time, while the streams' threads write.
 */
#ifndef COPPER_TRACE_MERGE_H
#define COPPER_TRACE_MERGE_H

#include "trace_model.h"

#include <stdint.h>

struct cu__merge;

/* Into this model, which is borrowed. NULL: out of memory. */
struct cu__merge *cu__merge_new(struct cu__model *model);
void cu__merge_free(struct cu__merge *merge);
/* Everything that happened until then. How many more records were lost. */
uint64_t cu__merge_round(struct cu__merge *merge, int64_t until);
/* The streams of threads that are gone are put down and made free; looks once a second. */
void cu__merge_free_gone(struct cu__merge *merge, int64_t now_ns);
/* Gives the model new names, with the stacks that streams can still mention. */
void cu__merge_replace_names(struct cu__merge *merge);

#endif
