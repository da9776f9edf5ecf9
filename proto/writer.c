/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: stream a profile as gzip'd protobuf (cu_pprof_write).
 *
 * Design: protobuf says that a message is the concatenation of its parts. So a profile is written
 * one field at a time, and a sample or location, which may be of any length, a piece at a time: its
 * pieces are first measured, for the length in front, then packed, each into the one small buffer.
 * Field order follows the field numbers; the string table is the last of the tables.
 *
 * Invariants: no piece packs to more than the buffer: see the COPPER_PIECE_* figures.
 */
#include "profile.h"

#include "profile.pb-c.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

typedef Perftools__Profiles__Profile Profile;
typedef Perftools__Profiles__Sample Sample;
typedef Perftools__Profiles__Label Label;
typedef Perftools__Profiles__Location Location;
typedef Perftools__Profiles__Line Line;
typedef Perftools__Profiles__ValueType ValueType;
typedef Perftools__Profiles__Mapping Mapping;
typedef Perftools__Profiles__Function Function;

enum field {
    COPPER_FIELD_SAMPLE = 2,
    COPPER_FIELD_MAPPING = 3,
    COPPER_FIELD_LOCATION = 4,
    COPPER_FIELD_FUNCTION = 5,
    COPPER_FIELD_STRING = 6,
};

#define COPPER_WIRE_BYTES   2  /* wire type "length, then bytes" */
#define COPPER_VARINT_MAX   10 /* bytes */
#define COPPER_PIECE_BUFFER 4096
#define COPPER_PIECE_WORDS  256 /* ids or values in one piece */
#define COPPER_PIECE_PARTS  64  /* labels or lines in one piece */

static_assert(COPPER_PIECE_WORDS * COPPER_VARINT_MAX + 32 <= COPPER_PIECE_BUFFER, "words fit");
static_assert(COPPER_PIECE_PARTS * (4 * (COPPER_VARINT_MAX + 1) + 2) <= COPPER_PIECE_BUFFER,
              "parts fit");

struct writer {
    const struct cu_pprof *p;
    struct cu_gzip *gzip;
    size_t measured;
    bool is_measuring;
    uint8_t buffer[COPPER_PIECE_BUFFER];
};

/* --- pieces -------------------------------------------------------------------------------- */

/* Errors stay in the gzip stream, which swallows what comes after. */
static void put(struct writer *w, const void *bytes, size_t n)
{
    (void)cu_gzip_write(w->gzip, bytes, n);
}

static size_t put_varint(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static void put_field_head(struct writer *w, enum field field, size_t length)
{
    uint8_t head[1 + COPPER_VARINT_MAX] = {(uint8_t)(field << 3 | COPPER_WIRE_BYTES)};
    put(w, head, 1 + put_varint(head + 1, length));
}

/* Measures or packs one piece, the body of a message or a part of it. */
static void put_piece(struct writer *w, const void *message)
{
    if (w->is_measuring)
        w->measured += protobuf_c_message_get_packed_size(message);
    else
        put(w, w->buffer, protobuf_c_message_pack(message, w->buffer));
}

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- samples ------------------------------------------------------------------------------- */

static void put_stack(struct writer *w, uint32_t stack)
{
    uint64_t ids[COPPER_PIECE_WORDS];
    size_t n, k;
    const uint32_t *words = cu__sequence_words(&w->p->stacks, stack, &n);
    for (size_t i = 0; i < n; i += k) {
        Sample piece = PERFTOOLS__PROFILES__SAMPLE__INIT;
        k = min(n - i, COPPER_PIECE_WORDS);
        for (size_t j = 0; j < k; j++)
            ids[j] = words[i + j];
        piece.location_id = ids;
        piece.n_location_id = k;
        put_piece(w, &piece);
    }
}

static void put_values(struct writer *w, int64_t *values)
{
    size_t n = w->p->ntypes, k;
    for (size_t i = 0; i < n; i += k) {
        Sample piece = PERFTOOLS__PROFILES__SAMPLE__INIT;
        k = min(n - i, COPPER_PIECE_WORDS);
        piece.value = values + i;
        piece.n_value = k;
        put_piece(w, &piece);
    }
}

static Label label_message(const struct cu__label *label)
{
    Label message = PERFTOOLS__PROFILES__LABEL__INIT;
    message.key = label->key;
    message.str = label->str;
    message.num = label->num;
    message.num_unit = label->unit;
    return message;
}

static void put_labels(struct writer *w, uint32_t set)
{
    Label labels[COPPER_PIECE_PARTS], *pointers[COPPER_PIECE_PARTS];
    size_t n, k;
    const uint32_t *ids = cu__sequence_words(&w->p->label_sets, set, &n);
    for (size_t i = 0; i < n; i += k) {
        Sample piece = PERFTOOLS__PROFILES__SAMPLE__INIT;
        k = min(n - i, COPPER_PIECE_PARTS);
        for (size_t j = 0; j < k; j++) {
            labels[j] = label_message(&w->p->labels[ids[i + j] - 1]);
            pointers[j] = &labels[j];
        }
        piece.label = pointers;
        piece.n_label = k;
        put_piece(w, &piece);
    }
}

static void put_sample_body(struct writer *w, size_t i)
{
    const struct cu__sample *sample = &w->p->samples[i];
    put_stack(w, sample->stack);
    put_values(w, w->p->values + i * w->p->ntypes);
    put_labels(w, sample->labels);
}

/* --- locations, mappings, functions -------------------------------------------------------- */

static void put_location_body(struct writer *w, size_t index)
{
    const struct cu__location *location = &w->p->locations[index];
    const struct cu_pprof_line *from = location->nlines ? w->p->lines + location->first_line : NULL;
    Line lines[COPPER_PIECE_PARTS], *pointers[COPPER_PIECE_PARTS];
    Location head = PERFTOOLS__PROFILES__LOCATION__INIT;
    size_t k;
    head.id = index + 1;
    head.mapping_id = location->mapping;
    head.address = location->address;
    put_piece(w, &head);
    for (size_t i = 0; i < location->nlines; i += k) {
        Location piece = PERFTOOLS__PROFILES__LOCATION__INIT;
        k = min(location->nlines - i, COPPER_PIECE_PARTS);
        for (size_t j = 0; j < k; j++) {
            lines[j] = (Line)PERFTOOLS__PROFILES__LINE__INIT;
            lines[j].function_id = from[i + j].function;
            lines[j].line = from[i + j].line;
            pointers[j] = &lines[j];
        }
        piece.line = pointers;
        piece.n_line = k;
        put_piece(w, &piece);
    }
}

static void put_mapping_body(struct writer *w, size_t i)
{
    const struct cu__mapping *m = &w->p->mappings[i];
    Mapping message = PERFTOOLS__PROFILES__MAPPING__INIT;
    message.id = i + 1;
    message.memory_start = m->start;
    message.memory_limit = m->limit;
    message.file_offset = m->offset;
    message.filename = m->filename;
    message.build_id = m->build_id;
    message.has_functions = m->has_functions;
    message.has_filenames = m->has_filenames;
    message.has_line_numbers = m->has_line_numbers;
    message.has_inline_frames = m->has_inline_frames;
    put_piece(w, &message);
}

static void put_function_body(struct writer *w, size_t i)
{
    const struct cu__function *f = &w->p->functions[i];
    Function message = PERFTOOLS__PROFILES__FUNCTION__INIT;
    message.id = i + 1;
    message.name = f->name;
    message.system_name = f->system_name;
    message.filename = f->filename;
    message.start_line = f->start_line;
    put_piece(w, &message);
}

/* One table of the profile: n messages under one field number. */
static void put_table(struct writer *w, enum field field, size_t n,
                      void (*put_body)(struct writer *w, size_t i))
{
    for (size_t i = 0; i < n; i++) {
        w->measured = 0;
        w->is_measuring = true;
        put_body(w, i);
        w->is_measuring = false;
        put_field_head(w, field, w->measured);
        put_body(w, i);
    }
}

/* --- header fields and strings ------------------------------------------------------------- */

static ValueType value_type_message(const struct cu__value_type *from)
{
    ValueType message = PERFTOOLS__PROFILES__VALUE_TYPE__INIT;
    message.type = from->type;
    message.unit = from->unit;
    return message;
}

static void put_sample_types(struct writer *w)
{
    for (size_t i = 0; i < w->p->ntypes; i++) {
        Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
        ValueType type = value_type_message(&w->p->types[i]), *pointer = &type;
        piece.sample_type = &pointer;
        piece.n_sample_type = 1;
        put_piece(w, &piece);
    }
}

static void put_strings(struct writer *w)
{
    for (size_t i = 0; i < w->p->strings.n; i++) {
        const struct cu__string *string = &w->p->strings.items[i];
        put_field_head(w, COPPER_FIELD_STRING, string->length);
        put(w, string->text, string->length);
    }
}

static void put_header(struct writer *w)
{
    const struct cu_pprof *p = w->p;
    Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
    ValueType period_type = value_type_message(&p->period_type);
    piece.drop_frames = p->drop_frames;
    piece.keep_frames = p->keep_frames;
    piece.time_nanos = p->time_wall_ns;
    piece.duration_nanos = p->duration_ns;
    /* some consumers take its presence for granted */
    piece.period_type = &period_type;
    piece.period = p->period;
    piece.default_sample_type = p->default_sample_type;
    piece.doc_url = p->doc_url;
    put_piece(w, &piece);
}

static void put_comments(struct writer *w)
{
    int64_t strings[COPPER_PIECE_WORDS];
    size_t n = w->p->ncomments, k;
    for (size_t i = 0; i < n; i += k) {
        Profile piece = PERFTOOLS__PROFILES__PROFILE__INIT;
        k = min(n - i, COPPER_PIECE_WORDS);
        for (size_t j = 0; j < k; j++)
            strings[j] = w->p->comments[i + j];
        piece.comment = strings;
        piece.n_comment = k;
        put_piece(w, &piece);
    }
}

int cu_pprof_write(const struct cu_pprof *p, cu_pprof_write_fn *write, void *ctx)
{
    struct writer w = {.p = p};
    if (p->error)
        return p->error;
    w.gzip = cu_gzip_open(write, ctx);
    if (!w.gzip)
        return -ENOMEM;
    put_sample_types(&w);
    put_table(&w, COPPER_FIELD_SAMPLE, p->nsamples, put_sample_body);
    put_table(&w, COPPER_FIELD_MAPPING, p->nmappings, put_mapping_body);
    put_table(&w, COPPER_FIELD_LOCATION, p->nlocations, put_location_body);
    put_table(&w, COPPER_FIELD_FUNCTION, p->nfunctions, put_function_body);
    put_strings(&w);
    put_header(&w);
    put_comments(&w);
    return cu_gzip_close(w.gzip);
}
