/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what a profile is inside proto/: the builder fills it, the writer and the views read it.
 *
 * Design: arrays of small records that refer to each other by id, as on the wire, each with an
 * index by contents. String fields hold string table indices. Lines of all locations are in one
 * array, and so are the values of all samples.
 *
 * Invariants: ids are dense from 1 in order of first use; every id stored in a record exists. Once
 * `error` is set no record changes any more.
 *
 * Concurrency: one thread at a time.
 */
#ifndef COPPER_PROTO_PROFILE_H
#define COPPER_PROTO_PROFILE_H

#include "sequences.h"
#include "string_table.h"
#include "table.h"

#include <copper/pprof.h>

struct cu__value_type {
    uint32_t type, unit;
};

struct cu__mapping {
    uint64_t start, limit, offset;
    uint32_t filename, build_id;
    bool has_functions, has_filenames, has_line_numbers, has_inline_frames;
};

struct cu__function {
    uint32_t name, system_name, filename;
    int64_t start_line;
};

struct cu__location {
    uint64_t address;
    size_t first_line;
    uint32_t mapping; /* 0: none */
    uint32_t nlines;
};

struct cu__label {
    uint32_t key;
    uint32_t str; /* 0: the label is num with unit */
    int64_t num;
    uint32_t unit;
};

struct cu__sample {
    uint32_t stack, labels; /* sequences */
};

struct cu_pprof {
    int error; /* the first one, or 0 */
    struct cu__strings strings;

    struct cu__value_type *types;
    size_t ntypes, types_cap;
    struct cu__mapping *mappings;
    size_t nmappings, mappings_cap;
    struct cu__index mapping_index;
    struct cu__function *functions;
    size_t nfunctions, functions_cap;
    struct cu__index function_index;
    struct cu_pprof_line *lines;
    size_t nlines, lines_cap;
    struct cu__location *locations;
    size_t nlocations, locations_cap;
    struct cu__index location_index;
    struct cu__label *labels;
    size_t nlabels, labels_cap;
    struct cu__index label_index;
    struct cu__sequences stacks, label_sets;
    struct cu__sample *samples;
    size_t nsamples, samples_cap;
    struct cu__index sample_index;
    int64_t *values; /* ntypes for each sample */
    size_t values_cap;

    uint32_t *comments;
    size_t ncomments, comments_cap;
    struct cu__value_type period_type;
    int64_t period, time_wall_ns, duration_ns;
    uint32_t drop_frames, keep_frames, default_sample_type, doc_url;

    uint32_t *scratch; /* label ids of the sample being added */
    size_t scratch_cap;
};

/* Remembers the first error. Returns 0, the id that means it. */
uint32_t cu__fail(struct cu_pprof *p, int err);

/* The string's index; 0 (which is "") when text is NULL or on the sticky error. */
uint32_t cu__string(struct cu_pprof *p, const char *text);
static inline const char *cu__text(const struct cu_pprof *p, uint32_t string)
{
    return p->strings.items[string].text;
}

/* For readers and merges, which have string indices already: like their public counterparts. */
uint32_t cu__intern_mapping(struct cu_pprof *p, const struct cu__mapping *m);
uint32_t cu__intern_function(struct cu_pprof *p, const struct cu__function *f);
uint32_t cu__intern_label(struct cu_pprof *p, const struct cu__label *label);
void cu__add_type(struct cu_pprof *p, uint32_t type, uint32_t unit);
void cu__add_comment(struct cu_pprof *p, uint32_t text); /* once */
/* Sorts label_ids in place. stack: location ids, all of which exist. 0 or the sticky error. */
int cu__add_sample(struct cu_pprof *p, const uint32_t *stack, size_t nstack, uint32_t *label_ids,
                   size_t nlabels, const int64_t *values);

#endif
