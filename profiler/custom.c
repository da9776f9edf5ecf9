/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: profiles that the program makes itself: cu_profile_new, _add, _remove, and all that
 * finds profiles by name.
 *
 * Design. A profile is a handle: one of the program's own with what it holds, or one of those that
 * there always are (kinds.h), so that both are found, counted and visited alike. The stack of an
 * add is walked before the lock is taken, with prepared tables; a module that has none yet is
 * prepared then and there, which a hook of the scheduler could not do.
 *
 * Concurrency: one lock over the list and all that is held; it is held for a few memory accesses,
 * or while a profile is copied out. Handles are never freed. fork: the lock is held over it, so
 * that the child finds everything whole, and what the parent held is held by the child too.
 */
#include "custom.h"

#include "census.h"
#include "encode.h"
#include "held.h"
#include "kinds.h"
#include "machine.h"
#include "shared_symbolizer.h"
#include "stack_bounds.h"

#include <copper/profile.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COPPER_SKIP_MAX       128 /* of the innermost frames */
#define COPPER_OWN_FRAMES_MAX 4   /* frames between the walk and the caller of add, at most */
#define COPPER_COPY_MAX       (64u << 10)

struct cu_profile {
    const char *name;
    struct cu__held *held; /* NULL: one of those that there always are */
};

static struct cu_profile always[] = {
#define COPPER_KIND_ROUTE(name, type, unit, serve, count, description)
#define COPPER_KIND_NAMED(name, type, unit, make, text, count, description) {#name, NULL},
#define COPPER_KIND_DELAY(name, type, description)                          {#name, NULL},
#include "profile_kinds.def"
#undef COPPER_KIND_DELAY
#undef COPPER_KIND_ROUTE
#undef COPPER_KIND_NAMED
};
#define COPPER_ALWAYS (sizeof always / sizeof always[0])

_Static_assert(COPPER_HELD_VALUES_MAX == COPPER_PROFILE_VALUES_MAX, "the header says how many");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct cu_profile *made[COPPER_CUSTOM_MAX]; /* lock; in order of name */
static size_t nmade;                               /* lock */

static void take_lock(void)
{
    pthread_mutex_lock(&lock);
}

static void drop_lock(void)
{
    pthread_mutex_unlock(&lock);
}

static void prepare_for_fork(void)
{
    pthread_atfork(take_lock, drop_lock, drop_lock);
}

/* ---- the list -------------------------------------------------------------------------------- */

static bool is_name(const char *name)
{
    static const char others[] = "_-.";
    size_t n = strlen(name);
    bool is_good = n > 0 && n < COPPER_CUSTOM_NAME_MAX;
    for (size_t i = 0; is_good && i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        is_good = is_letter || (i > 0 && ((c >= '0' && c <= '9') || strchr(others, c)));
    }
    return is_good;
}

/* Where it is, or would have to be. lock */
static size_t place_of(const char *name)
{
    size_t at = 0;
    while (at < nmade && strcmp(made[at]->name, name) < 0) {
        at++;
    }
    return at;
}

/* lock */
static struct cu_profile *find_made(const char *name)
{
    size_t at = place_of(name);
    return at < nmade && strcmp(made[at]->name, name) == 0 ? made[at] : NULL;
}

static struct cu_profile *allocate(const char *name)
{
    struct cu_profile *p = malloc(sizeof *p);
    struct cu__held *held = calloc(1, sizeof *held);
    char *copy = strdup(name);
    if (!p || !held || !copy) {
        free(p);
        free(held);
        free(copy);
        return NULL;
    }
    *p = (struct cu_profile){copy, held};
    return p;
}

/* lock */
static int enter(const char *name, struct cu_profile **out)
{
    if (cu__kind_find(name) || find_made(name)) {
        return -EEXIST;
    }
    if (nmade == COPPER_CUSTOM_MAX) {
        return -ENOSPC;
    }
    struct cu_profile *p = allocate(name);
    if (!p) {
        return -ENOMEM;
    }
    size_t at = place_of(name);
    memmove(&made[at + 1], &made[at], (nmade - at) * sizeof made[0]);
    made[at] = p;
    nmade++;
    *out = p;
    return 0;
}

int cu_profile_new(const char *name, struct cu_profile **out)
{
    *out = NULL;
    if (!name || !is_name(name)) {
        return -EINVAL;
    }
    pthread_once(&once, prepare_for_fork);
    cu_stacks_prepare(); /* so that the first add need not */
    take_lock();
    int err = enter(name, out);
    drop_lock();
    return err;
}

const struct cu_profile *cu__custom_find(const char *name)
{
    take_lock();
    const struct cu_profile *p = find_made(name);
    drop_lock();
    return p;
}

size_t cu__custom_list(const struct cu_profile *out[COPPER_CUSTOM_MAX])
{
    take_lock();
    size_t n = nmade;
    for (size_t i = 0; i < n; i++) {
        out[i] = made[i];
    }
    drop_lock();
    return n;
}

const char *cu__custom_name(const struct cu_profile *p)
{
    return p->name;
}

uint64_t cu__custom_count(const struct cu_profile *p)
{
    take_lock();
    uint64_t count = p->held->n;
    drop_lock();
    return count;
}

struct cu_profile *cu_profile_lookup(const char *name)
{
    for (size_t i = 0; i < COPPER_ALWAYS; i++) {
        if (strcmp(always[i].name, name) == 0) {
            return &always[i];
        }
    }
    take_lock();
    struct cu_profile *p = find_made(name);
    drop_lock();
    return p;
}

const char *cu_profile_name(const struct cu_profile *p)
{
    return p->name;
}

int64_t cu_profile_count(const struct cu_profile *p)
{
    if (p->held) {
        return (int64_t)cu__custom_count(p);
    }
    const struct cu__kind *kind = cu__kind_find(p->name);
    return kind && kind->count ? (int64_t)kind->count() : 0;
}

void cu_profile_each(bool (*visit)(struct cu_profile *p, void *arg), void *arg)
{
    struct cu_profile *own[COPPER_CUSTOM_MAX];
    size_t n, i = 0, j = 0;
    take_lock();
    n = nmade;
    memcpy(own, made, n * sizeof own[0]);
    drop_lock();
    while (i < n || j < COPPER_ALWAYS) {
        bool is_own = j == COPPER_ALWAYS || (i < n && strcmp(own[i]->name, always[j].name) < 0);
        if (!visit(is_own ? own[i++] : &always[j++], arg)) {
            return;
        }
    }
}

/* ---- what is held ---------------------------------------------------------------------------- */

/* Word by word: sanitizers object to whole stacks being read, their marks between variables
 * included. */
__attribute__((noinline, no_sanitize("address"), no_sanitize("thread"))) static void copy_words(
    uint64_t *to, uint64_t from, size_t n)
{
    const volatile uint64_t *words = (const volatile uint64_t *)(uintptr_t)from;
    for (size_t i = 0; i < n; i++) {
        to[i] = words[i];
    }
}

/* Goes on where no table helps, over a copy of what is above. */
static void walk_on(struct cu_walk *w)
{
    uint64_t from = w->regs.sp & ~UINT64_C(7);
    uint64_t rest = from >= w->lo && from < w->hi ? w->hi - from : 0;
    size_t n = (size_t)(rest < COPPER_COPY_MAX ? rest : COPPER_COPY_MAX) / sizeof(uint64_t);
    uint64_t *copy = n ? malloc(n * sizeof *copy) : NULL;
    if (copy) {
        copy_words(copy, from, n);
        cu_stack_walk_copy(w, copy, from, n * sizeof *copy, cu_modules_epoch_sig());
        free(copy);
    }
}

/* How many of the first frames are ours: those before the one that is about to be returned to. */
static unsigned own_frames(const struct cu_walk *w, uint64_t caller)
{
    for (unsigned i = 0; i < w->n && i < COPPER_OWN_FRAMES_MAX; i++) {
        if (COPPER_FRAME_PC(w->frames[i]) == caller) {
            return i;
        }
    }
    return 1;
}

int cu_profile_add(struct cu_profile *p, const void *value, int skip)
{
    cu_frame frames[COPPER_HELD_DEPTH + COPPER_SKIP_MAX + COPPER_OWN_FRAMES_MAX];
    struct cu_walk start = {.frames = frames, .max = sizeof frames / sizeof frames[0]}, w;
    uint64_t caller = (uint64_t)(uintptr_t)__builtin_return_address(0) - 1;
    if (!p || !p->held) {
        return -EPERM;
    }
    cu__regs_here((uint64_t *)&start.regs);
    start.lo = start.regs.sp;
    start.hi = cu__stack_end_here(start.lo);
    w = start;
    cu_stack_walk_sig(&w);
    if (w.end == COPPER_WALK_MISS && cu_stacks_prepare() == 0) {
        w = start;
        cu_stack_walk_sig(&w);
    }
    if (w.end == COPPER_WALK_MISS) {
        walk_on(&w);
    }
    unsigned left_out = own_frames(&w, caller);
    left_out += skip < 0 ? 0 : skip < COPPER_SKIP_MAX ? (unsigned)skip : COPPER_SKIP_MAX;
    unsigned n = w.n > left_out ? w.n - left_out : 0;
    bool is_cut = w.end != COPPER_WALK_ROOT || n > COPPER_HELD_DEPTH;
    n = n < COPPER_HELD_DEPTH ? n : COPPER_HELD_DEPTH;
    take_lock();
    int err = cu__held_add(p->held, value, frames + left_out, n, is_cut);
    drop_lock();
    return err;
}

int cu_profile_remove(struct cu_profile *p, const void *value)
{
    if (!p || !p->held) {
        return -EPERM;
    }
    take_lock();
    bool was_held = cu__held_remove(p->held, value);
    drop_lock();
    return was_held ? 0 : -ENOENT;
}

/* ---- as a profile ---------------------------------------------------------------------------- */

/* What its values are called: its name, without what strict readers do not take. */
static void type_of(const struct cu_profile *p, char type[COPPER_CUSTOM_NAME_MAX])
{
    size_t n = strlen(p->name);
    for (size_t i = 0; i <= n; i++) {
        char c = p->name[i];
        type[i] = (char)(c == '\0' || isalnum((unsigned char)c) ? c : '_');
    }
}

static struct cu__held_copy *copy_of(const struct cu_profile *p)
{
    take_lock();
    struct cu__held_copy *c = cu__held_copy(p->held);
    drop_lock();
    return c;
}

static int encode_stack(struct cu__encoder *e, const struct cu__held_copy *c,
                        const struct cu__held_counted *s)
{
    struct cu_pprof_label cut = {.key = "stack", .str = "cut"};
    if (s->nframes == 0) {
        return cu__encoder_stand_in(e, "unknown", &s->count, NULL, 0);
    }
    return cu__encoder_sample(e, c->frames + s->first, s->nframes, &s->count, &cut, s->is_cut);
}

int cu__custom_profile(const struct cu_profile *p, struct cu_pprof **out)
{
    char type[COPPER_CUSTOM_NAME_MAX];
    int64_t taken_ns = cu__wall_ns();
    struct cu__held_copy *c = copy_of(p);
    struct cu__encoder *e = c ? cu__encoder_new() : NULL;
    int err = e ? 0 : -ENOMEM;
    if (!err) {
        struct cu_pprof *profile = cu__encoder_profile(e);
        type_of(p, type);
        cu_pprof_sample_type(profile, type, "count");
        cu_pprof_period(profile, type, "count", 1);
        cu_pprof_time(profile, taken_ns, 0);
    }
    for (size_t i = 0; !err && i < c->n; i++) {
        err = encode_stack(e, c, &c->stacks[i]);
    }
    free(c);
    struct cu_pprof *profile = e ? cu__encoder_finish(e) : NULL;
    if (err) {
        cu_pprof_free(profile);
        return err;
    }
    *out = profile;
    return profile ? 0 : -ENOMEM;
}

int cu__custom_text(const struct cu_profile *p, struct cu__answer *a)
{
    char type[COPPER_CUSTOM_NAME_MAX];
    struct cu__held_copy *c = copy_of(p);
    struct cu_symbolizer *symbols = c ? cu__symbolizer_borrow() : NULL;
    if (symbols && cu__answer_begin(a, COPPER_TYPE_TEXT, NULL)) {
        type_of(p, type);
        cu__answer_printf(a, "%s profile: total %" PRId64 "\n", type, c->total);
        for (size_t i = 0; i < c->n && a->err == 0; i++) {
            const struct cu__held_counted *s = &c->stacks[i];
            cu__text_record(
                a, symbols,
                &(struct cu__text_record){.count = (uint64_t)s->count,
                                          .frames = c->frames + s->first,
                                          .nframes = s->nframes,
                                          .state = "unknown",
                                          .labels = s->is_cut ? "{\"stack\":\"cut\"}" : NULL});
        }
    }
    bool is_done = symbols != NULL;
    cu__symbolizer_return(symbols);
    free(c);
    return is_done ? 0 : -ENOMEM;
}
