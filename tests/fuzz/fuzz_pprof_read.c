/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: fuzz the reader of profiles, and with what it accepts the views, the writer and the
 * arithmetic.
 *
 * Design: the input is what cu_pprof_read gets, plain or gzip'd. A refusal must come with one line
 * of text. What is accepted must be writable, readable again, and the same bytes when written
 * again. The mutator (pprof_mutator.c) keeps lengths right, so that mutants get past the outermost
 * message.
 */
#include <copper/pprof.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pprof_bytes.h"

#define LABELS_SEEN 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static size_t sum; /* makes every byte that a view shows be read */

static void read_text(const char *text)
{
    REQUIRE(text);
    sum += strlen(text);
}

static void view_header(const struct cu_pprof *p)
{
    const char *type, *unit;
    int64_t time, duration, period;
    cu_pprof_times(p, &time, &duration, &period);
    cu_pprof_period_type(p, &type, &unit);
    read_text(type);
    read_text(unit);
    for (size_t i = 0; i < cu_pprof_nsample_types(p); i++) {
        cu_pprof_sample_type_at(p, i, &type, &unit);
        read_text(type);
        read_text(unit);
    }
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++)
        read_text(cu_pprof_comment_at(p, i));
}

static void view_tables(const struct cu_pprof *p)
{
    struct cu_pprof_mapping m;
    struct cu_pprof_function f;
    const struct cu_pprof_line *lines;
    uint64_t address;
    uint32_t mapping;
    size_t n;
    for (uint32_t id = 1; cu_pprof_mapping_at(p, id, &m); id++) {
        read_text(m.filename);
        read_text(m.build_id);
    }
    for (uint32_t id = 1; cu_pprof_function_at(p, id, &f); id++) {
        read_text(f.name);
        read_text(f.system_name);
        read_text(f.filename);
    }
    for (uint32_t id = 1; cu_pprof_location_at(p, id, &mapping, &address, &lines, &n); id++) {
        REQUIRE(mapping <= cu_pprof_nmappings(p));
        for (size_t i = 0; i < n; i++)
            REQUIRE(lines[i].function && lines[i].function <= cu_pprof_nfunctions(p));
    }
}

static void view_samples(const struct cu_pprof *p)
{
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_label labels[LABELS_SEEN];
        struct cu_pprof_sample s;
        cu_pprof_sample_at(p, i, &s, labels, LABELS_SEEN);
        for (size_t k = 0; k < s.nlocations; k++)
            REQUIRE(s.locations[k] && s.locations[k] <= cu_pprof_nlocations(p));
        for (size_t k = 0; k < cu_pprof_nsample_types(p); k++)
            sum += (size_t)s.values[k];
        for (size_t k = 0; k < s.nlabels; k++) {
            read_text(labels[k].key);
            read_text(labels[k].unit);
            if (labels[k].str)
                read_text(labels[k].str);
        }
    }
}

/* Written, read and written again: the same bytes. */
static void check_round_trip(const struct cu_pprof *p)
{
    struct bytes first = {0}, second = {0};
    struct cu_pprof *back;
    char error[128];
    REQUIRE(cu_pprof_write(p, bytes_write, &first) == 0);
    REQUIRE(cu_pprof_read(first.at, first.n, &back, error, sizeof error) == 0);
    REQUIRE(cu_pprof_write(back, bytes_write, &second) == 0);
    REQUIRE(first.n == second.n && memcmp(first.at, second.at, first.n) == 0);
    cu_pprof_free(back);
    bytes_free(&first);
    bytes_free(&second);
}

/* A profile less itself is empty. (Values at the end of the range have no opposite.) */
static void check_difference(struct cu_pprof *p)
{
    struct cu_pprof *minus = cu_pprof_new();
    REQUIRE(minus && cu_pprof_merge(minus, p) == 0);
    cu_pprof_scale(p, 1.0 / 1024);
    cu_pprof_scale(minus, -1.0 / 1024);
    REQUIRE(cu_pprof_merge(minus, p) == 0);
    cu_pprof_drop_zero(minus);
    REQUIRE(cu_pprof_nsamples(minus) == 0);
    cu_pprof_free(minus);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cu_pprof *p;
    char error[128];
    int err = cu_pprof_read(data, size, &p, error, sizeof error);
    if (err) {
        REQUIRE(err < 0 && !p && *error && !strchr(error, '\n'));
        return 0;
    }
    REQUIRE(p && !*error);
    view_header(p);
    view_tables(p);
    view_samples(p);
    check_round_trip(p);
    check_difference(p);
    cu_pprof_free(p);
    return 0;
}
