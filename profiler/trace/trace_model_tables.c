/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model_int.h: where coroutines, P and threads of the model are kept.
 *
 * Design. Coroutines come and go all the time: they lie in slabs, and are found by id in a table
 * with open addressing that is at most half full, before which a small direct-mapped one remembers
 * those found last. One that ended leaves no gap behind. Threads stay as long as the model.
 *
 * Concurrency: one thread at a time.
 */
#include "trace_model_notes.h"

#include <stdlib.h>

#define SLAB    256u
#define GS_SIZE 4096u /* at first; a power of two */

struct cu__model_slab {
    struct cu__model_slab *next;
    struct cu__model_g gs[SLAB];
};

static uint32_t home_of(const struct cu__model *model, int64_t id)
{
    return (uint32_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (model->gs_size - 1);
}

struct cu__model_g *cu__model_search_g(struct cu__model *model, int64_t id)
{
    for (uint32_t at = home_of(model, id); model->gs[at]; at = (at + 1) & (model->gs_size - 1)) {
        if (model->gs[at]->id == id) {
            model->recent[(uint64_t)id % COPPER_MODEL_RECENT] = model->gs[at];
            return model->gs[at];
        }
    }
    return NULL;
}

static void insert_g(struct cu__model *model, struct cu__model_g *g)
{
    uint32_t at = home_of(model, g->id);
    while (model->gs[at]) {
        at = (at + 1) & (model->gs_size - 1);
    }
    model->gs[at] = g;
}

static bool grow_gs(struct cu__model *model)
{
    struct cu__model_g **old = model->gs;
    uint32_t old_size = model->gs_size;
    struct cu__model_g **larger = calloc((size_t)old_size * 2, sizeof(*larger));
    if (!larger) {
        return false;
    }
    model->gs = larger;
    model->gs_size = old_size * 2;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i]) {
            insert_g(model, old[i]);
        }
    }
    free(old);
    return true;
}

static struct cu__model_g *take_g(struct cu__model *model)
{
    if (!model->free_gs) {
        struct cu__model_slab *slab = malloc(sizeof(*slab));
        if (!slab) {
            return NULL;
        }
        slab->next = model->slabs;
        model->slabs = slab;
        for (unsigned i = 0; i < SLAB; i++) {
            slab->gs[i].regions = NULL;
            slab->gs[i].nregions = 0;
            slab->gs[i].next = model->free_gs;
            model->free_gs = &slab->gs[i];
        }
    }
    struct cu__model_g *g = model->free_gs;
    model->free_gs = g->next;
    return g;
}

struct cu__model_g *cu__model_new_g(struct cu__model *model, int64_t id)
{
    bool has_room = model->gs_count * 2 < model->gs_size || grow_gs(model);
    struct cu__model_g *g = has_room ? take_g(model) : NULL;
    if (!g) {
        model->is_failed = true;
        return NULL;
    }
    *g = (struct cu__model_g){.id = id, .birth = COPPER_INTERN_NONE};
    model->gs_count++;
    insert_g(model, g);
    return g;
}

/* Takes it out, and closes the gap. */
void cu__model_forget_g(struct cu__model *model, struct cu__model_g *g)
{
    uint32_t mask = model->gs_size - 1, hole = home_of(model, g->id);
    if (model->recent[(uint64_t)g->id % COPPER_MODEL_RECENT] == g) {
        model->recent[(uint64_t)g->id % COPPER_MODEL_RECENT] = NULL;
    }
    while (model->gs[hole] != g) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t at = (hole + 1) & mask; model->gs[at]; at = (at + 1) & mask) {
        uint32_t home = home_of(model, model->gs[at]->id);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            model->gs[hole] = model->gs[at];
            hole = at;
        }
    }
    model->gs[hole] = NULL;
    model->gs_count--;
    cu__model_drop_regions(g);
    g->next = model->free_gs;
    model->free_gs = g;
}

struct cu__model_m *cu__model_thread(struct cu__model *model, int32_t tid)
{
    struct cu__model_m **bucket = &model->ms[(uint32_t)tid % COPPER_MODEL_M_BUCKETS];
    for (struct cu__model_m *m = *bucket; m; m = m->next) {
        if (m->tid == (uint64_t)tid) {
            return m;
        }
    }
    struct cu__model_m *m = calloc(1, sizeof(*m));
    if (!m) {
        model->is_failed = true;
        return NULL;
    }
    m->tid = (uint64_t)tid;
    m->next = *bucket;
    *bucket = m;
    return m;
}

bool cu__model_tables_begin(struct cu__model *model)
{
    model->gs_size = GS_SIZE;
    model->gs = calloc(model->gs_size, sizeof(*model->gs));
    for (uint32_t i = 0; i < COPPER_MODEL_P_MAX; i++) {
        model->ps[i].id = i;
    }
    cu__model_spare(model)->id = COPPER_TRACE_SPARE_P;
    return model->gs != NULL;
}

static void free_threads(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        for (struct cu__model_m *m = model->ms[i], *next; m; m = next) {
            next = m->next;
            free(m->batch);
            free(m);
        }
    }
    free(model->nobody.batch);
}

static void free_gs(struct cu__model *model)
{
    for (uint32_t i = 0; model->gs && i < model->gs_size; i++) {
        if (model->gs[i]) {
            cu__model_drop_regions(model->gs[i]);
        }
    }
    for (struct cu__model_slab *slab = model->slabs, *next; slab; slab = next) {
        next = slab->next;
        free(slab);
    }
    free(model->gs);
}

void cu__model_tables_clear(struct cu__model *model)
{
    free_threads(model);
    free_gs(model);
}
