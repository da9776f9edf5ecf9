/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: take a census of coroutines and threads; see census.h.
 *
 * Concurrency: the visitor runs while one coroutine at a time is claimed: it stands still, and so
 * may be walked in place. The visitor allocates, which is allowed: no coroutine that stands still
 * can hold the allocator's or the unwinder's lock.
 */
#include "census.h"

#include "entry_frame.h"
#include "kernel_threads.h"
#include "runtime_weak.h"
#include "xorshift.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPPER_RUNNING_MAX 1024 /* running coroutines matched with threads; there are few P's */

_Static_assert(sizeof(struct cu_saved_regs) == sizeof(struct cu_regs),
               "the runtime's and the unwinder's registers are one layout");

static const struct {
    uint64_t address;
    const char *state, *name;
} stand_ins[] = {
    {COPPER_STAND_IN_START + 0x10, "running", "[running]"},
    {COPPER_STAND_IN_START + 0x30, COPPER_STATE_STACK, "[coroutine stack]"},
    {COPPER_STAND_IN_START + 0x20, NULL, "[stack unknown]"},
};

/* A coroutine that runs: its facts, until a thread is found that waits on its stack. */
struct running {
    struct cu__census_group group;
    struct cu__census_member member;
    uint64_t lo, hi;
    bool is_counted;
};

struct taking {
    struct cu__census *census;
    struct running *running; /* COPPER_RUNNING_MAX, made at the first one */
    size_t nrunning;
    struct cu__thread_reader *reader;
    bool with_threads;
    int64_t now_ns;
    uint64_t random;
    cu_frame frames[COPPER_STACK_DEPTH_MAX + 1];
};

static int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- storing -----------------------------------------------------------------------------------
 */

static bool store_member(struct cu__census *c, const struct cu__census_member *m)
{
    if (c->nmembers == c->members_cap) {
        size_t cap = c->members_cap ? c->members_cap * 2 : 256;
        struct cu__census_member *members = realloc(c->members, cap * sizeof(*members));
        if (!members) {
            return false;
        }
        c->members = members;
        c->members_cap = cap;
    }
    c->members[c->nmembers++] = *m;
    return true;
}

static void count(struct taking *t, const struct cu__census_group *group,
                  const struct cu__census_member *member, const cu_frame *frames, unsigned n)
{
    struct cu__census *c = t->census;
    struct cu__census_group g;
    memset(&g, 0, sizeof(g)); /* interned by its bytes: padding counts */
    g.stack = cu__intern(&c->stacks, frames, n * sizeof(*frames));
    g.thread = group->thread;
    g.state = group->state;
    g.labels = group->labels;
    g.site = group->site;
    uint32_t number = cu__tally_add(&c->groups, &g, sizeof(g));
    if (g.stack == COPPER_INTERN_NONE || number == COPPER_INTERN_NONE) {
        c->is_failed = true;
        return;
    }
    c->total++;
    if (c->options.with_members) {
        struct cu__census_member m = *member;
        m.group = number;
        c->is_failed |= !store_member(c, &m);
    }
}

/* ---- coroutines --------------------------------------------------------------------------------
 */

static unsigned walk_parked(const struct cu_g_info *g, cu_frame *frames)
{
    uint32_t epoch = cu_modules_epoch_sig();
    struct cu_walk w = {.lo = g->regs.sp,
                        .hi = g->stack_hi,
                        .is_call_site = true,
                        .frames = frames,
                        .max = COPPER_STACK_DEPTH_MAX};
    memcpy(&w.regs, &g->regs, sizeof(w.regs));
    cu_stack_walk_sig(&w);
    if (w.end == COPPER_WALK_MISS) {
        /* it stands still: the stack itself serves as the copy */
        cu_stack_walk_copy(&w, (const void *)(uintptr_t)g->regs.sp, g->regs.sp,
                           g->stack_hi - g->regs.sp, epoch);
    }
    cu_frames_resolve(frames, w.n, epoch);
    bool is_whole = w.end == COPPER_WALK_ROOT;
    return is_whole ? cu__entry_restore(frames, w.n, (uint64_t)(uintptr_t)g->entry) : w.n;
}

/* "channel 'jobs' (cap 0, made at x.c:10)"; a number of texts. */
static uint32_t object_text(struct cu__census *c, const struct cu_object_info *o)
{
    static const char *const kinds[] = {
#define COPPER_KIND_TEXT(name, text, many) text,
        COPPER_OBJECT_KINDS(COPPER_KIND_TEXT)
#undef COPPER_KIND_TEXT
    };
    if (o->kind == COPPER_OBJECT_NONE || (unsigned)o->kind >= COPPER_OBJECT_COUNT) {
        return COPPER_INTERN_NONE;
    }
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", kinds[o->kind]);
    if (o->name[0]) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, " '%.31s'", o->name);
    }
    if (o->kind == COPPER_OBJECT_CHAN) {
        n += (size_t)snprintf(text + n, sizeof(text) - n, " (cap %llu%s",
                              (unsigned long long)o->cap, o->is_closed ? ", closed" : "");
        if (o->site) {
            n += (size_t)snprintf(text + n, sizeof(text) - n, ", made at %.256s:%u", o->site->file,
                                  o->site->line);
        }
        snprintf(text + n, sizeof(text) - n, ")");
    } else if (o->owner) {
        snprintf(text + n, sizeof(text) - n, " (held by %lld)", (long long)o->owner);
    }
    return cu__intern_text(&c->texts, text);
}

static void describe(struct taking *t, const struct cu_g_info *g, struct running *out)
{
    struct cu__census *c = t->census;
    bool with_members = c->options.with_members;
    out->group = (struct cu__census_group){
        .thread = COPPER_INTERN_NONE, .state = cu_g_state_text(g), .labels = g->labels, .site = g->site};
    out->member = (struct cu__census_member){
        .id = g->id,
        .parent = g->parent,
        .waiting_ns = g->state == COPPER_G_WAITING ? t->now_ns - g->since_ns : 0,
        .is_locked = g->locked_tid != 0,
        .name =
            with_members && g->name[0] ? cu__intern_text(&c->texts, g->name) : COPPER_INTERN_NONE,
        .object = with_members && g->state == COPPER_G_WAITING ? object_text(c, &g->object)
                                                               : COPPER_INTERN_NONE,
    };
    out->lo = g->stack_lo;
    out->hi = g->stack_hi;
    out->is_counted = false;
}

/* Draws whether this coroutine is taken. */
static bool is_taken(struct taking *t)
{
    return (cu__xorshift(&t->random) >> 11) % t->census->options.one_in == 0;
}

static bool visit_coroutine(const struct cu_g_info *g, void *arg)
{
    struct taking *t = arg;
    struct running facts;
    if (t->census->options.one_in > 1 && !is_taken(t)) {
        return true;
    }
    describe(t, g, &facts);
    unsigned n = 0;
    if (g->has_regs && g->is_started) {
        n = walk_parked(g, t->frames);
    }
    if (n == 0) {
        t->frames[0] = cu__frame_at((uint64_t)(uintptr_t)g->entry);
        n = 1;
    }
    bool is_on_thread = g->state == COPPER_G_RUNNING || g->state == COPPER_G_SYSCALL;
    if (is_on_thread && g->stack_hi != 0 && t->nrunning < COPPER_RUNNING_MAX) {
        if (!t->running) {
            t->running = calloc(COPPER_RUNNING_MAX, sizeof(*t->running));
        }
        if (t->running) {
            facts.group.stack = cu__intern(&t->census->stacks, t->frames, sizeof(cu_frame));
            t->running[t->nrunning++] = facts;
            return true;
        }
    }
    count(t, &facts.group, &facts.member, t->frames, n);
    return !t->census->is_failed;
}

/* ---- threads -----------------------------------------------------------------------------------
 */

static struct running *find_running(struct taking *t, uint64_t sp)
{
    for (size_t i = 0; i < t->nrunning; i++) {
        struct running *r = &t->running[i];
        if (!r->is_counted && sp >= r->lo && sp < r->hi) {
            return r;
        }
    }
    return NULL;
}

static bool is_thread_taken(const struct taking *t, int32_t tid)
{
    bool is_left_out = t->census->options.without_workers && cu_worker_thread_is &&
                       cu_worker_thread_is(tid);
    return t->with_threads && !is_left_out;
}

static bool visit_thread(const struct cu__thread *seen, void *arg)
{
    struct taking *t = arg;
    struct cu__thread thread = *seen;
    struct running *coroutine = seen->has_regs ? find_running(t, seen->sp) : NULL;
    if (!coroutine && !is_thread_taken(t, seen->tid)) {
        return true;
    }
    unsigned n = cu__thread_walk(t->reader, &thread, coroutine ? coroutine->hi : 0, t->frames,
                                 COPPER_STACK_DEPTH_MAX);
    if (coroutine) {
        /* caught on that coroutine's stack from beginning to end, or else not at all */
        if (n > 0 && thread.sp >= coroutine->lo && thread.sp < coroutine->hi) {
            coroutine->group.state = thread.state;
            coroutine->is_counted = true;
            count(t, &coroutine->group, &coroutine->member, t->frames, n);
        }
        return !t->census->is_failed;
    }
    struct cu__census *c = t->census;
    struct cu__census_group group = {.thread = cu__intern_text(&c->texts, thread.name),
                                     .state = thread.state};
    struct cu__census_member member = {
        .id = thread.tid, .name = COPPER_INTERN_NONE, .object = COPPER_INTERN_NONE};
    count(t, &group, &member, t->frames, n);
    return !c->is_failed;
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

static void take_coroutines(struct taking *t)
{
    int64_t visited = cu_inspect_each(visit_coroutine, t);
    if (visited < 0) {
        t->census->is_failed = true;
    }
}

static void count_rest_of_running(struct taking *t)
{
    for (size_t i = 0; i < t->nrunning; i++) {
        struct running *r = &t->running[i];
        if (!r->is_counted) {
            unsigned n;
            const cu_frame *frames = cu__census_stack(t->census, r->group.stack, &n);
            memcpy(t->frames, frames ? frames : t->frames, n * sizeof(cu_frame));
            count(t, &r->group, &r->member, t->frames, n);
        }
    }
}

int cu__census_take(struct cu__census *c, struct cu__census_options options)
{
    *c = (struct cu__census){.options = options};
    struct taking *t = calloc(1, sizeof(*t));
    if (!t) {
        c->is_failed = true;
        return -ENOMEM;
    }
    bool has_runtime = cu__has_runtime();
    t->census = c;
    t->with_threads = options.with_threads || !has_runtime;
    t->now_ns = clock_ns();
    t->random = (uint64_t)t->now_ns * UINT64_C(0x9e3779b97f4a7c15) | 1;
    cu_stacks_prepare(); /* a failure costs speed only: what is missing is unwound from copies */
    if (has_runtime) {
        take_coroutines(t);
    }
    if (t->with_threads || t->nrunning > 0) {
        t->reader = cu__thread_reader_open();
        if (t->reader) {
            cu__threads_each(visit_thread, t);
        } else {
            c->is_failed = true;
        }
        cu__thread_reader_close(t->reader);
    }
    count_rest_of_running(t);
    c->is_failed |= c->texts.is_failed;
    free(t->running);
    free(t);
    return c->is_failed ? -ENOMEM : 0;
}

void cu__census_clear(struct cu__census *c)
{
    cu__interner_clear(&c->stacks);
    cu__interner_clear(&c->texts);
    cu__tally_clear(&c->groups);
    free(c->members);
    *c = (struct cu__census){0};
}

const struct cu__census_group *cu__census_group(const struct cu__census *c, uint32_t group)
{
    return cu__interned(&c->groups.kinds, group, NULL);
}

const cu_frame *cu__census_stack(const struct cu__census *c, uint32_t stack, unsigned *n)
{
    size_t bytes;
    const cu_frame *frames = cu__interned(&c->stacks, stack, &bytes);
    *n = (unsigned)(bytes / sizeof(cu_frame));
    return frames;
}

static int by_count(const void *a, const void *b, void *census)
{
    const struct cu__census *c = census;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (c->groups.counts[x] != c->groups.counts[y]) {
        return c->groups.counts[x] > c->groups.counts[y] ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

uint32_t *cu__census_order(const struct cu__census *c)
{
    uint32_t n = c->groups.kinds.nitems;
    uint32_t *order = malloc((n ? n : 1) * sizeof(*order));
    if (order) {
        for (uint32_t i = 0; i < n; i++) {
            order[i] = i;
        }
        qsort_r(order, n, sizeof(*order), by_count, (void *)(uintptr_t)c);
    }
    return order;
}

uint64_t cu__census_count(void)
{
    if (cu__has_runtime()) {
        struct cu_runtime_stats stats = {.size = sizeof(stats)};
        cu_runtime_stats_read(&stats);
        return stats.live;
    }
    return cu__threads_count();
}

/* ---- labels and stand-ins ----------------------------------------------------------------------
 */

/* Inserts in order of keys; a key that is there already stays. */
static void add_label(struct cu__group_labels *out, const char *key, const char *value)
{
    unsigned at = 0;
    while (at < out->n && strcmp(out->at[at].key, key) < 0) {
        at++;
    }
    if (out->n == COPPER_GROUP_LABELS_MAX || (at < out->n && strcmp(out->at[at].key, key) == 0)) {
        return;
    }
    memmove(&out->at[at + 1], &out->at[at], (out->n - at) * sizeof(out->at[0]));
    out->at[at] = (struct cu__group_label){key, value};
    out->n++;
}

void cu__census_labels(const struct cu__census *c, const struct cu__census_group *g,
                       struct cu__group_labels *out)
{
    out->n = 0;
    size_t n = g->labels ? cu_labels_count(g->labels) : 0;
    for (size_t i = 0; i < n; i++) {
        add_label(out, cu_labels_key(g->labels, i), cu_labels_value(g->labels, i));
    }
    add_label(out, "state", g->state);
    const char *thread = cu__interned(&c->texts, g->thread, NULL);
    if (thread && thread[0]) {
        add_label(out, "thread", thread);
    }
    if (g->site) {
        snprintf(out->spawned_at, sizeof(out->spawned_at), "%.200s %.280s:%u", g->site->function,
                 g->site->file, g->site->line);
        add_label(out, "spawned_at", out->spawned_at);
    }
}

uint64_t cu__stand_in_address(const char *state)
{
    for (size_t i = 0; i < sizeof(stand_ins) / sizeof(stand_ins[0]); i++) {
        if (!stand_ins[i].state || strcmp(stand_ins[i].state, state) == 0) {
            return stand_ins[i].address;
        }
    }
    return COPPER_STAND_IN_START;
}

const char *cu__stand_in_name(uint64_t address)
{
    for (size_t i = 0; i < sizeof(stand_ins) / sizeof(stand_ins[0]); i++) {
        if (stand_ins[i].address == address) {
            return stand_ins[i].name;
        }
    }
    return NULL;
}
