/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: read profiles strictly (cu_pprof_read).
 *
 * Design: fields may come in any order and refer to each other, so the bytes are walked four times:
 * strings; header, mappings and functions; locations; samples. Each pass is a table of handlers by
 * field number. A message inside is unpacked by protobuf-c into an arena, checked, interned, and
 * forgotten before the next. What is read goes through the builder, so equal things become one and
 * ids dense; unknown fields are skipped.
 *
 * Invariants: no index or id from the bytes is used before it was looked up. Every failure says in
 * one line what is wrong and where, by the numbers the file itself uses.
 */
#include "arena.h"
#include "gunzip.h"
#include "idmap.h"
#include "profile.h"
#include "wire.h"

#include "profile.pb-c.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Perftools__Profiles__ValueType ValueType;
typedef Perftools__Profiles__Sample Sample;
typedef Perftools__Profiles__Label Label;
typedef Perftools__Profiles__Mapping Mapping;
typedef Perftools__Profiles__Location Location;
typedef Perftools__Profiles__Line Line;
typedef Perftools__Profiles__Function Function;

#define COPPER_FIELDS 16 /* numbers of a profile's fields are below this */

struct reader {
    struct cu_pprof *p;
    const uint8_t *bytes;
    size_t n;
    struct cu__arena arena;
    ProtobufCAllocator allocator; /* the arena, as protobuf-c wants it */
    uint32_t *strings;            /* the file's string indices to ours */
    size_t nstrings, strings_cap;
    struct cu__idmap mappings, functions, locations;
    struct cu_pprof_line *lines; /* scratch: of one location */
    size_t lines_cap;
    uint32_t *ids; /* scratch: location ids, then label ids, of one sample */
    size_t ids_cap;
    size_t nsamples;    /* read so far; equal ones counted each */
    unsigned seen_once; /* bit by field number: fields of which there is one */
    char *error;
    size_t error_size;
};

typedef int handler(struct reader *r, const struct cu__field *field);

/* --- errors -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static int fail(struct reader *r, int err, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    if (r->error_size)
        vsnprintf(r->error, r->error_size, format, args);
    va_end(args);
    return err;
}

/* For errors that are not the bytes': memory, and tables that are full. */
static int fail_system(struct reader *r, int err)
{
    return fail(r, err, "%s", strerrordesc_np(-err));
}

/* --- strings and messages ------------------------------------------------------------------ */

/* Our index of the file's string. `what` and `where` say who asks: "mapping", 7. */
static int find_string(struct reader *r, int64_t index, const char *what, uint64_t where,
                       uint32_t *out)
{
    if (index < 0 || (uint64_t)index >= r->nstrings)
        return fail(r, -EBADMSG, "%s %" PRIu64 ": string %" PRId64 " is not in the table of %zu",
                    what, where, index, r->nstrings);
    *out = r->strings[index];
    return 0;
}

static void *alloc_in_arena(void *arena, size_t n)
{
    return cu__arena_alloc(arena, n);
}

static void free_in_arena(void *arena, void *bytes)
{
    (void)arena;
    (void)bytes;
}

/* The message in a field, valid until the next one; NULL sets *err. */
static void *unpack(struct reader *r, const struct cu__field *field, const char *what,
                    const ProtobufCMessageDescriptor *descriptor, int *err)
{
    cu__arena_reset(&r->arena);
    void *message =
        protobuf_c_message_unpack(descriptor, &r->allocator, field->length, field->bytes);
    if (message)
        return message;
    size_t at = (size_t)(field->bytes - r->bytes);
    if (r->arena.error == -ENOMEM)
        *err = fail_system(r, -ENOMEM);
    else if (r->arena.error)
        *err = fail(r, r->arena.error, "%s at byte %zu takes too much memory", what, at);
    else
        *err = fail(r, -EBADMSG, "%s at byte %zu is malformed", what, at);
    return NULL;
}

/* Enters an id of the file. ours 0: the builder's sticky error. */
static int add_id(struct reader *r, struct cu__idmap *map, const char *what, uint64_t theirs,
                  uint32_t ours)
{
    if (!ours)
        return fail_system(r, r->p->error);
    int err = cu__idmap_add(map, theirs, ours);
    if (err == -EEXIST)
        return fail(r, -EBADMSG, "two %ss have the id %" PRIu64, what, theirs);
    return err ? fail_system(r, err) : 0;
}

/* --- pass 1: strings ----------------------------------------------------------------------- */

static int read_string(struct reader *r, const struct cu__field *field)
{
    if (r->nstrings == 0 && field->length)
        return fail(r, -EBADMSG, "string 0 is not empty");
    int err = cu__reserve(&r->strings, &r->strings_cap, r->nstrings + 1, sizeof *r->strings);
    if (!err)
        err = cu__strings_intern(&r->p->strings, (const char *)field->bytes, field->length,
                                 &r->strings[r->nstrings]);
    if (err)
        return fail_system(r, err);
    r->nstrings++;
    return 0;
}

/* --- pass 2: header, mappings, functions --------------------------------------------------- */

static const struct {
    const char *name;
    enum cu__wire_type type;
    bool is_once;
} fields[COPPER_FIELDS] = {
    [1] = {"sample_type", COPPER_WIRE_BYTES, false},
    [2] = {"sample", COPPER_WIRE_BYTES, false},
    [3] = {"mapping", COPPER_WIRE_BYTES, false},
    [4] = {"location", COPPER_WIRE_BYTES, false},
    [5] = {"function", COPPER_WIRE_BYTES, false},
    [6] = {"string_table", COPPER_WIRE_BYTES, false},
    [7] = {"drop_frames", COPPER_WIRE_VARINT, true},
    [8] = {"keep_frames", COPPER_WIRE_VARINT, true},
    [9] = {"time_nanos", COPPER_WIRE_VARINT, true},
    [10] = {"duration_nanos", COPPER_WIRE_VARINT, true},
    [11] = {"period_type", COPPER_WIRE_BYTES, true},
    [12] = {"period", COPPER_WIRE_VARINT, true},
    [13] = {"comment", COPPER_WIRE_VARINT, false}, /* or packed in bytes */
    [14] = {"default_sample_type", COPPER_WIRE_VARINT, true},
    [15] = {"doc_url", COPPER_WIRE_VARINT, true},
};
enum { COMMENT = 13 };

static int read_value_type(struct reader *r, const struct cu__field *field,
                           struct cu__value_type *out)
{
    const char *name = fields[field->number].name;
    int err = 0;
    const ValueType *type =
        unpack(r, field, name, &perftools__profiles__value_type__descriptor, &err);
    if (!type || (err = find_string(r, type->type, name, r->p->ntypes, &out->type)))
        return err;
    return find_string(r, type->unit, name, r->p->ntypes, &out->unit);
}

static int read_sample_type(struct reader *r, const struct cu__field *field)
{
    struct cu__value_type type = {0};
    int err = read_value_type(r, field, &type);
    if (err)
        return err;
    cu__add_type(r->p, type.type, type.unit);
    return r->p->error ? fail_system(r, r->p->error) : 0;
}

static int read_period_type(struct reader *r, const struct cu__field *field)
{
    return read_value_type(r, field, &r->p->period_type);
}

static int read_number(struct reader *r, const struct cu__field *field)
{
    int64_t value = (int64_t)field->varint;
    struct cu_pprof *p = r->p;
    switch (field->number) {
    case 9:
        p->time_wall_ns = value;
        break;
    case 10:
        p->duration_ns = value;
        break;
    default: /* 12 */
        p->period = value;
        break;
    }
    return 0;
}

static int read_header_string(struct reader *r, const struct cu__field *field)
{
    struct cu_pprof *p = r->p;
    uint32_t *out;
    switch (field->number) {
    case 7:
        out = &p->drop_frames;
        break;
    case 8:
        out = &p->keep_frames;
        break;
    case 14:
        out = &p->default_sample_type;
        break;
    default: /* 15 */
        out = &p->doc_url;
        break;
    }
    return find_string(r, (int64_t)field->varint, fields[field->number].name, 0, out);
}

static int add_comment(struct reader *r, uint64_t index)
{
    uint32_t text = 0;
    int err = find_string(r, (int64_t)index, "comment", r->p->ncomments, &text);
    if (err)
        return err;
    cu__add_comment(r->p, text);
    return r->p->error ? fail_system(r, r->p->error) : 0;
}

static int read_comment(struct reader *r, const struct cu__field *field)
{
    if (field->type == COPPER_WIRE_VARINT)
        return add_comment(r, field->varint);
    struct cu__wire wire = {field->bytes, field->bytes + field->length};
    while (wire.at < wire.end) {
        uint64_t index;
        size_t at = (size_t)(wire.at - r->bytes);
        const char *wrong = cu__wire_varint(&wire, &index);
        if (wrong)
            return fail(r, -EBADMSG, "comment at byte %zu: %s", at, wrong);
        int err = add_comment(r, index);
        if (err)
            return err;
    }
    return 0;
}

static int read_mapping(struct reader *r, const struct cu__field *field)
{
    int err = 0;
    const Mapping *m = unpack(r, field, "mapping", &perftools__profiles__mapping__descriptor, &err);
    if (!m)
        return err;
    if (m->id == 0)
        return fail(r, -EBADMSG, "mapping at byte %zu has the id 0",
                    (size_t)(field->bytes - r->bytes));
    struct cu__mapping record = {
        .start = m->memory_start,
        .limit = m->memory_limit,
        .offset = m->file_offset,
        .has_functions = m->has_functions,
        .has_filenames = m->has_filenames,
        .has_line_numbers = m->has_line_numbers,
        .has_inline_frames = m->has_inline_frames,
    };
    if ((err = find_string(r, m->filename, "mapping", m->id, &record.filename)) ||
        (err = find_string(r, m->build_id, "mapping", m->id, &record.build_id)))
        return err;
    return add_id(r, &r->mappings, "mapping", m->id, cu__intern_mapping(r->p, &record));
}

static int read_function(struct reader *r, const struct cu__field *field)
{
    int err = 0;
    const Function *f =
        unpack(r, field, "function", &perftools__profiles__function__descriptor, &err);
    if (!f)
        return err;
    if (f->id == 0)
        return fail(r, -EBADMSG, "function at byte %zu has the id 0",
                    (size_t)(field->bytes - r->bytes));
    struct cu__function record = {.start_line = f->start_line};
    if ((err = find_string(r, f->name, "function", f->id, &record.name)) ||
        (err = find_string(r, f->system_name, "function", f->id, &record.system_name)) ||
        (err = find_string(r, f->filename, "function", f->id, &record.filename)))
        return err;
    return add_id(r, &r->functions, "function", f->id, cu__intern_function(r->p, &record));
}

/* --- pass 3: locations --------------------------------------------------------------------- */

static int read_lines(struct reader *r, const Location *location)
{
    int err = cu__reserve(&r->lines, &r->lines_cap, location->n_line, sizeof *r->lines);
    if (err)
        return fail_system(r, err);
    for (size_t i = 0; i < location->n_line; i++) {
        const Line *line = location->line[i];
        r->lines[i].function = cu__idmap_find(&r->functions, line->function_id);
        r->lines[i].line = line->line;
        if (!r->lines[i].function)
            return fail(r, -EBADMSG, "location %" PRIu64 ": function %" PRIu64 " is unknown",
                        location->id, line->function_id);
    }
    return 0;
}

static int read_location(struct reader *r, const struct cu__field *field)
{
    int err = 0;
    const Location *location =
        unpack(r, field, "location", &perftools__profiles__location__descriptor, &err);
    if (!location)
        return err;
    if (location->id == 0)
        return fail(r, -EBADMSG, "location at byte %zu has the id 0",
                    (size_t)(field->bytes - r->bytes));
    uint32_t mapping = cu__idmap_find(&r->mappings, location->mapping_id);
    if (location->mapping_id && !mapping)
        return fail(r, -EBADMSG, "location %" PRIu64 ": mapping %" PRIu64 " is unknown",
                    location->id, location->mapping_id);
    err = read_lines(r, location);
    if (err)
        return err;
    return add_id(r, &r->locations, "location", location->id,
                  cu_pprof_location(r->p, mapping, location->address, r->lines, location->n_line));
}

/* --- pass 4: samples ----------------------------------------------------------------------- */

/* Adds a label's id to ids, unless the label says nothing: neither a text nor a number with unit.
 */
static int read_label(struct reader *r, const Label *label, uint32_t *ids, size_t *n)
{
    struct cu__label record = {.num = label->num};
    uint64_t where = r->nsamples;
    int err;
    if ((err = find_string(r, label->key, "key of a label of sample", where, &record.key)) ||
        (err = find_string(r, label->str, "label of sample", where, &record.str)) ||
        (err = find_string(r, label->num_unit, "unit of a label of sample", where, &record.unit)))
        return err;
    if (!*cu__text(r->p, record.key))
        return fail(r, -EBADMSG, "sample %" PRIu64 ": a label has an empty key", where);
    if (record.str && (record.num || record.unit))
        return fail(r, -EBADMSG, "sample %" PRIu64 ": a label has a text and a number", where);
    if (!record.str && !record.num && !record.unit)
        return 0;
    ids[*n] = cu__intern_label(r->p, &record);
    if (!ids[(*n)++])
        return fail_system(r, r->p->error);
    return 0;
}

static int read_stack(struct reader *r, const Sample *sample)
{
    for (size_t i = 0; i < sample->n_location_id; i++) {
        r->ids[i] = cu__idmap_find(&r->locations, sample->location_id[i]);
        if (!r->ids[i])
            return fail(r, -EBADMSG, "sample %zu: location %" PRIu64 " is unknown", r->nsamples,
                        sample->location_id[i]);
    }
    return 0;
}

static int read_sample(struct reader *r, const struct cu__field *field)
{
    int err = 0;
    const Sample *sample =
        unpack(r, field, "sample", &perftools__profiles__sample__descriptor, &err);
    if (!sample)
        return err;
    if (r->p->ntypes == 0)
        return fail(r, -EBADMSG, "there are samples but no sample types");
    if (sample->n_value != r->p->ntypes)
        return fail(r, -EBADMSG, "sample %zu has %zu values, there are %zu sample types",
                    r->nsamples, sample->n_value, r->p->ntypes);
    err = cu__reserve(&r->ids, &r->ids_cap, sample->n_location_id + sample->n_label + 1,
                      sizeof *r->ids);
    if (err)
        return fail_system(r, err);
    err = read_stack(r, sample);
    uint32_t *label_ids = r->ids + sample->n_location_id;
    size_t nlabels = 0;
    for (size_t i = 0; i < sample->n_label && !err; i++)
        err = read_label(r, sample->label[i], label_ids, &nlabels);
    if (err)
        return err;
    err = cu__add_sample(r->p, r->ids, sample->n_location_id, label_ids, nlabels, sample->value);
    r->nsamples++;
    return err ? fail_system(r, err) : 0;
}

/* --- the passes ---------------------------------------------------------------------------- */

/* Each field once: well formed, of the type it must have, and alone where there can be one. */
static int check_fields(struct reader *r)
{
    struct cu__wire wire = {r->bytes, r->bytes + r->n};
    struct cu__field field;
    while (wire.at < wire.end) {
        size_t at = (size_t)(wire.at - r->bytes);
        const char *wrong = cu__wire_field(&wire, &field);
        if (wrong)
            return fail(r, -EBADMSG, "not a profile: byte %zu: %s", at, wrong);
        if (field.number >= COPPER_FIELDS)
            continue;
        const char *name = fields[field.number].name;
        if (field.type != fields[field.number].type &&
            !(field.number == COMMENT && field.type == COPPER_WIRE_BYTES))
            return fail(r, -EBADMSG, "not a profile: byte %zu: %s is of the wrong type", at, name);
        if (fields[field.number].is_once && r->seen_once & 1u << field.number)
            return fail(r, -EBADMSG, "two profiles, one behind the other: %s is there twice", name);
        r->seen_once |= 1u << field.number;
    }
    return 0;
}

static int run_pass(struct reader *r, handler *const *handlers)
{
    struct cu__wire wire = {r->bytes, r->bytes + r->n};
    struct cu__field field;
    while (wire.at < wire.end && !cu__wire_field(&wire, &field)) {
        if (field.number >= COPPER_FIELDS || !handlers[field.number])
            continue;
        int err = handlers[field.number](r, &field);
        if (err)
            return err;
    }
    return 0;
}

static int read_profile(struct reader *r)
{
    static handler *const strings_pass[COPPER_FIELDS] = {[6] = read_string};
    static handler *const header_pass[COPPER_FIELDS] = {
        [1] = read_sample_type,   [3] = read_mapping,        [5] = read_function,
        [7] = read_header_string, [8] = read_header_string,  [9] = read_number,
        [10] = read_number,       [11] = read_period_type,   [12] = read_number,
        [13] = read_comment,      [14] = read_header_string, [15] = read_header_string,
    };
    static handler *const locations_pass[COPPER_FIELDS] = {[4] = read_location};
    static handler *const samples_pass[COPPER_FIELDS] = {[2] = read_sample};
    int err = check_fields(r);
    if (!err)
        err = run_pass(r, strings_pass);
    if (!err && r->nstrings == 0)
        err = fail(r, -EBADMSG, "there is no string table");
    if (!err)
        err = run_pass(r, header_pass);
    if (!err)
        err = run_pass(r, locations_pass);
    if (!err)
        err = run_pass(r, samples_pass);
    return err;
}

static int read_unpacked(struct reader *r, struct cu_pprof **out)
{
    if (r->n == 0)
        return fail(r, -EBADMSG, "empty input");
    if (r->n > COPPER_PPROF_BYTES_MAX)
        return fail(r, -E2BIG, "%zu bytes are more than a profile may have", r->n);
    r->p = cu_pprof_new();
    if (!r->p)
        return fail_system(r, -ENOMEM);
    r->allocator = (ProtobufCAllocator){alloc_in_arena, free_in_arena, &r->arena};
    int err = read_profile(r);
    cu__arena_free(&r->arena);
    cu__idmap_free(&r->mappings);
    cu__idmap_free(&r->functions);
    cu__idmap_free(&r->locations);
    free(r->strings);
    free(r->lines);
    free(r->ids);
    if (err)
        cu_pprof_free(r->p);
    else
        *out = r->p;
    return err;
}

int cu_pprof_read(const void *bytes, size_t n, struct cu_pprof **out, char *error,
                  size_t error_size)
{
    struct reader r = {.bytes = bytes, .n = n, .error = error, .error_size = error_size};
    *out = NULL;
    if (error_size)
        *error = '\0';
    if (!cu__is_gzip(bytes, n))
        return read_unpacked(&r, out);
    uint8_t *unpacked;
    const char *wrong;
    int err = cu__gunzip(bytes, n, COPPER_PPROF_BYTES_MAX, &unpacked, &r.n, &wrong);
    if (err)
        return fail(&r, err, "gzip: %s", wrong);
    r.bytes = unpacked;
    err = read_unpacked(&r, out);
    free(unpacked);
    return err;
}
