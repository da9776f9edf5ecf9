/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_model_notes.h.
 */
#include "trace_model_notes.h"

#include "trace_model_states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REGIONS_MAX 64u

struct cu__model_region {
    uint64_t task;
    size_t n;
    char name[];
};

/* ---- tasks, regions, logs -------------------------------------------------------------------- */

void cu__model_drop_regions(struct cu__model_g *g)
{
    for (unsigned i = 0; i < g->nregions; i++) {
        free(g->regions[i]);
    }
    free(g->regions);
    g->regions = NULL;
    g->nregions = 0;
}

static void write_region_end(struct cu__model *model, struct cu__model_g *g, uint64_t stack)
{
    struct cu__model_region *region = g->regions[--g->nregions];
    COPPER_WRITE(model, g->m, REGION_END, region->task,
                 cu__wire_string(&model->wire, region->name, region->n), stack);
    free(region);
}

static void on_region_begin(struct cu__model *model, struct cu__model_g *g,
                            const struct cu__trace_record *r, uint64_t stack)
{
    size_t n = (size_t)r->args[1];
    if (!g->regions) {
        g->regions = calloc(REGIONS_MAX, sizeof(*g->regions));
    }
    struct cu__model_region *region =
        g->nregions < REGIONS_MAX ? malloc(sizeof(*region) + n) : NULL;
    if (!g->regions || !region) {
        free(region);
        model->stats.dropped++;
        return;
    }
    region->task = r->args[0];
    region->n = n;
    memcpy(region->name, r->args + 2, n);
    g->regions[g->nregions++] = region;
    COPPER_WRITE(model, g->m, REGION_BEGIN, region->task,
                 cu__wire_string(&model->wire, region->name, n), stack);
}

/* Readers insist on nesting: regions within the one that ends are ended first, and an end without a
 * beginning counts only where nothing is open (it began before the trace). */
static void on_region_end(struct cu__model *model, struct cu__model_g *g,
                          const struct cu__trace_record *r, uint64_t stack)
{
    size_t n = (size_t)r->args[1];
    unsigned at = g->nregions;
    while (at > 0 && !(g->regions[at - 1]->task == r->args[0] && g->regions[at - 1]->n == n &&
                       memcmp(g->regions[at - 1]->name, r->args + 2, n) == 0)) {
        at--;
    }
    if (at == 0 && g->nregions > 0) {
        model->stats.dropped++;
        return;
    }
    if (at == 0) {
        COPPER_WRITE(model, g->m, REGION_END, r->args[0],
                     cu__wire_string(&model->wire, (const char *)(r->args + 2), n), stack);
        return;
    }
    while (g->nregions >= at) {
        write_region_end(model, g, stack);
    }
}

static void write_annotation(struct cu__model *model, struct cu__model_m *m,
                             const struct cu__trace_record *r, struct cu__model_g *g,
                             uint32_t number)
{
    cu__model_mention_m(model, m);
    uint64_t stack = cu__model_stack_id(model, number);
    const char *text = (const char *)(r->args + 2);
    switch (r->kind) {
    case COPPER_TRACE_TASK_BEGIN:
        COPPER_WRITE(model, m, TASK_BEGIN, r->args[0], r->args[1],
                     cu__wire_string(&model->wire, (const char *)(r->args + 3), (size_t)r->args[2]),
                     stack);
        break;
    case COPPER_TRACE_TASK_END:
        COPPER_WRITE(model, m, TASK_END, r->args[0], stack);
        break;
    case COPPER_TRACE_REGION_BEGIN:
        on_region_begin(model, g, r, stack);
        break;
    case COPPER_TRACE_REGION_END:
        on_region_end(model, g, r, stack);
        break;
    default: {
        size_t key = (size_t)(r->args[1] & 0xffff), value = (size_t)(r->args[1] >> 16);
        COPPER_WRITE(model, m, LOG, r->args[0], cu__wire_string(&model->wire, text, key),
                     cu__wire_string(&model->wire, text + key, value), stack);
    }
    }
}

/* Only one that runs on a P can say something: in a call, and where it lost its P, it is made to
 * run for that. */
void cu__model_annotate(struct cu__model *model, struct cu__model_m *m,
                        const struct cu__trace_record *r, struct cu__model_g *g, uint32_t stack)
{
    cu__model_recall(model, m, r->g);
    bool is_in_call = m->g == g && g->status == COPPER_WIRE_G_SYSCALL, has_p = m->p != NULL;
    if (is_in_call && has_p) {
        cu__model_end_call(model, g);
    } else if (is_in_call) {
        cu__model_make_running_aside(model, g, m, COPPER_INTERN_NONE);
    }
    if (m->g != g || g->status != COPPER_WIRE_G_RUNNING || !m->p) {
        model->stats.dropped++;
        return;
    }
    write_annotation(model, m, r, g, stack);
    if (is_in_call) {
        cu__model_begin_call(model, g, COPPER_INTERN_NONE);
    }
    if (is_in_call && !has_p) {
        cu__model_stop_p(model, m);
    }
}

/* ---- what is known of a coroutine, a thread, the process ---------------------------------------
 */

void cu__model_write_labels(struct cu__model *model, struct cu__model_m *m, struct cu__model_g *g)
{
    char text[COPPER_WIRE_TEXT_MAX];
    size_t n = 0, count = cu_labels_count(g->labels);
    for (size_t i = 0; i < count && n < sizeof(text); i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%s", i ? "," : "",
                              cu_labels_key(g->labels, i), cu_labels_value(g->labels, i));
    }
    g->labelled = model->generation;
    if (n) {
        COPPER_WRITE(model, m, GO_LABEL,
                     cu__wire_string(&model->wire, text, strnlen(text, sizeof(text))));
    }
}

void cu__model_tell_lost(struct cu__model *model, struct cu__model_m *m)
{
    char text[64];
    snprintf(text, sizeof(text), "%llu events of this thread lost", (unsigned long long)m->lost);
    m->lost = 0;
    COPPER_WRITE(model, m, LOG, 0, cu__model_string_id(model, "copper"),
                 cu__model_string_id(model, text), 0);
}

void cu__model_lost(struct cu__model *model, struct cu__model_m *m, uint64_t count)
{
    (void)model;
    m->lost += count;
}

void cu__model_heap(struct cu__model *model, uint64_t bytes)
{
    model->heap_bytes = bytes;
}

void cu__model_write_heap(struct cu__model *model, struct cu__model_m *m)
{
    cu__model_mention_m(model, m);
    COPPER_WRITE(model, m, HEAP_ALLOC, model->heap_bytes);
    model->heap_bytes = 0;
}

void cu__model_procs(struct cu__model *model, uint64_t procs)
{
    model->procs = procs;
    model->procs_told = 0;
}

void cu__model_write_procs(struct cu__model *model, struct cu__model_m *m, uint32_t stack)
{
    cu__model_mention_m(model, m);
    COPPER_WRITE(model, m, PROCS_CHANGE, model->procs, cu__model_stack_id(model, stack));
    model->procs_told = model->generation;
}
