/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the `threadcreate` profile: the OS threads that exist, counted by the function that each
 * was started with, and what started that. C programs make threads on purpose, so what tells them
 * apart is where they begin.
 *
 * Design. A thread's stack is walked as for the `goroutine` profile, then everything that the start
 * function called is cut off. The start function is the first frame, seen from the outermost, that
 * follows the C library's own start code. A thread that runs just now, or whose stack cannot be
 * walked to its end, counts as a stand-in. Our own threads are left out.
 */
#include "census.h"
#include "encode.h"
#include "named.h"
#include "shared_symbolizer.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The module that thread start code is in. */
static uint32_t libc_module(void)
{
    /* not pthread_create: that name may be an interposed one */
    const struct cu_module *m = cu_module_at((uint64_t)(uintptr_t)&pthread_join);
    return m ? m->id : 0;
}

/* The index of the start function's frame in a stack that is leaf first; n: there is none. */
static unsigned find_start(const cu_frame *frames, unsigned n, uint32_t libc)
{
    unsigned i = n;
    /* _start of the executable lies outside of the C library's part of the main thread's stack */
    if (i >= 2 && COPPER_FRAME_MODULE(frames[i - 1]) != libc &&
        COPPER_FRAME_MODULE(frames[i - 2]) == libc) {
        i--;
    }
    unsigned outer = i;
    while (i > 0 && COPPER_FRAME_MODULE(frames[i - 1]) == libc) {
        i--;
    }
    return i == 0 || i == outer ? n : i - 1;
}

/* Groups of a census of threads, folded by start function. */
struct starts {
    struct cu__interner stacks;
    uint64_t *counts;
    uint64_t total;
};

static int fold(const struct cu__census *c, struct starts *out)
{
    uint32_t libc = libc_module();
    out->counts = calloc(c->groups.kinds.nitems + 1, sizeof(*out->counts));
    if (!out->counts) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < c->groups.kinds.nitems; i++) {
        const struct cu__census_group *g = cu__census_group(c, i);
        if (g->thread == COPPER_INTERN_NONE) {
            continue; /* a coroutine */
        }
        unsigned n;
        const cu_frame *frames = cu__census_stack(c, g->stack, &n);
        unsigned at = n ? find_start(frames, n, libc) : 0;
        uint32_t stack = cu__intern(&out->stacks, frames + at, (n - at) * sizeof(*frames));
        if (stack == COPPER_INTERN_NONE) {
            return -ENOMEM;
        }
        out->counts[stack] += c->groups.counts[i];
        out->total += c->groups.counts[i];
    }
    return 0;
}

static int by_count(const void *a, const void *b, void *arg)
{
    const uint64_t *counts = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (counts[x] != counts[y]) {
        return counts[x] < counts[y] ? 1 : -1;
    }
    return x < y ? -1 : x > y;
}

/* Numbers of stacks, most threads first, as Go has them. The caller frees. NULL: out of memory. */
static uint32_t *order_of(const struct starts *s)
{
    uint32_t n = s->stacks.nitems;
    uint32_t *order = malloc((n ? n : 1) * sizeof *order);
    if (order) {
        for (uint32_t i = 0; i < n; i++) {
            order[i] = i;
        }
        qsort_r(order, n, sizeof *order, by_count, s->counts);
    }
    return order;
}

static int take(struct starts *out)
{
    struct cu__census c;
    *out = (struct starts){.total = 0};
    int err = cu__census_take(&c, (struct cu__census_options){.with_threads = true});
    if (!err) {
        err = fold(&c, out);
    }
    cu__census_clear(&c);
    return err;
}

static void clear(struct starts *s)
{
    cu__interner_clear(&s->stacks);
    free(s->counts);
}

int cu__threadcreate_profile(const struct cu__named_options *options, struct cu_pprof **out)
{
    (void)options;
    struct starts s;
    int64_t taken_ns = cu__wall_ns();
    int err = take(&s);
    struct cu__encoder *e = err ? NULL : cu__encoder_new();
    if (!err && !e) {
        err = -ENOMEM;
    }
    if (!err) {
        struct cu_pprof *p = cu__encoder_profile(e);
        cu_pprof_sample_type(p, "threadcreate", "count");
        cu_pprof_period(p, "threadcreate", "count", 1);
        cu_pprof_time(p, taken_ns, 0);
    }
    for (uint32_t i = 0; !err && i < s.stacks.nitems; i++) {
        size_t bytes;
        const cu_frame *frames = cu__interned(&s.stacks, i, &bytes);
        int64_t value = (int64_t)s.counts[i];
        if (bytes > 0) {
            err =
                cu__encoder_sample(e, frames, (unsigned)(bytes / sizeof(*frames)), &value, NULL, 0);
        } else {
            err = cu__encoder_stand_in(e, "unknown", &value, NULL, 0);
        }
    }
    clear(&s);
    struct cu_pprof *p = e ? cu__encoder_finish(e) : NULL;
    if (err) {
        cu_pprof_free(p);
        return err;
    }
    *out = p;
    return p ? 0 : -ENOMEM;
}

int cu__threadcreate_text(const struct cu__named_options *options, struct cu__answer *a)
{
    (void)options;
    struct starts s;
    int err = take(&s);
    struct cu_symbolizer *symbols = err ? NULL : cu__symbolizer_borrow();
    uint32_t *order = symbols ? order_of(&s) : NULL;
    if (!err && !order) {
        err = -ENOMEM;
    }
    if (!err && cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        cu__answer_printf(a, "threadcreate profile: total %" PRIu64 "\n", s.total);
        for (uint32_t i = 0; i < s.stacks.nitems; i++) {
            size_t bytes;
            struct cu__text_record r = {.count = s.counts[order[i]], .state = "unknown"};
            r.frames = cu__interned(&s.stacks, order[i], &bytes);
            r.nframes = (unsigned)(bytes / sizeof(*r.frames));
            cu__text_record(a, symbols, &r);
        }
    }
    free(order);
    if (symbols) {
        cu__symbolizer_return(symbols);
    }
    clear(&s);
    return err;
}
