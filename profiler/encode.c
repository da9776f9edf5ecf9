/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stacks of frames to samples of a pprof profile, names included. Used by every profile that
 * has stacks.
 *
 * Design. A frame becomes a location once and is remembered; symbolizing it costs microseconds to
 * milliseconds. The main executable is mapping 1 whatever is sampled first: reports take their title
 * and "main binary" from it. Frames of no known module (generated code, a library that is gone) belong
 * to a mapping of their own, since a location without one is never named by any client. Every mapping
 * says that it has functions, because every location has at least one line: no client then looks for
 * files that it does not have.
 *
 * Concurrency: an encoder belongs to one thread at a time.
 */
#include "encode.h"
#include "named.h"
#include "pages.h"
#include "process_labels.h"
#include "shared_symbolizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_UNKNOWN_MAPPING "[unknown]"
#define COPPER_SAMPLE_LABELS_MAX 32u
#define COPPER_CACHE_MIN       1024u /* a power of two */
#define COPPER_MODULE_IDS      65536u

struct known_frame {
    cu_frame frame;
    uint32_t location; /* 0: this place is empty */
    bool is_named;
};

struct mapping_facts {
    uint32_t id; /* pprof's, 0: not used yet */
    bool has_filenames, has_lines, has_inlines;
};

struct cu__encoder {
    struct cu_pprof *profile;
    struct cu_symbolizer *symbolizer;
    struct known_frame *cache; /* open addressing, at most half full */
    uint32_t cache_size, cache_used;
    struct mapping_facts *mappings; /* by module id */
    struct cu_pprof_line *lines;
    size_t nlines;
    double total, unnamed; /* last value of samples: all, with a leaf that no symbol covers */
    int error;
};

static const size_t mappings_bytes = COPPER_MODULE_IDS * sizeof(struct mapping_facts);

static uint32_t mapping_of(struct cu__encoder *e, const struct cu_module *module)
{
    uint32_t number = module ? module->id : 0;
    struct mapping_facts *facts = &e->mappings[number % COPPER_MODULE_IDS];
    if (facts->id == 0) {
        struct cu_pprof_mapping mapping = {.filename = COPPER_UNKNOWN_MAPPING,
                                           .has_functions = true};
        if (module) {
            mapping = (struct cu_pprof_mapping){.start = module->start, .limit = module->limit,
                                                .offset = module->offset, .filename = module->path,
                                                .build_id = module->build_id,
                                                .has_functions = true};
        }
        facts->id = cu_pprof_mapping(e->profile, &mapping);
    }
    return facts->id;
}

struct cu__encoder *cu__encoder_new(void)
{
    struct cu__encoder *e = calloc(1, sizeof *e);
    if (!e) {
        return NULL;
    }
    e->cache_size = COPPER_CACHE_MIN;
    e->profile = cu_pprof_new();
    e->symbolizer = cu__symbolizer_borrow();
    e->cache = calloc(e->cache_size, sizeof *e->cache);
    e->mappings = cu__pages_map(mappings_bytes);
    if (!e->profile || !e->symbolizer || !e->cache || !e->mappings) {
        cu_pprof_free(cu__encoder_finish(e));
        return NULL;
    }
    mapping_of(e, cu_module_main());
    return e;
}

struct cu_pprof *cu__encoder_profile(struct cu__encoder *e)
{
    return e->profile;
}

static uint64_t place_of(cu_frame frame, uint32_t size)
{
    uint64_t hash = frame * UINT64_C(0x9e3779b97f4a7c15);
    return (hash ^ hash >> 29) % size;
}

static struct known_frame *find_known(struct known_frame *cache, uint32_t size, cu_frame frame)
{
    uint64_t at = place_of(frame, size);
    while (cache[at].location != 0 && cache[at].frame != frame) {
        at = (at + 1) % size;
    }
    return &cache[at];
}

static bool grow_cache(struct cu__encoder *e)
{
    uint32_t size = 2 * e->cache_size;
    struct known_frame *grown = calloc(size, sizeof *grown);
    if (!grown) {
        return false;
    }
    for (uint32_t i = 0; i < e->cache_size; i++) {
        if (e->cache[i].location != 0) {
            *find_known(grown, size, e->cache[i].frame) = e->cache[i];
        }
    }
    free(e->cache);
    e->cache = grown;
    e->cache_size = size;
    return true;
}

static bool reserve_lines(struct cu__encoder *e, size_t n)
{
    if (n > e->nlines) {
        struct cu_pprof_line *grown = realloc(e->lines, n * sizeof *grown);
        if (!grown) {
            return false;
        }
        e->lines = grown;
        e->nlines = n;
    }
    return true;
}

/* The location of a frame seen for the first time. 0: out of memory. */
static uint32_t make_location(struct cu__encoder *e, cu_frame frame, bool *is_named)
{
    struct cu_symbol symbol;
    cu_symbolize(e->symbolizer, frame, &symbol);
    const struct cu_module *module = cu_module_by_id(COPPER_FRAME_MODULE(frame));
    uint32_t mapping = mapping_of(e, module);
    struct mapping_facts *facts = &e->mappings[(module ? module->id : 0) % COPPER_MODULE_IDS];
    if (!reserve_lines(e, symbol.nlines)) {
        return 0;
    }
    for (size_t i = 0; i < symbol.nlines; i++) {
        const struct cu_symbol_line *line = &symbol.lines[i];
        struct cu_pprof_function function = {.name = line->function, .filename = line->file,
                                             .start_line = line->start_line};
        e->lines[i].function = cu_pprof_function(e->profile, &function);
        e->lines[i].line = line->line;
        facts->has_filenames |= line->file != NULL;
        facts->has_lines |= line->line != 0;
    }
    facts->has_inlines |= symbol.nlines > 1;
    *is_named = symbol.is_named;
    /* an address of 0 (a call through a null pointer) would mean "none" */
    uint64_t address = COPPER_FRAME_PC(frame) ? COPPER_FRAME_PC(frame) : 1;
    return cu_pprof_location(e->profile, mapping, address, e->lines, symbol.nlines);
}

static const struct known_frame *locate(struct cu__encoder *e, cu_frame frame)
{
    struct known_frame *known = find_known(e->cache, e->cache_size, frame);
    if (known->location != 0) {
        return known;
    }
    if (2 * (e->cache_used + 1) > e->cache_size) {
        if (!grow_cache(e)) {
            return NULL;
        }
        known = find_known(e->cache, e->cache_size, frame);
    }
    bool is_named = false;
    uint32_t location = make_location(e, frame, &is_named);
    if (location == 0) {
        return NULL;
    }
    *known = (struct known_frame){frame, location, is_named};
    e->cache_used++;
    return known;
}

/* With the labels of the process. */
static int add_sample(struct cu__encoder *e, const uint32_t *locations, size_t nlocations,
                      const int64_t *values, const struct cu_pprof_label *labels, size_t nlabels)
{
    struct cu_pprof_label all[COPPER_SAMPLE_LABELS_MAX + COPPER_PROCESS_LABELS_MAX];
    size_t n = nlabels < COPPER_SAMPLE_LABELS_MAX ? nlabels : COPPER_SAMPLE_LABELS_MAX;
    for (size_t i = 0; i < n; i++) {
        all[i] = labels[i];
    }
    n = cu__process_labels(all, n, sizeof all / sizeof *all);
    struct cu_pprof_sample sample = {.locations = locations, .nlocations = nlocations,
                                     .values = values, .labels = all, .nlabels = n};
    int err = cu_pprof_sample(e->profile, &sample);
    e->error = e->error ? e->error : err;
    return err;
}

int cu__encoder_stand_in(struct cu__encoder *e, const char *state, const int64_t *values,
                         const struct cu_pprof_label *labels, size_t nlabels)
{
    uint32_t location = cu__stand_in_location(e->profile, state);
    return add_sample(e, &location, 1, values, labels, nlabels);
}

/* 0 or -ENOMEM. */
static int locate_all(struct cu__encoder *e, const cu_frame *frames, unsigned n, uint32_t *out,
                      bool *is_leaf_named)
{
    for (unsigned i = 0; i < n; i++) {
        const struct known_frame *known = locate(e, frames[i]);
        if (!known) {
            e->error = -ENOMEM;
            return -ENOMEM;
        }
        out[i] = known->location;
        *is_leaf_named = i == 0 ? known->is_named : *is_leaf_named;
    }
    return 0;
}

int cu__encoder_stand_in_on(struct cu__encoder *e, const char *state, const cu_frame *frames,
                            unsigned nframes, const int64_t *values,
                            const struct cu_pprof_label *labels, size_t nlabels)
{
    uint32_t locations[COPPER_STACK_DEPTH_MAX];
    unsigned n = nframes < COPPER_STACK_DEPTH_MAX ? nframes : COPPER_STACK_DEPTH_MAX - 1;
    bool is_named;
    locations[0] = cu__stand_in_location(e->profile, state);
    int err = locate_all(e, frames, n, locations + 1, &is_named);
    return err ? err : add_sample(e, locations, n + 1, values, labels, nlabels);
}

int cu__encoder_sample(struct cu__encoder *e, const cu_frame *frames, unsigned nframes,
                       const int64_t *values, const struct cu_pprof_label *labels, size_t nlabels)
{
    uint32_t locations[COPPER_STACK_DEPTH_MAX];
    unsigned n = nframes < COPPER_STACK_DEPTH_MAX ? nframes : COPPER_STACK_DEPTH_MAX;
    bool is_leaf_named = true;
    int err = locate_all(e, frames, n, locations, &is_leaf_named);
    if (err) {
        return err;
    }
    size_t nvalues = cu_pprof_nsample_types(e->profile);
    double value = nvalues ? (double)values[nvalues - 1] : 0;
    e->total += value;
    e->unnamed += is_leaf_named ? 0 : value;
    return add_sample(e, locations, n, values, labels, nlabels);
}

double cu__encoder_unnamed_share(const struct cu__encoder *e)
{
    return e->total > 0 ? e->unnamed / e->total : 0;
}

struct cu_pprof *cu__encoder_finish(struct cu__encoder *e)
{
    struct cu_pprof *profile = e->profile;
    for (uint32_t i = 0; e->mappings && i < COPPER_MODULE_IDS; i++) {
        const struct mapping_facts *facts = &e->mappings[i];
        if (facts->id != 0) {
            cu_pprof_mapping_flags(profile, facts->id, true, facts->has_filenames,
                                   facts->has_lines, facts->has_inlines);
        }
    }
    if (e->symbolizer) {
        cu__symbolizer_return(e->symbolizer);
    }
    free(e->cache);
    cu__pages_unmap(e->mappings, mappings_bytes);
    free(e->lines);
    free(e);
    return profile;
}
