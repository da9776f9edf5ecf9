/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see gather.h.
 */
#include "gather.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPPER_SAMPLE_LABELS_MAX 64

/* Ids of the window's objects in the whole; 0: not looked up yet. */
struct ids {
    uint32_t *mapping, *function, *location;
};

static bool make_ids(struct ids *ids, const struct cu_pprof *p)
{
    ids->mapping = calloc(cu_pprof_nmappings(p) + 1, sizeof *ids->mapping);
    ids->function = calloc(cu_pprof_nfunctions(p) + 1, sizeof *ids->function);
    ids->location = calloc(cu_pprof_nlocations(p) + 1, sizeof *ids->location);
    return ids->mapping && ids->function && ids->location;
}

static void free_ids(struct ids *ids)
{
    free(ids->mapping);
    free(ids->function);
    free(ids->location);
}

/* The whole's mappings are in the order of the windows', so the main executable stays the first. */
static void add_mappings(struct cu_pprof *whole, const struct cu_pprof *p, struct ids *ids)
{
    for (uint32_t id = 1; id <= cu_pprof_nmappings(p); id++) {
        struct cu_pprof_mapping m;
        cu_pprof_mapping_at(p, id, &m);
        ids->mapping[id] = cu_pprof_mapping(whole, &m);
    }
}

static uint32_t add_function(struct cu_pprof *whole, const struct cu_pprof *p, struct ids *ids,
                             uint32_t id)
{
    if (ids->function[id] == 0) {
        struct cu_pprof_function f;
        cu_pprof_function_at(p, id, &f);
        ids->function[id] = cu_pprof_function(whole, &f);
    }
    return ids->function[id];
}

/* 0 or -ENOMEM. */
static int add_location(struct cu_pprof *whole, const struct cu_pprof *p, struct ids *ids,
                        uint32_t id)
{
    const struct cu_pprof_line *lines;
    size_t nlines;
    uint32_t mapping;
    uint64_t address;
    if (ids->location[id] != 0) {
        return 0;
    }
    cu_pprof_location_at(p, id, &mapping, &address, &lines, &nlines);
    struct cu_pprof_line *copy = calloc(nlines + 1, sizeof *copy);
    if (!copy) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < nlines; i++) {
        copy[i] = lines[i];
        copy[i].function = add_function(whole, p, ids, lines[i].function);
    }
    ids->location[id] = cu_pprof_location(whole, ids->mapping[mapping], address, copy, nlines);
    free(copy);
    return 0;
}

static int add_sample(struct cu_pprof *whole, const struct cu_pprof *p, struct ids *ids, size_t i)
{
    struct cu_pprof_sample s;
    struct cu_pprof_label labels[COPPER_SAMPLE_LABELS_MAX];
    size_t nlabels = cu_pprof_sample_at(p, i, &s, labels, COPPER_SAMPLE_LABELS_MAX);
    s.labels = labels;
    s.nlabels = nlabels < COPPER_SAMPLE_LABELS_MAX ? nlabels : COPPER_SAMPLE_LABELS_MAX;
    uint32_t *locations = calloc(s.nlocations + 1, sizeof *locations);
    int err = locations ? 0 : -ENOMEM;
    for (size_t j = 0; !err && j < s.nlocations; j++) {
        err = add_location(whole, p, ids, s.locations[j]);
        locations[j] = ids->location[s.locations[j]];
    }
    if (!err) {
        s.locations = locations;
        err = cu_pprof_sample(whole, &s);
    }
    free(locations);
    return err;
}

static bool has_same_types(const struct cu_pprof *a, const struct cu_pprof *b)
{
    size_t n = cu_pprof_nsample_types(a);
    if (n != cu_pprof_nsample_types(b)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *type[2], *unit[2];
        cu_pprof_sample_type_at(a, i, &type[0], &unit[0]);
        cu_pprof_sample_type_at(b, i, &type[1], &unit[1]);
        if (strcmp(type[0], type[1]) != 0 || strcmp(unit[0], unit[1]) != 0) {
            return false;
        }
    }
    return true;
}

/* What the process remarks of itself; lines with a # are of one window. */
static void add_remarks(struct cu_pprof *whole, const struct cu_pprof *p)
{
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        if (cu_pprof_comment_at(p, i)[0] != '#') {
            cu_pprof_comment(whole, cu_pprof_comment_at(p, i));
        }
    }
}

static int begin(struct cu__gathered *g, const struct cu_pprof *p)
{
    int64_t start, duration, period;
    cu_pprof_times(p, &start, &duration, &period);
    g->profile = cu_pprof_new();
    if (!g->profile) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < cu_pprof_nsample_types(p); i++) {
        const char *type, *unit;
        cu_pprof_sample_type_at(p, i, &type, &unit);
        cu_pprof_sample_type(g->profile, type, unit);
    }
    const char *period_type, *period_unit;
    cu_pprof_period_type(p, &period_type, &period_unit);
    cu_pprof_period(g->profile, period_type, period_unit, period);
    g->start_wall_ns = start;
    add_remarks(g->profile, p);
    return 0;
}

/* The line by which a window tells what it could not see (profiler/cpu/cpu.c). */
static void add_losses(struct cu__gathered *g, const struct cu_pprof *p)
{
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        unsigned long long dropped_ns, dropped, cut_ns, sampled_ns;
        if (sscanf(cu_pprof_comment_at(p, i),
                   "# incomplete: %llu ns dropped in %llu samples, %llu ns cut of %llu ns",
                   &dropped_ns, &dropped, &cut_ns, &sampled_ns) == 4) {
            g->dropped_ns += dropped_ns;
            g->dropped += dropped;
            g->cut_ns += cut_ns;
            g->sampled_ns += sampled_ns;
        }
    }
}

int cu__gather(struct cu__gathered *g, const struct cu_pprof *window)
{
    int err = g->profile ? 0 : begin(g, window);
    if (err) {
        return err;
    }
    if (!has_same_types(g->profile, window)) {
        return -EINVAL;
    }
    struct ids ids;
    err = make_ids(&ids, window) ? 0 : -ENOMEM;
    if (!err) {
        add_mappings(g->profile, window, &ids);
    }
    for (size_t i = 0; !err && i < cu_pprof_nsamples(window); i++) {
        err = add_sample(g->profile, window, &ids, i);
    }
    free_ids(&ids);
    if (!err) {
        int64_t start, duration, period;
        cu_pprof_times(window, &start, &duration, &period);
        g->duration_ns += duration;
        g->windows++;
        add_losses(g, window);
    }
    return err;
}

static int64_t time_of(const struct cu_pprof *p)
{
    int64_t start;
    cu_pprof_times(p, &start, NULL, NULL);
    return start;
}

void cu__gather_begin_totals(struct cu__gathered *g, struct cu_pprof *base)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    g->base = base;
    g->latest_begin_wall_ns = base ? time_of(base) : t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void cu__gather_total(struct cu__gathered *g, struct cu_pprof *total)
{
    bool is_later = !g->latest || time_of(total) >= time_of(g->latest);
    cu_pprof_free(is_later ? g->latest : total);
    g->latest = is_later ? total : g->latest;
}

int cu__gather_end_totals(struct cu__gathered *g)
{
    int err = 0;
    int64_t end = g->latest ? time_of(g->latest) : 0; /* a merge takes the earlier time */
    if (g->latest && g->base) {
        cu_pprof_scale(g->base, -1);
        err = cu_pprof_merge(g->latest, g->base);
        cu_pprof_drop_zero(g->latest);
    }
    if (g->latest && !err) {
        cu_pprof_time(g->latest, g->latest_begin_wall_ns, end - g->latest_begin_wall_ns);
        err = cu__gather(g, g->latest);
    }
    cu_pprof_free(g->base);
    cu_pprof_free(g->latest);
    g->base = g->latest = NULL;
    return err;
}

void cu__gather_finish(struct cu__gathered *g, unsigned lost)
{
    char line[256];
    cu_pprof_time(g->profile, g->start_wall_ns, g->duration_ns);
    snprintf(line, sizeof line, "# recorded: %u windows, %u more are missing", g->windows, lost);
    cu_pprof_comment(g->profile, line);
    snprintf(line, sizeof line,
             "# incomplete: %llu ns dropped in %llu samples, %llu ns cut of %llu ns",
             (unsigned long long)g->dropped_ns, (unsigned long long)g->dropped,
             (unsigned long long)g->cut_ns, (unsigned long long)g->sampled_ns);
    cu_pprof_comment(g->profile, line);
}

void cu__gather_free(struct cu__gathered *g)
{
    cu_pprof_free(g->profile);
    cu_pprof_free(g->base);
    cu_pprof_free(g->latest);
    *g = (struct cu__gathered){0};
}
