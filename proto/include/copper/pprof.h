/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/pprof.h: build, merge, scale, write and read pprof profiles.
 *
 * A `cu_pprof` is one profile in memory. Strings, functions, locations, mappings and stacks are
 * each stored once; ids are dense from 1 in order of first use, which the strictest consumers
 * demand. Writing streams gzip'd protobuf bytes through a callback and never holds the encoded
 * profile.
 *
 * The format is github.com/google/pprof/proto/profile.proto (package perftools.profiles).
 *
 * Thread-safety: one profile belongs to one thread at a time; different profiles are independent.
 * No function here may be called from a signal handler. Nothing here knows coroutines or samplers.
 *
 *     struct cu_pprof *p = cu_pprof_new();
 *     cu_pprof_sample_type(p, "samples", "count");
 *     cu_pprof_sample_type(p, "cpu", "nanoseconds");
 *     cu_pprof_period(p, "cpu", "nanoseconds", 10000000);
 *     uint32_t m = cu_pprof_mapping(p, &(struct cu_pprof_mapping){ .filename = "/bin/x", ... });
 *     uint32_t f = cu_pprof_function(p, &(struct cu_pprof_function){ .name = "main" });
 *     uint32_t l = cu_pprof_location(p, m, 0x401000, &(struct cu_pprof_line){ f, 12 }, 1);
 *     cu_pprof_sample(p, &(struct cu_pprof_sample){ .locations = &l, .nlocations = 1,
 *                                                   .values = (int64_t[]){ 1, 10000000 } });
 *     int err = cu_pprof_write(p, my_write, my_ctx);
 *     cu_pprof_free(p);
 *
 * Errors: building calls cannot report each allocation failure in passing, so a failure is sticky:
 * ids become 0, the profile remembers the first error, and cu_pprof_write returns it.
 */
#ifndef COPPER_PPROF_H
#define COPPER_PPROF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct cu_pprof;

struct cu_pprof_mapping {
    uint64_t start, limit, offset; /* limit is exclusive */
    const char *filename;          /* NULL means "" */
    const char *build_id;          /* lower-case hex, NULL means "" */
    bool has_functions, has_filenames, has_line_numbers, has_inline_frames;
};

struct cu_pprof_function {
    const char *name;
    const char *system_name; /* NULL means same as name */
    const char *filename;    /* NULL means unknown */
    int64_t start_line;      /* 0 means unknown */
};

struct cu_pprof_line {
    uint32_t function; /* id from cu_pprof_function */
    int64_t line;      /* 0 means unknown */
};

/* A label has either a string value (str) or a number with a unit. On the wire an empty str is what
 * no label is, so such a label is left out; and so is the number 0 without a unit, so it gets its
 * key as unit, which is what readers assume for a number without one. */
struct cu_pprof_label {
    const char *key; /* not empty */
    const char *str; /* NULL: numeric label */
    int64_t num;
    const char *unit; /* numeric labels only; NULL means "" */
};

struct cu_pprof_sample {
    const uint32_t *locations; /* leaf first */
    size_t nlocations;
    const int64_t *values; /* as many as there are sample types */
    const struct cu_pprof_label *labels;
    size_t nlabels;
};

/* Returns a new empty profile, or NULL when memory is out. Caller frees. */
struct cu_pprof *cu_pprof_new(void);
void cu_pprof_free(struct cu_pprof *p); /* NULL is allowed */
/* The sticky error: 0 as long as all is well. */
int cu_pprof_error(const struct cu_pprof *p);

/* Header fields. Strings are copied. Invalid UTF-8 is replaced (U+FFFD), since some consumers
 * reject a whole profile for one bad byte. All sample types come before the first sample (-EINVAL,
 * sticky, otherwise). */
void cu_pprof_sample_type(struct cu_pprof *p, const char *type, const char *unit);
void cu_pprof_period(struct cu_pprof *p, const char *type, const char *unit, int64_t period);
void cu_pprof_time(struct cu_pprof *p, int64_t time_wall_ns, int64_t duration_ns);
void cu_pprof_comment(struct cu_pprof *p, const char *text);
void cu_pprof_default_sample_type(struct cu_pprof *p, const char *type);
void cu_pprof_doc_url(struct cu_pprof *p, const char *url);
void cu_pprof_drop_frames(struct cu_pprof *p, const char *regex);
void cu_pprof_keep_frames(struct cu_pprof *p, const char *regex);

/* Interning: equal arguments give equal ids; ids count from 1; 0 is the sticky error.
 * Mappings are equal when all their fields but the flags are; of equal ones the flags are united, and
 * cu_pprof_mapping_flags sets others. Locations are equal when mapping, address and lines are. An id that is
 * not of this profile is -EINVAL, sticky; mapping 0 of a location is "none". */
uint32_t cu_pprof_mapping(struct cu_pprof *p, const struct cu_pprof_mapping *m);
void cu_pprof_mapping_flags(struct cu_pprof *p, uint32_t mapping, bool functions, bool filenames,
                            bool line_numbers, bool inline_frames);
uint32_t cu_pprof_function(struct cu_pprof *p, const struct cu_pprof_function *f);
/* lines: innermost inlined function first. */
uint32_t cu_pprof_location(struct cu_pprof *p, uint32_t mapping, uint64_t address,
                           const struct cu_pprof_line *lines, size_t nlines);

/* Adds values to the sample with this stack and these labels (label order does not matter),
 * making it on first sight. Sums that do not fit stay at the end of the range. 0, the sticky error,
 * or -EINVAL, which is not sticky: unknown location id, label without a key, no sample type yet.
 * Expected time: linear in the stack. */
int cu_pprof_sample(struct cu_pprof *p, const struct cu_pprof_sample *s);

/* Reading a profile back: visit what is there. Pointers are valid until p is changed or freed. */
size_t cu_pprof_nsamples(const struct cu_pprof *p);
size_t cu_pprof_nsample_types(const struct cu_pprof *p);
size_t cu_pprof_nmappings(const struct cu_pprof *p);
size_t cu_pprof_nfunctions(const struct cu_pprof *p);
size_t cu_pprof_nlocations(const struct cu_pprof *p);
size_t cu_pprof_ncomments(const struct cu_pprof *p);
void cu_pprof_sample_type_at(const struct cu_pprof *p, size_t i, const char **type,
                             const char **unit);
const char *cu_pprof_comment_at(const struct cu_pprof *p, size_t i);
/* Sample i (from 0). labels are copied into the caller's array, at most cap; returns how many the
 * sample has. out->labels points at that array. */
size_t cu_pprof_sample_at(const struct cu_pprof *p, size_t i, struct cu_pprof_sample *out,
                          struct cu_pprof_label *labels, size_t cap);
/* Objects by id, from 1. False when there is no such id. */
bool cu_pprof_mapping_at(const struct cu_pprof *p, uint32_t id, struct cu_pprof_mapping *out);
bool cu_pprof_function_at(const struct cu_pprof *p, uint32_t id, struct cu_pprof_function *out);
bool cu_pprof_location_at(const struct cu_pprof *p, uint32_t id, uint32_t *mapping,
                          uint64_t *address, const struct cu_pprof_line **lines, size_t *nlines);
/* Any of the three may be NULL. */
void cu_pprof_times(const struct cu_pprof *p, int64_t *time_wall_ns, int64_t *duration_ns,
                    int64_t *period);
void cu_pprof_period_type(const struct cu_pprof *p, const char **type, const char **unit);

/* Adds all of src to dst: values of equal samples add up; the sample types, and the period types
 * where both have one, must be the same (-EINVAL otherwise, dst unchanged). An empty dst takes
 * src's. time becomes the earliest, duration the sum, period the maximum, comments are united; the
 * other header fields are dst's, or src's where dst has none. src is unchanged, and may be dst. */
int cu_pprof_merge(struct cu_pprof *dst, const struct cu_pprof *src);

/* Multiplies every value by ratio, which is finite (rounded to nearest, ties to even; what does not
 * fit stays at the end of the range). scale(-1) and merge give a
 * difference. cu_pprof_drop_zero removes the samples whose values are all zero. */
void cu_pprof_scale(struct cu_pprof *p, double ratio);
void cu_pprof_drop_zero(struct cu_pprof *p);

/* Called with consecutive pieces; returns 0 to go on, or a negative errno value to stop, which
 * cu_pprof_write then returns. */
typedef int cu_pprof_write_fn(void *ctx, const void *bytes, size_t n);

/* Streams the gzip'd profile. Memory: one buffer of a few KiB plus zlib's state, whatever the size
 * of the profile. 0, -ENOMEM (or another sticky error), or what `write` returned. */
int cu_pprof_write(const struct cu_pprof *p, cu_pprof_write_fn *write, void *ctx);
/* The same to a file, atomically: written beside it, synced, then renamed over it. On an error
 * (-ENOSPC, ...) an existing file is untouched and nothing is left beside it. A target that is
 * there and is no regular file (/dev/stdout, a pipe) is written to directly. */
int cu_pprof_write_file(const struct cu_pprof *p, const char *path);

/* Strict reader of gzip'd or plain bytes. Any bytes are safe to pass. On failure returns a negative
 * errno value (-EBADMSG malformed, -E2BIG over COPPER_PPROF_BYTES_MAX unpacked, -ENOMEM), *out is
 * NULL and `error` holds one line that names what was wrong ("sample 3: location 17 is unknown").
 * Ids of any kind become dense in the order of the file. Not kept: columns of lines, is_folded.
 * Memory: the unpacked bytes, the profile, and at most 128 MiB for the largest message. */
#define COPPER_PPROF_BYTES_MAX ((size_t)256 << 20)
int cu_pprof_read(const void *bytes, size_t n, struct cu_pprof **out, char *error,
                  size_t error_size);
int cu_pprof_read_file(const char *path, struct cu_pprof **out, char *error, size_t error_size);

/* Gzip as a stream, for those who write text or other formats. open returns NULL when memory is
 * out; write and close then return -ENOMEM. The first error of `write` is sticky. */
struct cu_gzip;
struct cu_gzip *cu_gzip_open(cu_pprof_write_fn *write, void *ctx);
int cu_gzip_write(struct cu_gzip *z, const void *bytes, size_t n);
int cu_gzip_close(struct cu_gzip *z); /* finishes the stream and frees z, also after an error */

/* A file that is there whole or not at all, as cu_pprof_write_file makes it, for those who write text
 * or other formats. open: 0 or -errno; is_synced: close waits until the disk has it, so that it is whole
 * after a power failure too. write is a cu_pprof_write_fn; its first error is sticky. close
 * puts the file in its place and frees f; when err is not 0 or anything failed before, nothing is left
 * beside the target, which is as it was. It returns the first failure, or err. */
struct cu_pprof_file;
int cu_pprof_file_open(const char *path, bool is_synced, struct cu_pprof_file **out);
int cu_pprof_file_write(void *file, const void *bytes, size_t n);
int cu_pprof_file_close(struct cu_pprof_file *f, int err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
