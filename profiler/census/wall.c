/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: wall-clock profiles: /debug/pprof/wall and /debug/fgprof. Every coroutine and thread,
 * running or waiting, looked at 99 times a second, or less often where that would cost too much.
 *
 * Design. A look is a census. What it counts weighs the time since the look before, so totals are
 * right at whatever rate the looks really came; they come less often where they would cost more
 * than COPPER_BUDGET of a CPU. Beyond 10 000 coroutines each is taken with a probability and weighs
 * its inverse. Workers are not counted as threads: their time is that of the coroutines.
 *
 * Concurrency: each request has its own looks.
 */
#include "wall.h"

#include "budget.h"
#include "census.h"
#include "cpu_int.h"
#include "encode.h"
#include "http_query.h"
#include "named.h"
#include "recorded.h"
#include "routes.h"
#include "runtime_weak.h"
#include "shared_symbolizer.h"
#include "waiting.h"

#include <copper/profiler.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS         (1000000000 / 99)
#define LOOK_PAUSE_MAX  1000000000 /* there is one look a second, however small the budget */
#define LOOKED_AT_MAX   10000      /* coroutines of one look, about */
#define SECONDS_DEFAULT 30

struct total {
    uint64_t samples;
    int64_t ns;
};

struct wall {
    struct cu__census seen; /* stacks, texts and groups of all looks; counts are in totals */
    struct total *totals;   /* by group */
    uint32_t totals_cap;
    uint64_t looks;
    int64_t cost_ns;
    bool is_lowered; /* the budget made pauses longer */
    int64_t begin_wall_ns, duration_ns;
};

/* ---- looking --------------------------------------------------------------------------------- */

static struct total *total_of(struct wall *w, uint32_t group)
{
    if (group >= w->totals_cap) {
        uint32_t cap = group * 2 + 64;
        struct total *totals = realloc(w->totals, cap * sizeof(*totals));
        if (!totals) {
            return NULL;
        }
        memset(totals + w->totals_cap, 0, (cap - w->totals_cap) * sizeof(*totals));
        w->totals = totals;
        w->totals_cap = cap;
    }
    return &w->totals[group];
}

/* Counts group `number` of a look among those of all looks. */
static bool add_group(struct wall *w, const struct cu__census *look, uint32_t number,
                      uint64_t weight, int64_t ns)
{
    const struct cu__census_group *g = cu__census_group(look, number);
    const char *thread = cu__interned(&look->texts, g->thread, NULL);
    unsigned n;
    const cu_frame *frames = cu__census_stack(look, g->stack, &n);
    struct cu__census_group own;
    memset(&own, 0, sizeof(own)); /* interned by its bytes: padding counts */
    own.stack = cu__intern(&w->seen.stacks, frames, n * sizeof(*frames));
    own.thread = thread ? cu__intern_text(&w->seen.texts, thread) : COPPER_INTERN_NONE;
    own.state = g->state;
    own.labels = g->labels;
    own.site = g->site;
    uint32_t group = cu__intern(&w->seen.groups.kinds, &own, sizeof(own));
    struct total *total =
        own.stack == COPPER_INTERN_NONE || group == COPPER_INTERN_NONE ? NULL : total_of(w, group);
    if (total) {
        uint64_t count = look->groups.counts[number] * (thread ? 1 : weight);
        total->samples += count;
        total->ns += (int64_t)count * ns;
    }
    return total != NULL;
}

static int look(struct wall *w, int64_t ns)
{
    struct cu__census c;
    uint64_t live = cu__has_runtime() ? cu__census_count() : 0;
    uint32_t one_in = (uint32_t)(live / LOOKED_AT_MAX) + 1;
    int err = cu__census_take(&c, (struct cu__census_options){.with_threads = true,
                                                              .without_workers = true,
                                                              .one_in = one_in});
    for (uint32_t i = 0; !err && i < c.groups.kinds.nitems; i++) {
        err = add_group(w, &c, i, one_in, ns) ? 0 : -ENOMEM;
    }
    cu__census_clear(&c);
    w->looks++;
    return err;
}

/* How much peace a look is followed by, so that looks stay within the budget of one CPU. */
static int64_t pause_after(int64_t cost_ns)
{
    double pause = (double)cost_ns / cu__budget();
    return pause < LOOK_PAUSE_MAX ? (int64_t)pause : LOOK_PAUSE_MAX;
}

/* -ECANCELED: the client left. */
static int watch(struct wall *w, int64_t duration_ns, cu__is_gone_fn *is_gone, void *ctx)
{
    int64_t begin = cu__now_ns(), end = begin + duration_ns, last = begin, now = begin;
    int64_t pause = LOOK_NS;
    w->begin_wall_ns = cu__wall_ns();
    int err = 0;
    while (!err && now < end && !cu__is_finishing()) {
        int64_t step = pause < end - now ? pause : end - now;
        if (!cu__wait(step, is_gone, ctx)) {
            return -ECANCELED;
        }
        int64_t cpu = cu__clock_ns(CLOCK_THREAD_CPUTIME_ID);
        now = cu__now_ns();
        err = look(w, now - last);
        last = now;
        now = cu__now_ns();
        cpu = cu__clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
        cu__cost_add(COPPER_COST_WALL, cpu);
        w->cost_ns += cpu;
        int64_t dear = pause_after(cpu);
        w->is_lowered |= dear > LOOK_NS;
        int64_t due = last + LOOK_NS - now; /* the look itself is part of the interval */
        pause = dear > due ? dear : due > 0 ? due : 0;
    }
    w->duration_ns = last - begin;
    return err;
}

static void clear(struct wall *w)
{
    cu__census_clear(&w->seen);
    free(w->totals);
}

/* ---- answers --------------------------------------------------------------------------------- */

static int encode_group(struct cu__encoder *e, const struct wall *w, uint32_t number)
{
    const struct cu__census_group *g = cu__census_group(&w->seen, number);
    struct cu__group_labels found;
    struct cu_pprof_label labels[COPPER_GROUP_LABELS_MAX];
    cu__census_labels(&w->seen, g, &found);
    for (unsigned i = 0; i < found.n; i++) {
        labels[i] = (struct cu_pprof_label){.key = found.at[i].key, .str = found.at[i].value};
    }
    unsigned n;
    const cu_frame *frames = cu__census_stack(&w->seen, g->stack, &n);
    int64_t values[2] = {(int64_t)w->totals[number].samples, w->totals[number].ns};
    if (n > 0) {
        return cu__encoder_sample(e, frames, n, values, labels, found.n);
    }
    return cu__encoder_stand_in(e, g->state, values, labels, found.n);
}

static void comment(struct cu_pprof *p, const struct wall *w)
{
    char text[160];
    double seconds = (double)w->duration_ns / 1e9;
    snprintf(text, sizeof text, "# rate: %" PRIu64 " looks in %.3f s, 99 a second wanted%s",
             w->looks, seconds, w->is_lowered ? "; lowered to stay within COPPER_BUDGET" : "");
    cu_pprof_comment(p, text);
    snprintf(text, sizeof text, "# cost: %.3f %% of a CPU",
             w->duration_ns > 0 ? 100 * (double)w->cost_ns / (double)w->duration_ns : 0);
    cu_pprof_comment(p, text);
}

static int encode(const struct wall *w, struct cu_pprof **out)
{
    struct cu__encoder *e = cu__encoder_new();
    int err = e ? 0 : -ENOMEM;
    if (!err) {
        struct cu_pprof *p = cu__encoder_profile(e);
        int64_t period = w->looks ? w->duration_ns / (int64_t)w->looks : LOOK_NS;
        cu_pprof_sample_type(p, "samples", "count");
        cu_pprof_sample_type(p, "time", "nanoseconds");
        cu_pprof_period(p, "wallclock", "nanoseconds", period > 0 ? period : LOOK_NS);
        cu_pprof_time(p, w->begin_wall_ns, w->duration_ns);
    }
    for (uint32_t i = 0; !err && i < w->seen.groups.kinds.nitems; i++) {
        err = encode_group(e, w, i);
    }
    struct cu_pprof *p = e ? cu__encoder_finish(e) : NULL;
    if (err) {
        cu_pprof_free(p);
        return err;
    }
    if (!p) {
        return -ENOMEM;
    }
    comment(p, w);
    *out = p;
    return 0;
}

int cu__wall_profile(int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out)
{
    struct wall w = {0};
    int err = watch(&w, window_ns, is_gone, ctx);
    err = err ? err : encode(&w, out);
    clear(&w);
    return err;
}

static int send_pprof(struct cu__answer *a, int64_t window_ns, const char *filename)
{
    struct cu_pprof *p = NULL;
    int err = cu__wall_profile(window_ns, cu__answer_is_gone, a, &p);
    if (!err && cu__answer_begin(a, COPPER_TYPE_BINARY, filename)) {
        a->err = cu_pprof_write(p, cu__answer_write, a);
    }
    cu_pprof_free(p);
    return err;
}

/* "root;...;leaf N" lines. */
static int write_folded(struct cu__answer *a, const struct wall *w)
{
    struct cu_symbolizer *symbols = cu__symbolizer_borrow();
    if (!symbols) {
        return -ENOMEM;
    }
    cu__answer_begin(a, COPPER_TYPE_TEXT, NULL);
    for (uint32_t i = 0; i < w->seen.groups.kinds.nitems && a->err == 0; i++) {
        const struct cu__census_group *g = cu__census_group(&w->seen, i);
        unsigned n;
        const cu_frame *frames = cu__census_stack(&w->seen, g->stack, &n);
        if (n == 0) {
            cu__answer_printf(a, "%s", cu__stand_in_name(cu__stand_in_address(g->state)));
        }
        for (unsigned at = n; at-- > 0;) {
            struct cu_symbol s;
            cu_symbolize(symbols, frames[at], &s);
            for (size_t j = s.nlines; j-- > 0;) {
                cu__answer_printf(a, "%.900s%s", s.lines[j].function, at || j ? ";" : "");
            }
        }
        cu__answer_printf(a, " %" PRIu64 "\n", w->totals[i].samples);
    }
    cu__symbolizer_return(symbols);
    return 0;
}

static int send_folded(struct cu__answer *a, int64_t window_ns)
{
    struct wall w = {0};
    int err = watch(&w, window_ns, cu__answer_is_gone, a);
    err = err ? err : write_folded(a, &w);
    clear(&w);
    return err;
}

static void serve(struct cu__answer *a, int64_t window_ns, const char *filename, bool is_folded)
{
    if (a->is_head) {
        cu__answer_begin(a, is_folded ? COPPER_TYPE_TEXT : COPPER_TYPE_BINARY, filename);
        return;
    }
    cu__window_begin();
    int err = is_folded ? send_folded(a, window_ns) : send_pprof(a, window_ns, filename);
    if (err) {
        cu__answer_error(a, 500, "failed to collect profile: %s", strerror(-err));
    }
    cu__window_end();
}

void cu__serve_wall(struct cu__answer *a)
{
    int64_t window_ns = cu__window_ns(a);
    if (window_ns) {
        serve(a, window_ns, "wall", false);
    }
}

void cu__serve_fgprof(struct cu__answer *a)
{
    const char *query = a->request->query;
    char text[COPPER_QUERY_VALUE_MAX];
    int64_t seconds = SECONDS_DEFAULT;
    if (cu__query_value(query, "seconds", text) && text[0] &&
        (!cu__parse_int(text, &seconds) || seconds <= 0)) {
        cu__answer_error(a, 400, "bad seconds: %s: must be a positive integer", text);
        return;
    }
    bool has_format = cu__query_value(query, "format", text) && text[0];
    bool is_folded = has_format && strcmp(text, "folded") == 0;
    if (has_format && !is_folded && strcmp(text, "pprof") != 0) {
        cu__answer_error(a, 400, "unknown format %s: pprof or folded", text);
        return;
    }
    if (cu__allow_seconds(a, seconds)) {
        serve(a, seconds * 1000000000, is_folded ? NULL : "fgprof", is_folded);
    }
}
