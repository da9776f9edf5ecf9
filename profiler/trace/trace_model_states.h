/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how coroutines and P of the model come from one state into another, each step with the
 * event that says so.
 *
 * Design. There are two kinds. Steps expect the state from which the format allows them. The others
 * (make_..., displace, recall) expect nothing: they find the steps that lead to where something
 * must be, and count those that nobody told of (`mended`).
 *
 * What happens to a coroutine first says in which state it was; only the first generation of a file
 * may introduce it so, later ones must create it.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_MODEL_STATES_H
#define COPPER_TRACE_MODEL_STATES_H

#include "trace_model_write.h"

/* Nothing has happened to it yet in this trace. */
static inline bool cu__model_is_unknown(const struct cu__model_g *g)
{
    return g->status == COPPER_WIRE_G_NONE || g->is_guess;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static inline void cu__model_bind_g(struct cu__model_g *g, struct cu__model_m *m,
                                    enum cu__wire_g status)
{
    g->status = (uint8_t)status;
    g->m = m;
    m->g = g;
}

static inline void cu__model_unbind_g(struct cu__model_g *g, enum cu__wire_g status)
{
    g->m->g = NULL;
    g->m = NULL;
    g->status = (uint8_t)status;
}

/* Made by m, which runs on a P; by a thread that has none. */
void cu__model_create_g(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                        uint32_t stack);
void cu__model_create_aside(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g,
                            uint32_t stack);
/* Runnable, from running. */
void cu__model_stop_g(struct cu__model *model, struct cu__model_g *g, const char *reason,
                      uint32_t stack);
/* Into a call and back, with its P. */
void cu__model_begin_call(struct cu__model *model, struct cu__model_g *g, uint32_t stack);
void cu__model_end_call(struct cu__model *model, struct cu__model_g *g);
/* m gives its P up; a coroutine that runs there stops first. */
void cu__model_stop_p(struct cu__model *model, struct cu__model_m *m);
/* Its thread holds it no longer, by an event that the caller wrote. */
void cu__model_release_p(struct cu__model_p *p);

/* Runnable, from waiting, by m. */
static inline void cu__model_unblock(struct cu__model *model, struct cu__model_m *m,
                                     struct cu__model_g *g, uint32_t stack)
{
    cu__model_mention_g(model, g, m);
    COPPER_WRITE(model, m, GO_UNBLOCK, (uint64_t)g->id, ++g->seq, cu__model_stack_id(model, stack));
    g->status = COPPER_WIRE_G_RUNNABLE;
}

/* Running on m, which has a P and no coroutine. */
static inline void cu__model_start_g(struct cu__model *model, struct cu__model_m *m,
                                     struct cu__model_g *g)
{
    cu__model_mention_m(model, m);
    cu__model_mention_g(model, g, m);
    COPPER_WRITE(model, m, GO_START, (uint64_t)g->id, ++g->seq);
    cu__model_bind_g(g, m, COPPER_WIRE_G_RUNNING);
}

/* ---- from wherever it is --------------------------------------------------------------------- */

/* g, on a thread, has lost its P and leaves the thread. */
void cu__model_leave_without_p(struct cu__model *model, struct cu__model_g *g, uint32_t stack);
/* g is on a thread, and leaves it. */
void cu__model_displace(struct cu__model *model, struct cu__model_g *g);
void cu__model_make_runnable(struct cu__model *model, struct cu__model_g *g);
/* g runs on m, and has lost its P. */
void cu__model_make_running_aside(struct cu__model *model, struct cu__model_g *g,
                                  struct cu__model_m *m, uint32_t stack);
/* g, as it says, is the one that runs on m. */
void cu__model_recall(struct cu__model *model, struct cu__model_m *m, int64_t id);

void cu__model_reach_p(struct cu__model *model, struct cu__model_m *m, struct cu__model_p *p);
/* m holds p, which runs. */
static inline void cu__model_start_p(struct cu__model *model, struct cu__model_m *m,
                                     struct cu__model_p *p)
{
    if (m->p != p || p->status != COPPER_WIRE_P_RUNNING) {
        cu__model_reach_p(model, m, p);
    }
}

void cu__model_reach_waiting(struct cu__model *model, struct cu__model_g *g);
static inline void cu__model_make_waiting(struct cu__model *model, struct cu__model_g *g)
{
    if (g->status != COPPER_WIRE_G_WAITING || g->is_guess) {
        cu__model_reach_waiting(model, g);
    }
}

bool cu__model_reach_running(struct cu__model *model, struct cu__model_g *g, struct cu__model_m *m,
                             struct cu__model_p *p);
/* g runs on m with p; false: it does not and cannot. */
static inline bool cu__model_make_running(struct cu__model *model, struct cu__model_g *g,
                                          struct cu__model_m *m, struct cu__model_p *p)
{
    bool is_so = p && g->status == COPPER_WIRE_G_RUNNING && g->m == m && m->p == p;
    return is_so || cu__model_reach_running(model, g, m, p);
}

#endif
