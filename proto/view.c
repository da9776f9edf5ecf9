/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: look at what is in a profile (cu_pprof_n*, cu_pprof_*_at).
 */
#include "profile.h"

size_t cu_pprof_nsamples(const struct cu_pprof *p)
{
    return p->nsamples;
}

size_t cu_pprof_nsample_types(const struct cu_pprof *p)
{
    return p->ntypes;
}

size_t cu_pprof_nmappings(const struct cu_pprof *p)
{
    return p->nmappings;
}

size_t cu_pprof_nfunctions(const struct cu_pprof *p)
{
    return p->nfunctions;
}

size_t cu_pprof_nlocations(const struct cu_pprof *p)
{
    return p->nlocations;
}

size_t cu_pprof_ncomments(const struct cu_pprof *p)
{
    return p->ncomments;
}

void cu_pprof_sample_type_at(const struct cu_pprof *p, size_t i, const char **type,
                             const char **unit)
{
    bool is_there = i < p->ntypes;
    *type = cu__text(p, is_there ? p->types[i].type : 0);
    *unit = cu__text(p, is_there ? p->types[i].unit : 0);
}

const char *cu_pprof_comment_at(const struct cu_pprof *p, size_t i)
{
    return cu__text(p, i < p->ncomments ? p->comments[i] : 0);
}

size_t cu_pprof_sample_at(const struct cu_pprof *p, size_t i, struct cu_pprof_sample *out,
                          struct cu_pprof_label *labels, size_t cap)
{
    size_t nlabels;
    *out = (struct cu_pprof_sample){0};
    if (i >= p->nsamples)
        return 0;
    const uint32_t *ids = cu__sequence_words(&p->label_sets, p->samples[i].labels, &nlabels);
    out->locations = cu__sequence_words(&p->stacks, p->samples[i].stack, &out->nlocations);
    out->values = p->values + i * p->ntypes;
    out->labels = labels;
    out->nlabels = nlabels < cap ? nlabels : cap;
    for (size_t k = 0; k < out->nlabels; k++) {
        const struct cu__label *label = &p->labels[ids[k] - 1];
        labels[k] = (struct cu_pprof_label){
            .key = cu__text(p, label->key),
            .str = label->str ? cu__text(p, label->str) : NULL,
            .num = label->num,
            .unit = cu__text(p, label->unit),
        };
    }
    return nlabels;
}

bool cu_pprof_mapping_at(const struct cu_pprof *p, uint32_t id, struct cu_pprof_mapping *out)
{
    if (id == 0 || id > p->nmappings)
        return false;
    const struct cu__mapping *m = &p->mappings[id - 1];
    *out = (struct cu_pprof_mapping){
        .start = m->start,
        .limit = m->limit,
        .offset = m->offset,
        .filename = cu__text(p, m->filename),
        .build_id = cu__text(p, m->build_id),
        .has_functions = m->has_functions,
        .has_filenames = m->has_filenames,
        .has_line_numbers = m->has_line_numbers,
        .has_inline_frames = m->has_inline_frames,
    };
    return true;
}

bool cu_pprof_function_at(const struct cu_pprof *p, uint32_t id, struct cu_pprof_function *out)
{
    if (id == 0 || id > p->nfunctions)
        return false;
    const struct cu__function *f = &p->functions[id - 1];
    *out = (struct cu_pprof_function){
        .name = cu__text(p, f->name),
        .system_name = cu__text(p, f->system_name),
        .filename = cu__text(p, f->filename),
        .start_line = f->start_line,
    };
    return true;
}

bool cu_pprof_location_at(const struct cu_pprof *p, uint32_t id, uint32_t *mapping,
                          uint64_t *address, const struct cu_pprof_line **lines, size_t *nlines)
{
    if (id == 0 || id > p->nlocations)
        return false;
    const struct cu__location *location = &p->locations[id - 1];
    *mapping = location->mapping;
    *address = location->address;
    *lines = location->nlines ? p->lines + location->first_line : NULL;
    *nlines = location->nlines;
    return true;
}

void cu_pprof_times(const struct cu_pprof *p, int64_t *time_wall_ns, int64_t *duration_ns,
                    int64_t *period)
{
    if (time_wall_ns)
        *time_wall_ns = p->time_wall_ns;
    if (duration_ns)
        *duration_ns = p->duration_ns;
    if (period)
        *period = p->period;
}

void cu_pprof_period_type(const struct cu_pprof *p, const char **type, const char **unit)
{
    *type = cu__text(p, p->period_type.type);
    *unit = cu__text(p, p->period_type.unit);
}
