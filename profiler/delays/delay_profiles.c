/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the block, mutex, schedule and hog profiles and their text forms, from delay_table.h.
 *
 * Design. A stack that was walked on the stack of who told begins with our hook and the runtime's
 * telling (cu__emit_..., cu__tell_...): these are left out, the runtime's call itself stays.
 */
#include "budget.h"
#include "delay_hooks.h"
#include "delay_rates.h"
#include "encode.h"
#include "entry_frame.h"
#include "named.h"
#include "quote.h"
#include "runtime_weak.h"
#include "shared_symbolizer.h"

#include <copper/label.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma weak cu_ready_cause_text
#pragma weak cu_labels_count
#pragma weak cu_labels_key
#pragma weak cu_labels_value

#define OWN_FRAMES_MAX    8u
#define DELAY_LABELS_MAX  (2 + COPPER_LABELS_MAX) /* ours and those of the coroutine or thread */
#define DELAY_LABELS_TEXT 4096
/* of the text, kept free for what stands between keys and values */
#define DELAY_LABELS_BETWEEN (4 * DELAY_LABELS_MAX)

static const char *const first_type[COPPER_DELAY_KINDS] = {"contentions", "contentions", "delays",
                                                           "hogs"};

struct making {
    struct cu__encoder *e;
    struct cu__answer *a;
    struct cu_symbolizer *symbols;
    int err;
};

/* A frame that a hook took from a bare address has no module yet. out: one frame more than there
 * are in the table. */
static unsigned copy_frames(const struct cu__delay_entry *entry, const cu_frame *frames,
                            cu_frame *out)
{
    for (uint32_t i = 0; i < entry->nframes; i++) {
        bool is_bare = COPPER_FRAME_MODULE(frames[i]) == 0;
        out[i] = is_bare ? cu__frame_at(frames[i]) : frames[i];
    }
    unsigned n = entry->nframes;
    return entry->key.is_cut ? n : cu__entry_restore(out, n, entry->key.entry);
}

static bool is_telling(struct cu_symbolizer *symbols, cu_frame frame, const char *prefix)
{
    struct cu_symbol s;
    cu_symbolize(symbols, frame, &s);
    return strncmp(s.lines[0].function, prefix, strlen(prefix)) == 0;
}

/* How many of the first frames are ours. */
static unsigned own_frames(struct cu_symbolizer *symbols, const cu_frame *frames, unsigned n)
{
    for (unsigned i = 0; i + 1 < n && i < OWN_FRAMES_MAX; i++) {
        if (is_telling(symbols, frames[i], "cu__emit_")) {
            bool has_outer = i + 2 < n && is_telling(symbols, frames[i + 1], "cu__tell_");
            return i + 1 + has_outer;
        }
    }
    return 0;
}

static const char *waker_text(struct cu_symbolizer *symbols, uint64_t waker)
{
    static const char *const others[] = {"unknown", "timer", "poller", "thread", "runtime"};
    if (waker <= COPPER_WAKER_LAST) {
        return others[waker];
    }
    const struct cu_module *m = cu_module_at(waker);
    struct cu_symbol s;
    cu_symbolize(symbols, (m ? (uint64_t)m->id << 48 : 0) | waker, &s);
    return s.lines[s.nlines - 1].function;
}

static size_t own_labels(const struct making *t, const struct cu__delay_entry *entry,
                         struct cu_pprof_label labels[2])
{
    if (entry->key.kind == COPPER_DELAY_BLOCK && entry->key.why != COPPER_WAIT_NONE) {
        labels[0] = (struct cu_pprof_label){
            .key = "reason", .str = cu_wait_reason_text((enum cu_wait_reason)entry->key.why)};
        return 1;
    }
    if (entry->key.kind == COPPER_DELAY_SCHEDULE && entry->nframes) {
        labels[0] = (struct cu_pprof_label){
            .key = "cause", .str = cu_ready_cause_text((enum cu_ready_cause)entry->key.why)};
        labels[1] = (struct cu_pprof_label){.key = "waker",
                                            .str = waker_text(t->symbols, entry->key.waker)};
        return 2;
    }
    return 0;
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

/* Ours win over the program's of the same key. */
static size_t labels_of(const struct making *t, const struct cu__delay_entry *entry,
                        struct cu_pprof_label labels[DELAY_LABELS_MAX])
{
    const struct cu_labels *set = entry->key.labels;
    size_t own = own_labels(t, entry, labels), n = own;
    for (size_t i = 0; set && cu_labels_count && i < cu_labels_count(set); i++) {
        const char *key = cu_labels_key(set, i);
        if (!has_key(labels, own, key)) {
            labels[n++] = (struct cu_pprof_label){.key = key, .str = cu_labels_value(set, i)};
        }
    }
    return n;
}

/* Rounded: a stack that counted at all shows. */
static int64_t whole_count(const struct cu__delay_entry *entry)
{
    int64_t count = atomic_load_explicit(&entry->count, memory_order_relaxed);
    return (count + COPPER_DELAY_ONE / 2) / COPPER_DELAY_ONE;
}

static void add_sample(const struct cu__delay_entry *entry, const cu_frame *raw, void *arg)
{
    struct making *t = arg;
    struct cu_pprof_label labels[DELAY_LABELS_MAX];
    cu_frame frames[COPPER_DELAY_DEPTH + 1];
    unsigned n = copy_frames(entry, raw, frames), own = own_frames(t->symbols, frames, n);
    size_t nlabels = labels_of(t, entry, labels);
    int64_t values[2] = {whole_count(entry),
                         atomic_load_explicit(&entry->delay_ns, memory_order_relaxed)};
    if (t->err) {
        return;
    }
    if (n) {
        t->err = cu__encoder_sample(t->e, frames + own, n - own, values, labels, nlabels);
        return;
    }
    t->err = cu__encoder_stand_in(t->e, "unknown", values, labels, nlabels);
}

static void comment(struct cu_pprof *p, enum cu__delay_kind kind)
{
    char text[160];
    bool is_lowered;
    int64_t rate = cu__delay_rate(kind, &is_lowered);
    const char *why = is_lowered ? "; coarser to stay within COPPER_BUDGET" : "";
    if (rate == 0) {
        snprintf(text, sizeof text, "# rate: off now");
    } else if (kind == COPPER_DELAY_MUTEX) {
        snprintf(text, sizeof text, "# rate: one in %" PRId64 " contended unlocks now%s", rate,
                 why);
    } else {
        snprintf(text, sizeof text,
                 "# rate: waits of %" PRId64 " ns, shorter ones in proportion, now%s", rate, why);
    }
    cu_pprof_comment(p, text);
    snprintf(text, sizeof text, "# cost: %.6f s in all kinds of delays since the start",
             (double)cu__cost_ns(COPPER_COST_DELAY) / 1e9);
    cu_pprof_comment(p, text);
}

static int make(enum cu__delay_kind kind, struct cu_pprof **out)
{
    struct making t = {.e = cu__encoder_new(), .symbols = cu__symbolizer_borrow()};
    t.err = t.e && t.symbols ? 0 : -ENOMEM;
    if (!t.err) {
        struct cu_pprof *p = cu__encoder_profile(t.e);
        cu_pprof_sample_type(p, first_type[kind], "count");
        cu_pprof_sample_type(p, "delay", "nanoseconds");
        cu_pprof_period(p, first_type[kind], "count", 1);
        cu_pprof_time(p, cu__wall_ns(), 0);
        cu__delay_tend();
        cu__delay_each(kind, add_sample, &t);
    }
    if (t.symbols) {
        cu__symbolizer_return(t.symbols);
    }
    struct cu_pprof *p = t.e ? cu__encoder_finish(t.e) : NULL;
    if (t.err) {
        cu_pprof_free(p);
        return t.err;
    }
    if (p) {
        comment(p, kind);
    }
    *out = p;
    return p ? 0 : -ENOMEM;
}

/* ---- the text forms: most delay first, as Go has them ---------------------------------------- */

/* Values as they are shown: they may grow while records are sorted. */
struct record {
    const struct cu__delay_entry *entry;
    const cu_frame *frames;
    int64_t count, delay_ns;
};

struct records {
    struct record *at;
    size_t n, cap;
    int err;
};

static void add_record(const struct cu__delay_entry *entry, const cu_frame *frames, void *arg)
{
    struct records *r = arg;
    if (r->n == r->cap && !r->err) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        struct record *at = realloc(r->at, cap * sizeof *at);
        r->err = at ? 0 : -ENOMEM;
        r->at = at ? at : r->at;
        r->cap = at ? cap : r->cap;
    }
    if (!r->err) {
        int64_t delay_ns = atomic_load_explicit(&entry->delay_ns, memory_order_relaxed);
        r->at[r->n++] = (struct record){entry, frames, whole_count(entry), delay_ns};
    }
}

static int by_delay(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    if (x->delay_ns != y->delay_ns) {
        return x->delay_ns < y->delay_ns ? 1 : -1;
    }
    return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static void write_record(const struct making *t, const struct record *r)
{
    struct cu_pprof_label labels[DELAY_LABELS_MAX];
    cu_frame frames[COPPER_DELAY_DEPTH + 1];
    char lead[64], text[DELAY_LABELS_TEXT] = "";
    unsigned n = copy_frames(r->entry, r->frames, frames);
    unsigned own = own_frames(t->symbols, frames, n);
    size_t nlabels = labels_of(t, r->entry, labels);
    for (size_t i = 0; i < nlabels; i++) {
        strcat(text, i ? ", " : "{");
        cu__append_quoted(text, sizeof(text) - DELAY_LABELS_BETWEEN, labels[i].key);
        strcat(text, ":");
        cu__append_quoted(text, sizeof(text) - DELAY_LABELS_BETWEEN, labels[i].str);
    }
    strcat(text, nlabels ? "}" : "");
    snprintf(lead, sizeof(lead), "%" PRId64 " %" PRId64, r->delay_ns, r->count);
    cu__text_record(t->a, t->symbols,
                    &(struct cu__text_record){.lead = lead,
                                              .frames = frames + own,
                                              .nframes = n - own,
                                              .state = "unknown",
                                              .labels = nlabels ? text : NULL});
}

/* One cycle is a nanosecond, and values stand for all, not for those sampled. */
static void write_text(const struct making *t, enum cu__delay_kind kind, const struct records *r)
{
    bool is_mutex = kind == COPPER_DELAY_MUTEX;
    cu__answer_printf(t->a, "--- %s:\ncycles/second=1000000000\n%s",
                      is_mutex ? "mutex" : "contention", is_mutex ? "sampling period=1\n" : "");
    for (size_t i = 0; i < r->n && t->a->err == 0; i++) {
        write_record(t, &r->at[i]);
    }
}

static int text(enum cu__delay_kind kind, struct cu__answer *a)
{
    struct making t = {.a = a, .symbols = cu__symbolizer_borrow()};
    struct records r = {.at = NULL};
    if (!t.symbols) {
        return -ENOMEM;
    }
    cu__delay_tend();
    cu__delay_each(kind, add_record, &r);
    if (!r.err) {
        if (r.n) {
            qsort(r.at, r.n, sizeof *r.at, by_delay);
        }
        if (cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
            write_text(&t, kind, &r);
        }
    }
    free(r.at);
    cu__symbolizer_return(t.symbols);
    return r.err;
}

/* ---- what kinds.h takes ---------------------------------------------------------------------- */

#define COPPER_DELAY_PROFILE(name, kind)                                                           \
    int cu__##name##_profile(const struct cu__named_options *options, struct cu_pprof **out)       \
    {                                                                                              \
        (void)options;                                                                             \
        return make(kind, out);                                                                    \
    }                                                                                              \
    int cu__##name##_text(const struct cu__named_options *options, struct cu__answer *a)           \
    {                                                                                              \
        (void)options;                                                                             \
        return text(kind, a);                                                                      \
    }                                                                                              \
    uint64_t cu__##name##_count(void)                                                              \
    {                                                                                              \
        return cu__delay_entries(kind);                                                            \
    }                                                                                              \
    int cu__##name##_window(bool is_open)                                                          \
    {                                                                                              \
        int err = is_open ? cu__delay_window_open(kind) : 0;                                       \
        if (!is_open) {                                                                            \
            cu__delay_window_close(kind);                                                          \
        }                                                                                          \
        return err;                                                                                \
    }

COPPER_DELAY_PROFILE(block, COPPER_DELAY_BLOCK)
COPPER_DELAY_PROFILE(mutex, COPPER_DELAY_MUTEX)
COPPER_DELAY_PROFILE(schedule, COPPER_DELAY_SCHEDULE)
COPPER_DELAY_PROFILE(hog, COPPER_DELAY_HOG)
