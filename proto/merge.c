/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: add one profile to another (cu_pprof_merge).
 *
 * Design: everything of the source is interned in the destination, tables first; an array per table
 * says what became of each id. Only what samples can refer to is carried over, no stray string.
 *
 * Invariants: a profile may be merged into itself (its values double): then nothing new is
 * interned, so no table moves while it is read.
 */
#include "profile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* New ids by old ids; entry 0 of each is 0, "none". */
struct ids {
    uint32_t *mappings, *functions, *locations, *labels;
    uint32_t *stack; /* scratch: translated ids of one sample */
    size_t stack_cap;
    struct cu_pprof_line *lines; /* scratch: lines of one location */
    size_t lines_cap;
};

static uint32_t carry_string(struct cu_pprof *dst, const struct cu_pprof *src, uint32_t string)
{
    return string ? cu__string(dst, cu__text(src, string)) : 0;
}

static bool is_same_type(const struct cu_pprof *dst, const struct cu__value_type *a,
                         const struct cu_pprof *src, const struct cu__value_type *b)
{
    return strcmp(cu__text(dst, a->type), cu__text(src, b->type)) == 0 &&
           strcmp(cu__text(dst, a->unit), cu__text(src, b->unit)) == 0;
}

static bool is_blank(const struct cu_pprof *p)
{
    return p->ntypes == 0 && p->nsamples == 0;
}

static bool has_period_type(const struct cu_pprof *p)
{
    return p->period_type.type || p->period_type.unit;
}

static int check_types(const struct cu_pprof *dst, const struct cu_pprof *src)
{
    if (has_period_type(dst) && has_period_type(src) &&
        !is_same_type(dst, &dst->period_type, src, &src->period_type))
        return -EINVAL;
    if (is_blank(dst))
        return 0;
    if (dst->ntypes != src->ntypes)
        return -EINVAL;
    for (size_t i = 0; i < src->ntypes; i++)
        if (!is_same_type(dst, &dst->types[i], src, &src->types[i]))
            return -EINVAL;
    return 0;
}

static void carry_comments(struct cu_pprof *dst, const struct cu_pprof *src)
{
    for (size_t i = 0, n = src->ncomments; i < n; i++) {
        uint32_t text = carry_string(dst, src, src->comments[i]);
        size_t k = 0;
        while (k < dst->ncomments && dst->comments[k] != text)
            k++;
        if (k == dst->ncomments)
            cu__add_comment(dst, text);
    }
}

static void carry_header(struct cu_pprof *dst, const struct cu_pprof *src)
{
    if (is_blank(dst))
        for (size_t i = 0; i < src->ntypes; i++)
            cu__add_type(dst, carry_string(dst, src, src->types[i].type),
                         carry_string(dst, src, src->types[i].unit));
    if (!has_period_type(dst)) {
        dst->period_type.type = carry_string(dst, src, src->period_type.type);
        dst->period_type.unit = carry_string(dst, src, src->period_type.unit);
    }
    if (src->period > dst->period)
        dst->period = src->period;
    /* 0 is "unknown", not the earliest of all times */
    if (src->time_wall_ns && (!dst->time_wall_ns || src->time_wall_ns < dst->time_wall_ns))
        dst->time_wall_ns = src->time_wall_ns;
    if (__builtin_add_overflow(dst->duration_ns, src->duration_ns, &dst->duration_ns))
        dst->duration_ns = INT64_MAX;
    if (!dst->drop_frames)
        dst->drop_frames = carry_string(dst, src, src->drop_frames);
    if (!dst->keep_frames)
        dst->keep_frames = carry_string(dst, src, src->keep_frames);
    if (!dst->default_sample_type)
        dst->default_sample_type = carry_string(dst, src, src->default_sample_type);
    if (!dst->doc_url)
        dst->doc_url = carry_string(dst, src, src->doc_url);
    carry_comments(dst, src);
}

static void carry_mappings(struct cu_pprof *dst, const struct cu_pprof *src, uint32_t *ids)
{
    for (size_t i = 0, n = src->nmappings; i < n; i++) {
        struct cu__mapping m = src->mappings[i];
        m.filename = carry_string(dst, src, m.filename);
        m.build_id = carry_string(dst, src, m.build_id);
        ids[i + 1] = cu__intern_mapping(dst, &m);
    }
}

static void carry_functions(struct cu_pprof *dst, const struct cu_pprof *src, uint32_t *ids)
{
    for (size_t i = 0, n = src->nfunctions; i < n; i++) {
        struct cu__function f = src->functions[i];
        f.name = carry_string(dst, src, f.name);
        f.system_name = carry_string(dst, src, f.system_name);
        f.filename = carry_string(dst, src, f.filename);
        ids[i + 1] = cu__intern_function(dst, &f);
    }
}

static int carry_locations(struct cu_pprof *dst, const struct cu_pprof *src, struct ids *ids)
{
    for (size_t i = 0, n = src->nlocations; i < n && !dst->error; i++) {
        const struct cu__location location = src->locations[i];
        int err = cu__reserve(&ids->lines, &ids->lines_cap, location.nlines, sizeof *ids->lines);
        if (err)
            return err;
        for (size_t k = 0; k < location.nlines; k++) {
            ids->lines[k] = src->lines[location.first_line + k];
            ids->lines[k].function = ids->functions[ids->lines[k].function];
        }
        ids->locations[i + 1] = cu_pprof_location(dst, ids->mappings[location.mapping],
                                                  location.address, ids->lines, location.nlines);
    }
    return dst->error;
}

static void carry_labels(struct cu_pprof *dst, const struct cu_pprof *src, uint32_t *ids)
{
    for (size_t i = 0, n = src->nlabels; i < n; i++) {
        struct cu__label label = src->labels[i];
        label.key = carry_string(dst, src, label.key);
        label.str = carry_string(dst, src, label.str);
        label.unit = carry_string(dst, src, label.unit);
        ids[i + 1] = cu__intern_label(dst, &label);
    }
}

static int carry_samples(struct cu_pprof *dst, const struct cu_pprof *src, struct ids *ids)
{
    for (size_t i = 0, n = src->nsamples; i < n && !dst->error; i++) {
        size_t nstack, nlabels;
        const uint32_t *stack = cu__sequence_words(&src->stacks, src->samples[i].stack, &nstack);
        const uint32_t *set =
            cu__sequence_words(&src->label_sets, src->samples[i].labels, &nlabels);
        int err = cu__reserve(&ids->stack, &ids->stack_cap, nstack + nlabels, sizeof *ids->stack);
        if (err)
            return err;
        for (size_t k = 0; k < nstack; k++)
            ids->stack[k] = ids->locations[stack[k]];
        for (size_t k = 0; k < nlabels; k++)
            ids->stack[nstack + k] = ids->labels[set[k]];
        cu__add_sample(dst, ids->stack, nstack, ids->stack ? ids->stack + nstack : NULL, nlabels,
                       src->values + i * src->ntypes);
    }
    return dst->error;
}

static int carry_all(struct cu_pprof *dst, const struct cu_pprof *src, struct ids *ids)
{
    int err;
    ids->mappings = calloc(src->nmappings + 1, sizeof *ids->mappings);
    ids->functions = calloc(src->nfunctions + 1, sizeof *ids->functions);
    ids->locations = calloc(src->nlocations + 1, sizeof *ids->locations);
    ids->labels = calloc(src->nlabels + 1, sizeof *ids->labels);
    if (!ids->mappings || !ids->functions || !ids->locations || !ids->labels)
        return -ENOMEM;
    carry_header(dst, src);
    carry_mappings(dst, src, ids->mappings);
    carry_functions(dst, src, ids->functions);
    if ((err = carry_locations(dst, src, ids)))
        return err;
    carry_labels(dst, src, ids->labels);
    return carry_samples(dst, src, ids);
}

int cu_pprof_merge(struct cu_pprof *dst, const struct cu_pprof *src)
{
    struct ids ids = {0};
    int err = dst->error ? dst->error : src->error;
    if (!err)
        err = check_types(dst, src);
    if (err)
        return err;
    err = carry_all(dst, src, &ids);
    if (err)
        cu__fail(dst, err); /* half merged: such a profile is not written */
    free(ids.mappings);
    free(ids.functions);
    free(ids.locations);
    free(ids.labels);
    free(ids.stack);
    free(ids.lines);
    return err;
}
