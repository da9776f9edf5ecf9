/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: events of the runtime, in an order that respects cause and effect, to a valid trace.
 *
 * Design. The model holds what a reader of the trace will believe: the state of every coroutine, P
 * and thread, and the sequence numbers. An event is written only after the model was brought into
 * the state that the event needs. In a whole recording nothing has to be done for that. Where
 * events are missing (the trace began in the middle, or records were lost) the transitions between
 * are made up, and counted: what is written is valid by construction.
 *
 * A generation is cut between any two events. In each one a coroutine or P is introduced by its
 * state when it is first mentioned; in the first generation of a recording that state follows from
 * what happens to it first, or from what an inspection saw when nothing does.
 *
 * How Go's states are used: a coroutine whose P was taken away is in a system call until it gets
 * another; where it spawns, parks or ends without one, and where a plain thread spawns, that
 * happens on one more P, which the thread holds just for that. A hand-off may be told after what
 * the thread that lost its P told: then its own word was enough.
 *
 * From within it is in parts: trace_model_int.h.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_MODEL_H
#define COPPER_TRACE_MODEL_H

#include "trace_names.h"
#include "trace_record.h"

struct cu__model;
struct cu__model_m; /* a thread */

/* The number of the P that does not exist: above those of the runtime, whose number may grow. */
#define COPPER_TRACE_SPARE_P 1024u

/* NULL: out of memory. */
struct cu__model *cu__model_new(void);
void cu__model_free(struct cu__model *model);

/* The thread with this id, known or new. NULL: out of memory. */
struct cu__model_m *cu__model_thread(struct cu__model *model, int32_t tid);
/* It has ended: what it wrote is put down, and its buffer given back. */
void cu__model_thread_gone(struct cu__model *model, struct cu__model_m *m);
/* Something a look at the runtime said of a coroutine; before the first event is applied. */
void cu__model_inspected(struct cu__model *model, const struct cu_g_info *g);

void cu__model_begin(struct cu__model *model, uint64_t generation, int64_t now_ns);
/* Could this be the next event, or must that of another thread come first? */
bool cu__model_can(struct cu__model *model, struct cu__model_m *m,
                   const struct cu__trace_record *record);
/* stack: its number in cu__model_names. */
void cu__model_apply(struct cu__model *model, struct cu__model_m *m,
                     const struct cu__trace_record *record, uint32_t stack);
/* Records of this thread are missing from here on. */
void cu__model_lost(struct cu__model *model, struct cu__model_m *m, uint64_t count);
/* How many P there are, to be told in each generation, until an event says otherwise. */
void cu__model_procs(struct cu__model *model, uint64_t procs);
/* Bytes of the heap in use, to be told with the next event that has a place for it. */
void cu__model_heap(struct cu__model *model, uint64_t bytes);
/* A sample of the CPU profile. g 0: none. */
void cu__model_sample(struct cu__model *model, int64_t now_ns, int32_t tid, int64_t g,
                      uint32_t stack);
/* Ends the generation: its bytes, owned by the caller; NULL: out of memory. with_all: everything
 * that exists is mentioned, so that a file may begin with this generation. */
unsigned char *cu__model_end(struct cu__model *model, int64_t now_ns, bool with_all, size_t *n);

/* Bytes of the generation so far, without tables. */
size_t cu__model_bytes(const struct cu__model *model);
struct cu__names *cu__model_names(struct cu__model *model);
/* The function of a coroutine, 0: unknown. */
uint64_t cu__model_entry(struct cu__model *model, int64_t g);
/* Creation stacks are forgotten; called when the names are replaced. */
void cu__model_forget_births(struct cu__model *model);

struct cu__model_stats {
    uint64_t applied; /* events */
    uint64_t mended;  /* states that had to be made up */
    uint64_t dropped; /* tasks, regions and logs that had no place */
};
void cu__model_stats(const struct cu__model *model, struct cu__model_stats *out);

#endif
