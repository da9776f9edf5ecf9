/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the `heap` and `allocs` profiles, from what the allocator wrapper sampled. They hold the
 * same; only the value that reports show first differs.
 *
 * Design. The binary form is scaled to the whole population, site by site: k samples of mean size s
 * taken at rate r stand for k / (1 - exp(-s / r)) allocations. The text form has what was sampled,
 * since its readers scale; sites that were sampled at another rate than the one in its header are
 * first brought to that one.
 *
 * Stacks of coroutines come from no allocator. They are samples too, below a leaf of their own,
 * with what is known of them without stopping anybody (stack_memory.h). They have values in use
 * only: allocated ones never fall, and nothing counts the stacks of those that ended. The text form
 * has their sum in its last lines only: its records are scaled by who reads them, which would make
 * ones of a few pages that are known exactly into guesses.
 *
 * A program without the wrapper gets an empty profile that says how to get a full one.
 */
#include "census.h"
#include "encode.h"
#include "heap_weak.h"
#include "interner.h"
#include "named.h"
#include "process_labels.h"
#include "runtime_weak.h"
#include "shared_symbolizer.h"
#include "stack_memory.h"

#include <copper/profiler.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define COPPER_LINK_HEAP                                                                           \
    "allocations are not profiled: link copper::heap (pkg-config copper-heap, -lcopper_heap) or "  \
    "preload libcopper_heap.so.0"
#define COPPER_HEAP_TAKEN                                                                          \
    "allocations are not profiled: another library's malloc comes before copper::heap; link it "   \
    "first"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES, HEAP_VALUES };

/* ---- values ---------------------------------------------------------------------------------- */

/* How many allocations of this mean size one sample at this rate stands for. */
static double factor_of(double mean, uint64_t rate)
{
    return rate > 1 ? -1 / expm1(-mean / (double)rate) : 1;
}

struct values {
    double v[HEAP_VALUES];
};

/* Scaled to the population. In-use values use the same factor as allocated ones, so that they meet
 * when everything is freed. */
static struct values scaled(const struct cu_heap_site *s)
{
    struct values out = {{0}};
    if (s->allocs == 0 || s->alloc_bytes == 0) {
        return out;
    }
    double factor = factor_of((double)s->alloc_bytes / (double)s->allocs, s->rate);
    uint64_t objects = s->allocs > s->frees ? s->allocs - s->frees : 0;
    uint64_t bytes = objects && s->alloc_bytes > s->free_bytes ? s->alloc_bytes - s->free_bytes : 0;
    out.v[ALLOC_OBJECTS] = (double)s->allocs * factor;
    out.v[ALLOC_BYTES] = (double)s->alloc_bytes * factor;
    out.v[INUSE_OBJECTS] = (double)objects * factor;
    out.v[INUSE_BYTES] = (double)bytes * factor;
    return out;
}

static uint64_t period(void)
{
    uint64_t rate = cu__has_heap() ? cu_heap_rate() : 0;
    return rate ? rate : COPPER_HEAP_RATE_DEFAULT;
}

static bool is_active(void)
{
    struct cu_heap_stats stats = {.size = sizeof stats};
    if (!cu__has_heap()) {
        return false;
    }
    cu_heap_stats_read(&stats);
    return stats.is_active;
}

uint64_t cu__heap_count(void)
{
    struct cu_heap_stats stats = {.size = sizeof stats};
    if (cu__has_heap()) {
        cu_heap_stats_read(&stats);
    }
    return stats.sites;
}

/* ---- the binary form ------------------------------------------------------------------------- */

struct encoding {
    struct cu__encoder *encoder;
    int err;
};

/* Those of the program that are not among ours of the same key. */
static size_t add_labels(const struct cu_labels *from, bool is_stack_taken,
                         struct cu_pprof_label *labels, size_t n)
{
    for (size_t i = 0; from && cu_labels_count && i < cu_labels_count(from); i++) {
        const char *key = cu_labels_key(from, i);
        if (strcmp(key, "bytes") != 0 && (strcmp(key, "stack") != 0 || !is_stack_taken)) {
            labels[n++] = (struct cu_pprof_label){.key = key, .str = cu_labels_value(from, i)};
        }
    }
    return n;
}

static bool has_key(const struct cu_pprof_label *labels, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(labels[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

static bool encode_site(const struct cu_heap_site *s, void *arg)
{
    struct encoding *e = arg;
    struct cu_pprof_label labels[COPPER_LABELS_MAX + 2];
    struct values value = scaled(s);
    size_t n = 0;
    int64_t values[HEAP_VALUES];
    for (int i = 0; i < HEAP_VALUES; i++) {
        values[i] = (int64_t)value.v[i];
    }
    labels[n++] = (struct cu_pprof_label){.key = "bytes", .num = (int64_t)s->size};
    if (s->is_cut) {
        labels[n++] = (struct cu_pprof_label){.key = "stack", .str = "cut"};
    }
    n = add_labels(s->labels, s->is_cut, labels, n);
    if (s->allocs == 0) {
        return true;
    }
    e->err = s->nframes ? cu__encoder_sample(e->encoder, s->frames, s->nframes, values, labels, n)
                        : cu__encoder_stand_in(e->encoder, "other", values, labels, n);
    return e->err == 0;
}

static int encode_stack_group(struct cu__encoder *e, const struct cu__stack_group *g,
                              uint64_t count)
{
    struct cu_pprof_label labels[COPPER_LABELS_MAX + 2];
    cu_frame frames[COPPER_SPAWN_DEPTH_MAX];
    char spawned_at[512];
    int64_t objects = (int64_t)count, bytes = (int64_t)(count * g->bytes);
    const int64_t values[HEAP_VALUES] = {[INUSE_OBJECTS] = objects, [INUSE_BYTES] = bytes};
    unsigned nframes = cu__stack_group_frames(g, frames);
    size_t n = 0;
    labels[n++] = (struct cu_pprof_label){.key = "bytes", .num = (int64_t)g->bytes};
    n = add_labels(g->labels, false, labels, n);
    if (g->site && !has_key(labels, n, "spawned_at")) {
        snprintf(spawned_at, sizeof spawned_at, "%.200s %.280s:%u", g->site->function,
                 g->site->file, g->site->line);
        labels[n++] = (struct cu_pprof_label){.key = "spawned_at", .str = spawned_at};
    }
    return cu__encoder_stand_in_on(e, COPPER_STATE_STACK, frames, nframes, values, labels, n);
}

static int encode_stacks(struct cu__encoder *e)
{
    struct cu__stack_memory m;
    int err = cu__stack_memory_take(&m);
    for (uint32_t i = 0; !err && i < m.groups.kinds.nitems; i++) {
        err = encode_stack_group(e, cu__stack_group(&m, i), m.groups.counts[i]);
    }
    cu__stack_memory_clear(&m);
    return err;
}

static void add_comments(struct cu_pprof *p)
{
    char text[256];
    struct cu_heap_stats s = {.size = sizeof s};
    if (!cu__has_heap()) {
        cu_pprof_comment(p, COPPER_LINK_HEAP);
        return;
    }
    cu_heap_stats_read(&s);
    if (!s.is_active) {
        cu_pprof_comment(p, COPPER_HEAP_TAKEN);
    }
    snprintf(text, sizeof text,
             "# rate: one sample in %" PRIu64 " bytes now, asked for %" PRIu64 "%s", s.rate,
             s.asked, s.rate > s.asked ? "; lowered to stay within COPPER_BUDGET" : "");
    cu_pprof_comment(p, text);
    snprintf(text, sizeof text,
             "# samples: %" PRIu64 " taken, %" PRIu64 " live, %" PRIu64 " cut, %" PRIu64
             " folded together, %" PRIu64 " not followed to their free",
             s.samples, s.live, s.cut, s.folded, s.unfollowed);
    cu_pprof_comment(p, text);
    snprintf(text, sizeof text, "# cost: %.0f ns a sample, %.3f s in all; table: %" PRIu64 " KiB",
             s.samples ? (double)s.ns / (double)s.samples : 0, (double)s.ns / 1e9, s.bytes >> 10);
    cu_pprof_comment(p, text);
}

static int make(const char *default_type, struct cu_pprof **out)
{
    struct encoding e = {.encoder = cu__encoder_new()};
    if (!e.encoder) {
        return -ENOMEM;
    }
    struct cu_pprof *p = cu__encoder_profile(e.encoder);
    cu_pprof_sample_type(p, "alloc_objects", "count");
    cu_pprof_sample_type(p, "alloc_space", "bytes");
    cu_pprof_sample_type(p, "inuse_objects", "count");
    cu_pprof_sample_type(p, "inuse_space", "bytes");
    cu_pprof_period(p, "space", "bytes", (int64_t)period());
    cu_pprof_default_sample_type(p, default_type);
    cu_pprof_time(p, cu__wall_ns(), 0);
    if (cu__has_heap()) {
        cu_heap_each(encode_site, &e);
    }
    if (!e.err && is_active()) {
        e.err = encode_stacks(e.encoder);
    }
    p = cu__encoder_finish(e.encoder);
    if (e.err) {
        cu_pprof_free(p);
        return e.err;
    }
    add_comments(p);
    *out = p;
    return 0;
}

int cu__heap_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make("inuse_space", out);
}

int cu__allocs_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    return make("alloc_space", out);
}

/* ---- the text form --------------------------------------------------------------------------- */

struct raw {
    uint64_t v[HEAP_VALUES];
};

/* As if it had been sampled at `rate`. */
static struct raw raw_at(const struct cu_heap_site *s, uint64_t rate)
{
    uint64_t objects = s->allocs > s->frees ? s->allocs - s->frees : 0;
    uint64_t bytes = objects && s->alloc_bytes > s->free_bytes ? s->alloc_bytes - s->free_bytes : 0;
    struct raw out = {{s->allocs, s->alloc_bytes, objects, bytes}};
    if (s->rate != rate && s->allocs && s->alloc_bytes) {
        double mean = (double)s->alloc_bytes / (double)s->allocs;
        double ratio = factor_of(mean, s->rate) / factor_of(mean, rate);
        for (int i = 0; i < HEAP_VALUES; i++) {
            double v = (double)out.v[i] * ratio;
            out.v[i] = out.v[i] && v < 1 ? 1 : (uint64_t)llround(v); /* readers refuse 0: n */
        }
    }
    return out;
}

/* A site as its record shows it. */
struct record {
    struct raw raw;
    uint32_t stack; /* number in stacks */
};

struct text {
    struct cu__interner stacks;
    struct record *records;
    size_t n, cap;
    uint64_t rate;
    struct raw sum;
    struct values total;
    int err;
};

static bool keep_record(struct text *t, const struct record *r)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        struct record *records = realloc(t->records, cap * sizeof *records);
        if (!records) {
            return false;
        }
        t->records = records;
        t->cap = cap;
    }
    t->records[t->n++] = *r;
    return r->stack != COPPER_INTERN_NONE;
}

static bool add_site(const struct cu_heap_site *s, void *arg)
{
    struct text *t = arg;
    if (s->allocs == 0) {
        return true;
    }
    struct record r = {raw_at(s, t->rate),
                       cu__intern(&t->stacks, s->frames, s->nframes * sizeof *s->frames)};
    struct values scaled_values = scaled(s);
    for (int i = 0; i < HEAP_VALUES; i++) {
        t->sum.v[i] += r.raw.v[i];
        t->total.v[i] += scaled_values.v[i];
    }
    t->err = keep_record(t, &r) ? 0 : -ENOMEM;
    return t->err == 0;
}

/* Most bytes in use first, as Go has them. */
static int by_inuse(const void *a, const void *b)
{
    static const int order[] = {INUSE_BYTES, ALLOC_BYTES};
    const struct record *x = a, *y = b;
    for (int i = 0; i < 2; i++) {
        uint64_t v = x->raw.v[order[i]], w = y->raw.v[order[i]];
        if (v != w) {
            return v < w ? 1 : -1;
        }
    }
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static void text_sites(const struct text *t, struct cu_symbolizer *symbols, struct cu__answer *a)
{
    for (size_t i = 0; i < t->n && a->err == 0; i++) {
        const uint64_t *v = t->records[i].raw.v;
        size_t bytes;
        const cu_frame *frames = cu__interned(&t->stacks, t->records[i].stack, &bytes);
        cu__answer_printf(a, "%" PRIu64 ": %" PRIu64 " [%" PRIu64 ": %" PRIu64 "] @",
                          v[INUSE_OBJECTS], v[INUSE_BYTES], v[ALLOC_OBJECTS], v[ALLOC_BYTES]);
        cu__text_stack(a, symbols, frames, (unsigned)(bytes / sizeof *frames), "other", NULL);
    }
}

/* Go has them in one line, "Stack = inuse / sys", and as these two fields. */
static bool text_stacks(struct cu__answer *a)
{
    struct cu__stack_memory m;
    bool has_some = cu__stack_memory_take(&m) == 0 && m.groups.kinds.nitems > 0;
    if (has_some) {
        cu__answer_printf(a, "# StackInuse = %" PRIu64 "\n# StackSys = %" PRIu64 "\n",
                          m.inuse_bytes, m.sys_bytes);
    }
    cu__stack_memory_clear(&m);
    return has_some;
}

/* What of Go's list is known here. */
static void text_memory(struct cu__answer *a, const struct values *total)
{
    struct rusage usage;
    double live = total->v[ALLOC_OBJECTS] - total->v[INUSE_OBJECTS];
    cu__answer_printf(a, "\n# runtime.MemStats\n# Alloc = %.0f\n# TotalAlloc = %.0f\n",
                      total->v[INUSE_BYTES], total->v[ALLOC_BYTES]);
    cu__answer_printf(a, "# Mallocs = %.0f\n# Frees = %.0f\n# HeapAlloc = %.0f\n",
                      total->v[ALLOC_OBJECTS], live, total->v[INUSE_BYTES]);
    cu__answer_printf(a, "# HeapObjects = %.0f\n", total->v[INUSE_OBJECTS]);
    bool has_stacks = is_active() && text_stacks(a);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        cu__answer_printf(a, "# MaxRSS = %lld\n", (long long)usage.ru_maxrss * 1024);
    }
    cu__answer_printf(a, "# (%s estimates from the samples above)\n",
                      has_stacks ? "all but Stack* and MaxRSS are" : "all but MaxRSS are");
}

static void text_all(const struct text *t, struct cu_symbolizer *symbols, struct cu__answer *a)
{
    const uint64_t *v = t->sum.v;
    /* equal pairs would make readers drop the allocated values */
    bool is_equal = v[INUSE_OBJECTS] == v[ALLOC_OBJECTS] && v[INUSE_BYTES] == v[ALLOC_BYTES];
    cu__answer_printf(
        a, "heap profile: %" PRIu64 ": %" PRIu64 " [%" PRIu64 ": %" PRIu64 "] @ heap/%" PRIu64 "\n",
        v[INUSE_OBJECTS], v[INUSE_BYTES], v[ALLOC_OBJECTS], v[ALLOC_BYTES] + is_equal, 2 * t->rate);
    if (!is_active()) {
        cu__answer_printf(a, "# %s\n", cu__has_heap() ? COPPER_HEAP_TAKEN : COPPER_LINK_HEAP);
    }
    text_sites(t, symbols, a);
    text_memory(a, &t->total);
}

int cu__heap_text(const struct cu__named_options *options, struct cu__answer *a)
{
    (void)options;
    struct text t = {.rate = period()};
    if (cu__has_heap()) {
        cu_heap_each(add_site, &t);
    }
    struct cu_symbolizer *symbols = t.err ? NULL : cu__symbolizer_borrow();
    int err = symbols ? 0 : -ENOMEM;
    if (!err && t.n) {
        qsort(t.records, t.n, sizeof *t.records, by_inuse);
    }
    if (!err && cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        text_all(&t, symbols, a);
    }
    if (symbols) {
        cu__symbolizer_return(symbols);
    }
    cu__interner_clear(&t.stacks);
    free(t.records);
    return err;
}

/* ---- rate ------------------------------------------------------------------------------------ */

int cu_profile_heap_rate(uint64_t bytes)
{
    return cu__has_heap() ? cu_heap_rate_set(bytes) : -ENOTSUP;
}
