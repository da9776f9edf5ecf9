/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the model of trace_model.h from within: what is known of each coroutine, P and thread,
 * and how they are found.
 *
 * Who does what: trace_model_tables.c keeps them; trace_model_write.h puts events down;
 * trace_model_states.h brings them into the state that an event needs; trace_model_events.c has one
 * function for each kind of record; trace_model_notes.h tells what goes beside the states: tasks,
 * regions, logs, labels, numbers; trace_model.c begins and ends generations.
 *
 * Invariants: a coroutine is on a thread, and a P is held by one, exactly while it is RUNNING or in
 * a SYSCALL; g->m->g is g then, and p->m->p is p. Sequence numbers begin again with the first
 * mention in a generation.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_TRACE_MODEL_INT_H
#define COPPER_TRACE_MODEL_INT_H

#include "trace_model.h"

#define COPPER_MODEL_P_MAX     COPPER_TRACE_SPARE_P
#define COPPER_MODEL_M_BUCKETS 1024u
#define COPPER_MODEL_RECENT    64u /* a power of two */

struct cu__model_region; /* trace_model_notes.c */
struct cu__model_slab;   /* trace_model_tables.c */

struct cu__model_g {
    int64_t id;
    uint64_t generation; /* in which it was last mentioned */
    uint64_t seq;
    uint64_t entry;        /* 0: unknown */
    struct cu__model_m *m; /* where it runs or sits in a call */
    const struct cu_labels *labels;
    uint64_t labelled;                 /* generation in which they were told */
    struct cu__model_region **regions; /* open ones, innermost last; NULL: never had any */
    unsigned nregions;
    uint32_t birth;           /* creation stack */
    uint8_t status;           /* enum cu__wire_g */
    bool is_guess;            /* status is what an inspection saw */
    struct cu__model_g *next; /* free list */
};

struct cu__model_p {
    uint64_t id, generation, seq;
    struct cu__model_m *m;
    enum cu__wire_p status;
};

struct cu__model_m {
    uint64_t tid;
    struct cu__model_p *p, *last_p; /* last_p: what it holds, or held last */
    struct cu__model_g *g;
    struct cu__wire_batch *batch; /* NULL: nothing written yet */
    int64_t guess_g, guess_p;     /* what an inspection saw running here; 0: nothing, or outdated */
    uint64_t lost;                /* to be told by a log line */
    struct cu__model_m *next;     /* in its bucket */
};

struct cu__model {
    struct cu__wire wire;
    struct cu__names names;
    uint64_t generation, first_generation;
    int64_t now_ns;
    struct cu__model_g **gs; /* open addressing, at most half full */
    uint32_t gs_size, gs_count;
    struct cu__model_g *recent[COPPER_MODEL_RECENT]; /* by id: found last; NULL: none */
    struct cu__model_g *free_gs;
    struct cu__model_slab *slabs;
    struct cu__model_p ps[COPPER_MODEL_P_MAX + 1]; /* the last is the spare one */
    struct cu__model_m *ms[COPPER_MODEL_M_BUCKETS];
    struct cu__model_m nobody; /* the stream of no thread */
    struct cu__model_m *self;  /* the writer's own thread: what nobody did happens there */
    struct cu__wire_batch tables, samples;
    uint64_t reasons[UINT8_MAX + 1];  /* ids of their texts in this generation; 0: not used */
    const struct cu__model_m *last_m; /* whose event was written last, and when, in units */
    uint64_t last_unit;
    struct cu__model_stats stats;
    uint64_t heap_bytes; /* to be told; 0: nothing */
    uint64_t procs;      /* 0: not known */
    uint64_t procs_told; /* generation in which that was told; 0: in none */
    bool is_failed;
};

/* ---- tables ---------------------------------------------------------------------------------- */

struct cu__model_g *cu__model_search_g(struct cu__model *model, int64_t id);
struct cu__model_g *cu__model_new_g(struct cu__model *model, int64_t id);
/* It ended, and may be another one from now on. */
void cu__model_forget_g(struct cu__model *model, struct cu__model_g *g);
/* Empty ones. False: out of memory. */
bool cu__model_tables_begin(struct cu__model *model);
void cu__model_tables_clear(struct cu__model *model);

/* NULL: not known. */
static inline struct cu__model_g *cu__model_find_g(struct cu__model *model, int64_t id)
{
    struct cu__model_g *g = model->recent[(uint64_t)id % COPPER_MODEL_RECENT];
    return g && g->id == id ? g : cu__model_search_g(model, id);
}

/* Known or new; NULL: out of memory, and the trace has failed. */
static inline struct cu__model_g *cu__model_get_g(struct cu__model *model, int64_t id)
{
    struct cu__model_g *g = cu__model_find_g(model, id);
    return g ? g : cu__model_new_g(model, id);
}

/* NULL: none. */
static inline struct cu__model_p *cu__model_get_p(struct cu__model *model, int64_t p)
{
    return p >= 0 && p < (int64_t)COPPER_MODEL_P_MAX ? &model->ps[p] : NULL;
}

static inline struct cu__model_p *cu__model_spare(struct cu__model *model)
{
    return &model->ps[COPPER_MODEL_P_MAX];
}

#endif
