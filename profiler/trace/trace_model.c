/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model.h: the model's life, what it is told beside records, and the beginnings
 * and ends of generations. What a record does is in trace_model_events.c; trace_model_int.h names
 * the other parts.
 */
#include "pages.h"
#include "trace_model_states.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------------ */

struct cu__model *cu__model_new(void)
{
    struct cu__model *model = calloc(1, sizeof(*model));
    if (!model) {
        return NULL;
    }
    bool has_tables = cu__model_tables_begin(model);
    model->self = cu__model_thread(model, (int32_t)syscall(SYS_gettid));
    if (!has_tables || !model->self) {
        cu__model_free(model);
        return NULL;
    }
    model->nobody.tid = COPPER_WIRE_NO_THREAD;
    model->tables.thread = model->samples.thread = COPPER_WIRE_NO_THREAD;
    return model;
}

void cu__model_free(struct cu__model *model)
{
    if (!model) {
        return;
    }
    cu__model_tables_clear(model);
    cu__names_clear(&model->names);
    cu__wire_clear(&model->wire);
    free(model);
}

/* ---- what an inspection and the CPU profile saw ---------------------------------------------- */

void cu__model_inspected(struct cu__model *model, const struct cu_g_info *info)
{
    struct cu__model_g *g = cu__model_get_g(model, info->id);
    if (!g) {
        return;
    }
    g->entry = (uint64_t)(uintptr_t)info->entry;
    g->labels = info->labels;
    if (info->state == COPPER_G_RUNNABLE || info->state == COPPER_G_WAITING) {
        g->status =
            info->state == COPPER_G_WAITING ? COPPER_WIRE_G_WAITING : COPPER_WIRE_G_RUNNABLE;
        g->is_guess = true;
        return;
    }
    struct cu__model_m *m = info->tid ? cu__model_thread(model, info->tid) : NULL;
    if (m) {
        m->guess_g = info->id;
        m->guess_p = info->p;
    }
}

void cu__model_sample(struct cu__model *model, int64_t now_ns, int32_t tid, int64_t g,
                      uint32_t stack)
{
    /* samples come late, when the thread may hold another P, or none */
    struct cu__model_m *m = cu__model_thread(model, tid);
    unsigned char entry[64] = {COPPER_WIRE_CPU_SAMPLE};
    size_t n = 1;
    if (!m || now_ns < 0) {
        return;
    }
    n += cu__varint(entry + n, cu__wire_time(now_ns));
    n += cu__varint(entry + n, (uint64_t)(uint32_t)tid);
    n += cu__varint(entry + n, m->last_p ? m->last_p->id : UINT64_MAX);
    n += cu__varint(entry + n, (uint64_t)g);
    n += cu__varint(entry + n, cu__model_stack_id(model, stack));
    cu__wire_entry(&model->wire, &model->samples, COPPER_WIRE_CPU_SAMPLES, now_ns, entry, n);
}

/* ---- generations ----------------------------------------------------------------------------- */

void cu__model_begin(struct cu__model *model, uint64_t generation, int64_t now_ns)
{
    model->generation = generation;
    model->first_generation = model->first_generation ? model->first_generation : generation;
    model->now_ns = now_ns;
    memset(model->reasons, 0, sizeof(model->reasons));
    cu__wire_begin(&model->wire, generation, now_ns);
}

/* Coroutines to which nothing has happened yet are as the inspection saw them. */
static void believe_guesses(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        for (struct cu__model_m *m = model->ms[i]; m; m = m->next) {
            cu__model_recall(model, m, m->guess_g);
            m->guess_g = 0;
        }
    }
    for (uint32_t i = 0; i < model->gs_size; i++) {
        struct cu__model_g *g = model->gs[i];
        if (g && cu__model_is_unknown(g)) {
            g->is_guess = false;
            g->status = g->status == COPPER_WIRE_G_NONE ? COPPER_WIRE_G_RUNNABLE : g->status;
        }
    }
}

static void mention_all(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_P_MAX; i++) {
        if (model->ps[i].status != COPPER_WIRE_P_NONE) {
            cu__model_mention_p(model, &model->ps[i], &model->nobody);
        }
    }
    for (uint32_t i = 0; i < model->gs_size; i++) {
        if (model->gs[i]) {
            cu__model_mention_g(model, model->gs[i], &model->nobody);
        }
    }
}

/* A generation without any event is refused. */
static void mention_spare(struct cu__model *model)
{
    struct cu__model_p *spare = cu__model_spare(model);
    if (spare->status == COPPER_WIRE_P_NONE) {
        spare->status = COPPER_WIRE_P_IDLE;
    }
    cu__model_mention_p(model, spare, &model->nobody);
}

/* Threads that hold nothing may never come again. */
static void flush_threads(struct cu__model *model)
{
    for (uint32_t i = 0; i < COPPER_MODEL_M_BUCKETS; i++) {
        for (struct cu__model_m *m = model->ms[i]; m; m = m->next) {
            if (m->batch) {
                cu__wire_flush(&model->wire, m->batch);
            }
        }
    }
    if (model->nobody.batch) {
        cu__wire_flush(&model->wire, model->nobody.batch);
    }
}

unsigned char *cu__model_end(struct cu__model *model, int64_t now_ns, bool with_all, size_t *n)
{
    model->now_ns = now_ns;
    if (model->generation == model->first_generation) {
        believe_guesses(model);
        with_all = true;
    }
    if (with_all) {
        mention_all(model);
    }
    if (model->wire.n < COPPER_WIRE_BATCH_MAX) {
        mention_spare(model);
    }
    flush_threads(model);
    cu__wire_flush(&model->wire, &model->samples);
    cu__names_write(&model->names, &model->wire, &model->tables, now_ns);
    cu__wire_strings(&model->wire, &model->tables, now_ns);
    model->is_failed |= model->names.is_failed;
    unsigned char *bytes = cu__wire_take(&model->wire, n);
    if (model->is_failed) {
        cu__pages_unmap(bytes, *n);
        return NULL;
    }
    return bytes;
}

/* ---- looking --------------------------------------------------------------------------------- */

size_t cu__model_bytes(const struct cu__model *model)
{
    return model->wire.n;
}

struct cu__names *cu__model_names(struct cu__model *model)
{
    return &model->names;
}

uint64_t cu__model_entry(struct cu__model *model, int64_t id)
{
    const struct cu__model_g *g = id ? cu__model_find_g(model, id) : NULL;
    return g ? g->entry : 0;
}

void cu__model_forget_births(struct cu__model *model)
{
    for (uint32_t i = 0; i < model->gs_size; i++) {
        if (model->gs[i]) {
            model->gs[i]->birth = COPPER_INTERN_NONE;
        }
    }
}

void cu__model_stats(const struct cu__model *model, struct cu__model_stats *out)
{
    *out = model->stats;
}
