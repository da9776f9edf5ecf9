/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how the model puts an event down: its time, its thread's batch, and the introduction of
 * what it mentions.
 *
 * Design. In each generation a coroutine or P is introduced by its state when it is first
 * mentioned, in the stream of the thread that it is on. What happens on a thread mentions what the
 * thread holds, so whoever writes mentions that first.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_MODEL_WRITE_H
#define COPPER_TRACE_MODEL_WRITE_H

#include "trace_model_int.h"

#include <string.h>

/* False: out of memory. */
bool cu__model_add_batch(struct cu__model *model, struct cu__model_m *m);
void cu__model_introduce_p(struct cu__model *model, struct cu__model_p *p,
                           struct cu__model_m *here);
void cu__model_introduce_g(struct cu__model *model, struct cu__model_g *g,
                           struct cu__model_m *here);

/* Events of different threads never have the same time: Go's reader, when the event that it looks
 * at first must wait, does not try all others of that time where there are many threads. */
static inline int64_t cu__model_time(struct cu__model *model, const struct cu__model_m *m)
{
    uint64_t unit = cu__wire_time(model->now_ns);
    uint64_t least = model->last_unit + (m != model->last_m);
    model->last_m = m;
    model->last_unit = unit > least ? unit : least;
    return (int64_t)(model->last_unit * COPPER_WIRE_UNIT_NS);
}

static inline void cu__model_write(struct cu__model *model, struct cu__model_m *m,
                                   enum cu__wire_type type, const uint64_t *args, unsigned nargs)
{
    if (!m->batch && !cu__model_add_batch(model, m)) {
        return;
    }
    cu__wire_event(&model->wire, m->batch, cu__model_time(model, m), type, args, nargs);
}

/* COPPER_WRITE(model, m, GO_START, arguments...); BARE: without any. */
#define COPPER_WRITE(model, m, type, ...)                                                          \
    cu__model_write(model, m, COPPER_WIRE_##type, (const uint64_t[]){__VA_ARGS__},                 \
                    sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
#define COPPER_WRITE_BARE(model, m, type) cu__model_write(model, m, COPPER_WIRE_##type, NULL, 0)

/* The id of a text, and of a stack, in this generation. */
static inline uint64_t cu__model_string_id(struct cu__model *model, const char *text)
{
    return cu__wire_string(&model->wire, text, strlen(text));
}

static inline uint64_t cu__model_stack_id(struct cu__model *model, uint32_t stack)
{
    return cu__names_id(&model->names, stack);
}

/* here: who writes it down where it is on no thread. */
static inline void cu__model_mention_p(struct cu__model *model, struct cu__model_p *p,
                                       struct cu__model_m *here)
{
    if (p->generation != model->generation) {
        cu__model_introduce_p(model, p, here);
    }
}

static inline void cu__model_mention_g(struct cu__model *model, struct cu__model_g *g,
                                       struct cu__model_m *here)
{
    if (g->generation != model->generation) {
        cu__model_introduce_g(model, g, here);
    }
}

static inline void cu__model_mention_m(struct cu__model *model, struct cu__model_m *m)
{
    if (m->p) {
        cu__model_mention_p(model, m->p, m);
    }
    if (m->g) {
        cu__model_mention_g(model, m->g, m);
    }
}

#endif
