/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: life cycle, header fields, mappings, functions and locations of a profile: everything
 * but the samples (samples.c).
 *
 * Design: every record is zeroed before it is filled, so that equal records are equal bytes and one
 * pair of hash and compare serves all kinds. See profile.h and table.h for the invariants.
 */
#include "profile.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct cu_pprof *cu_pprof_new(void)
{
    struct cu_pprof *p = calloc(1, sizeof *p);
    if (p && cu__strings_init(&p->strings)) {
        free(p);
        return NULL;
    }
    return p;
}

void cu_pprof_free(struct cu_pprof *p)
{
    if (!p)
        return;
    cu__strings_free(&p->strings);
    cu__sequences_free(&p->stacks);
    cu__sequences_free(&p->label_sets);
    cu__index_free(&p->mapping_index);
    cu__index_free(&p->function_index);
    cu__index_free(&p->location_index);
    cu__index_free(&p->label_index);
    cu__index_free(&p->sample_index);
    free(p->types);
    free(p->mappings);
    free(p->functions);
    free(p->lines);
    free(p->locations);
    free(p->labels);
    free(p->samples);
    free(p->values);
    free(p->comments);
    free(p->scratch);
    free(p);
}

int cu_pprof_error(const struct cu_pprof *p)
{
    return p->error;
}

uint32_t cu__fail(struct cu_pprof *p, int err)
{
    if (!p->error)
        p->error = err;
    return 0;
}

uint32_t cu__string(struct cu_pprof *p, const char *text)
{
    uint32_t string = 0;
    if (!text || p->error)
        return 0;
    int err = cu__strings_intern(&p->strings, text, strlen(text), &string);
    return err ? cu__fail(p, err) : string;
}

/* --- header fields ------------------------------------------------------------------------- */

void cu__add_type(struct cu_pprof *p, uint32_t type, uint32_t unit)
{
    if (p->error)
        return;
    /* the samples that are there have no value of this type */
    int err = p->nsamples ? -EINVAL
                          : cu__reserve(&p->types, &p->types_cap, p->ntypes + 1, sizeof *p->types);
    if (err)
        cu__fail(p, err);
    else
        p->types[p->ntypes++] = (struct cu__value_type){type, unit};
}

void cu_pprof_sample_type(struct cu_pprof *p, const char *type, const char *unit)
{
    uint32_t type_string = cu__string(p, type), unit_string = cu__string(p, unit);
    cu__add_type(p, type_string, unit_string);
}

void cu_pprof_period(struct cu_pprof *p, const char *type, const char *unit, int64_t period)
{
    p->period_type.type = cu__string(p, type);
    p->period_type.unit = cu__string(p, unit);
    p->period = period;
}

void cu_pprof_time(struct cu_pprof *p, int64_t time_wall_ns, int64_t duration_ns)
{
    p->time_wall_ns = time_wall_ns;
    p->duration_ns = duration_ns;
}

void cu__add_comment(struct cu_pprof *p, uint32_t text)
{
    if (p->error || !text)
        return;
    int err = cu__reserve(&p->comments, &p->comments_cap, p->ncomments + 1, sizeof *p->comments);
    if (err)
        cu__fail(p, err);
    else
        p->comments[p->ncomments++] = text;
}

void cu_pprof_comment(struct cu_pprof *p, const char *text)
{
    cu__add_comment(p, cu__string(p, text));
}

void cu_pprof_default_sample_type(struct cu_pprof *p, const char *type)
{
    p->default_sample_type = cu__string(p, type);
}

void cu_pprof_doc_url(struct cu_pprof *p, const char *url)
{
    p->doc_url = cu__string(p, url);
}

void cu_pprof_drop_frames(struct cu_pprof *p, const char *regex)
{
    p->drop_frames = cu__string(p, regex);
}

void cu_pprof_keep_frames(struct cu_pprof *p, const char *regex)
{
    p->keep_frames = cu__string(p, regex);
}

/* --- mappings ------------------------------------------------------------------------------ */

static bool is_equal_mapping(const void *ctx, uint32_t id, const void *key)
{
    const struct cu_pprof *p = ctx;
    const struct cu__mapping *a = &p->mappings[id - 1], *b = key;
    return a->start == b->start && a->limit == b->limit && a->offset == b->offset &&
           a->filename == b->filename && a->build_id == b->build_id;
}

static uint32_t hash_mapping(const struct cu__mapping *m)
{
    uint64_t hash = cu__hash_word(cu__hash_seed(), m->start);
    hash = cu__hash_word(hash, m->limit);
    hash = cu__hash_word(hash, m->offset);
    return cu__hash_end(cu__hash_word(hash, (uint64_t)m->filename << 32 | m->build_id));
}

/* They say what is known of the mapping, so they are no part of what it is: two profiles of one process
 * may differ in them, and readers do not take an address of two mappings. */
static void unite_flags(struct cu__mapping *to, const struct cu__mapping *from)
{
    to->has_functions |= from->has_functions;
    to->has_filenames |= from->has_filenames;
    to->has_line_numbers |= from->has_line_numbers;
    to->has_inline_frames |= from->has_inline_frames;
}

uint32_t cu__intern_mapping(struct cu_pprof *p, const struct cu__mapping *m)
{
    if (p->error)
        return 0;
    uint32_t hash = hash_mapping(m);
    uint32_t id = cu__index_find(&p->mapping_index, hash, is_equal_mapping, p, m);
    int err;
    if (id) {
        unite_flags(&p->mappings[id - 1], m);
        return id;
    }
    if (p->nmappings >= COPPER_PPROF_IDS_MAX)
        return cu__fail(p, -EOVERFLOW);
    if ((err = cu__reserve(&p->mappings, &p->mappings_cap, p->nmappings + 1, sizeof *m)) ||
        (err = cu__index_reserve(&p->mapping_index)))
        return cu__fail(p, err);
    p->mappings[p->nmappings++] = *m;
    id = (uint32_t)p->nmappings;
    cu__index_add(&p->mapping_index, hash, id);
    return id;
}

uint32_t cu_pprof_mapping(struct cu_pprof *p, const struct cu_pprof_mapping *m)
{
    struct cu__mapping record = {
        .start = m->start,
        .limit = m->limit,
        .offset = m->offset,
        .filename = cu__string(p, m->filename),
        .build_id = cu__string(p, m->build_id),
        .has_functions = m->has_functions,
        .has_filenames = m->has_filenames,
        .has_line_numbers = m->has_line_numbers,
        .has_inline_frames = m->has_inline_frames,
    };
    return cu__intern_mapping(p, &record);
}

void cu_pprof_mapping_flags(struct cu_pprof *p, uint32_t mapping, bool functions, bool filenames,
                            bool line_numbers, bool inline_frames)
{
    if (p->error)
        return;
    if (mapping == 0 || mapping > p->nmappings) {
        cu__fail(p, -EINVAL);
        return;
    }
    struct cu__mapping *m = &p->mappings[mapping - 1];
    m->has_functions = functions;
    m->has_filenames = filenames;
    m->has_line_numbers = line_numbers;
    m->has_inline_frames = inline_frames;
}

/* --- functions ----------------------------------------------------------------------------- */

static bool is_equal_function(const void *ctx, uint32_t id, const void *key)
{
    const struct cu_pprof *p = ctx;
    const struct cu__function *a = &p->functions[id - 1], *b = key;
    return a->name == b->name && a->system_name == b->system_name && a->filename == b->filename &&
           a->start_line == b->start_line;
}

uint32_t cu__intern_function(struct cu_pprof *p, const struct cu__function *f)
{
    if (p->error)
        return 0;
    uint64_t seed = cu__hash_word(cu__hash_seed(), (uint64_t)f->name << 32 | f->system_name);
    seed = cu__hash_word(seed, f->filename);
    uint32_t hash = cu__hash_end(cu__hash_word(seed, (uint64_t)f->start_line));
    uint32_t id = cu__index_find(&p->function_index, hash, is_equal_function, p, f);
    int err;
    if (id)
        return id;
    if (p->nfunctions >= COPPER_PPROF_IDS_MAX)
        return cu__fail(p, -EOVERFLOW);
    if ((err = cu__reserve(&p->functions, &p->functions_cap, p->nfunctions + 1, sizeof *f)) ||
        (err = cu__index_reserve(&p->function_index)))
        return cu__fail(p, err);
    p->functions[p->nfunctions++] = *f;
    id = (uint32_t)p->nfunctions;
    cu__index_add(&p->function_index, hash, id);
    return id;
}

uint32_t cu_pprof_function(struct cu_pprof *p, const struct cu_pprof_function *f)
{
    struct cu__function record = {
        .name = cu__string(p, f->name),
        .system_name = cu__string(p, f->system_name ? f->system_name : f->name),
        .filename = cu__string(p, f->filename),
        .start_line = f->start_line,
    };
    return cu__intern_function(p, &record);
}

/* --- locations ----------------------------------------------------------------------------- */

struct location_key {
    uint64_t address;
    uint32_t mapping;
    const struct cu_pprof_line *lines;
    size_t nlines;
};

static bool is_equal_location(const void *ctx, uint32_t id, const void *key)
{
    const struct cu_pprof *p = ctx;
    const struct cu__location *have = &p->locations[id - 1];
    const struct location_key *want = key;
    if (have->address != want->address || have->mapping != want->mapping ||
        have->nlines != want->nlines)
        return false;
    for (size_t i = 0; i < want->nlines; i++) {
        const struct cu_pprof_line *line = &p->lines[have->first_line + i];
        if (line->function != want->lines[i].function || line->line != want->lines[i].line)
            return false;
    }
    return true;
}

static uint32_t hash_location(const struct location_key *key)
{
    uint64_t hash = cu__hash_word(cu__hash_seed(), key->address);
    hash = cu__hash_word(hash, key->mapping);
    for (size_t i = 0; i < key->nlines; i++) {
        hash = cu__hash_word(hash, key->lines[i].function);
        hash = cu__hash_word(hash, (uint64_t)key->lines[i].line);
    }
    return cu__hash_end(hash);
}

static int add_location(struct cu_pprof *p, const struct location_key *key, uint32_t hash)
{
    int err;
    if (p->nlocations >= COPPER_PPROF_IDS_MAX || key->nlines > UINT32_MAX)
        return -EOVERFLOW;
    if ((err = cu__reserve(&p->lines, &p->lines_cap, p->nlines + key->nlines, sizeof *p->lines)) ||
        (err = cu__reserve(&p->locations, &p->locations_cap, p->nlocations + 1,
                           sizeof *p->locations)) ||
        (err = cu__index_reserve(&p->location_index)))
        return err;
    p->locations[p->nlocations++] = (struct cu__location){
        .address = key->address,
        .first_line = p->nlines,
        .mapping = key->mapping,
        .nlines = (uint32_t)key->nlines,
    };
    for (size_t i = 0; i < key->nlines; i++)
        p->lines[p->nlines++] = key->lines[i];
    cu__index_add(&p->location_index, hash, (uint32_t)p->nlocations);
    return 0;
}

uint32_t cu_pprof_location(struct cu_pprof *p, uint32_t mapping, uint64_t address,
                           const struct cu_pprof_line *lines, size_t nlines)
{
    struct location_key key = {address, mapping, lines, nlines};
    if (p->error)
        return 0;
    if (mapping > p->nmappings)
        return cu__fail(p, -EINVAL);
    for (size_t i = 0; i < nlines; i++)
        if (lines[i].function == 0 || lines[i].function > p->nfunctions)
            return cu__fail(p, -EINVAL);
    uint32_t hash = hash_location(&key);
    uint32_t id = cu__index_find(&p->location_index, hash, is_equal_location, p, &key);
    if (id)
        return id;
    int err = add_location(p, &key, hash);
    return err ? cu__fail(p, err) : (uint32_t)p->nlocations;
}
