/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what is told beside the states: tasks, regions and logs of the program; labels; that
 * records are missing; the size of the heap, and how many P there are.
 *
 * Design. The format lets only a coroutine that runs, or a thread with a P, say something. What the
 * program says is said there or dropped, and counted. What is known of the process waits for the
 * next event after which it can be told.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_MODEL_NOTES_H
#define COPPER_TRACE_MODEL_NOTES_H

#include "trace_model_int.h"

/* A task, region or log line of g. */
void cu__model_annotate(struct cu__model *model, struct cu__model_m *m,
                        const struct cu__trace_record *record, struct cu__model_g *g,
                        uint32_t stack);
/* Those that are open, when g ends. */
void cu__model_drop_regions(struct cu__model_g *g);

/* That records of m are missing. */
void cu__model_tell_lost(struct cu__model *model, struct cu__model_m *m);
void cu__model_write_labels(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g);
/* Those of g, which runs on m: once in a generation. */
static inline void cu__model_tell_labels(struct cu__model *model, struct cu__model_m *m,
                                         struct cu__model_g *g)
{
    if (g->labels && g->labelled != model->generation) {
        cu__model_write_labels(model, m, g);
    }
}

void cu__model_write_heap(struct cu__model *model, struct cu__model_m *m);
/* Only a thread with a P can. */
static inline void cu__model_tell_heap(struct cu__model *model, struct cu__model_m *m)
{
    if (model->heap_bytes && m->p && m->p->status == COPPER_WIRE_P_RUNNING) {
        cu__model_write_heap(model, m);
    }
}

void cu__model_write_procs(struct cu__model *model, struct cu__model_m *m, uint32_t stack);
/* Only a coroutine that runs can. */
static inline void cu__model_tell_procs(struct cu__model *model, struct cu__model_m *m,
                                        uint32_t stack)
{
    if (model->procs && model->procs_told != model->generation && m->p && m->g &&
        m->p->status == COPPER_WIRE_P_RUNNING && m->g->status == COPPER_WIRE_G_RUNNING) {
        cu__model_write_procs(model, m, stack);
    }
}

#endif
