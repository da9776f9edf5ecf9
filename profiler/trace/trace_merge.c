/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see trace_merge.h. From top to bottom: one stream; which record is next; rounds.
 */
#include "trace_merge.h"

#include "trace_record.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GONE_NS 1000000000 /* how often ended threads are looked for */

struct stream {
    struct cu__trace_cursor cursor;
    struct cu__model_m *m; /* NULL: not open */
    int32_t tid;
    uint64_t lost;    /* told so far */
    uint32_t *stacks; /* number in the names, by the stream's number */
};

struct cu__merge {
    struct cu__model *model;
    int64_t looked_for_gone_ns;
    struct {
        struct stream *s;
        const struct cu__trace_record *r;
    } heads[COPPER_TRACE_STREAMS]; /* what could be next, by time */
    unsigned nheads;
    struct stream streams[COPPER_TRACE_STREAMS];
};

/* ---- one stream ------------------------------------------------------------------------------ */

static bool open_stream(struct cu__model *model, struct stream *s,
                        const struct cu__trace_stream *source)
{
    s->tid = atomic_load(&source->tid);
    s->m = cu__model_thread(model, s->tid);
    s->stacks = s->stacks ? s->stacks : malloc((COPPER_TRACE_STACK_CACHE + 1) * sizeof(*s->stacks));
    if (s->stacks) {
        memset(s->stacks, 0xff, (COPPER_TRACE_STACK_CACHE + 1) * sizeof(*s->stacks));
    }
    return s->m && s->stacks;
}

/* How many more than when it was last asked. */
static uint64_t tell_lost(struct cu__model *model, struct stream *s,
                          const struct cu__trace_stream *source)
{
    uint64_t more = atomic_load_explicit(&source->lost, memory_order_relaxed) - s->lost;
    if (more) {
        cu__model_lost(model, s->m, more);
        s->lost += more;
    }
    return more;
}

static void define_stack(struct cu__model *model, struct stream *s,
                         const struct cu__trace_record *r)
{
    unsigned n = r->words - COPPER_TRACE_HEAD_WORDS;
    s->stacks[r->stack] = cu__names_stack(cu__model_names(model), r->args, n, r->reason != 0);
}

static void apply(struct cu__model *model, struct stream *s, const struct cu__trace_record *r)
{
    if (r->kind == COPPER_TRACE_STACK) {
        define_stack(model, s, r);
    } else {
        cu__model_apply(model, s->m, r, r->stack ? s->stacks[r->stack] : COPPER_INTERN_NONE);
    }
    cu__trace_cursor_step(&s->cursor, r);
}

/* ---- which record is next -------------------------------------------------------------------- */

/* The next record of a head; false: there is none up to `until`. */
static bool advance(struct cu__merge *x, unsigned i, int64_t until)
{
    x->heads[i].r = cu__trace_cursor_peek(&x->heads[i].s->cursor);
    if (x->heads[i].r && x->heads[i].r->now_ns <= until) {
        return true;
    }
    x->heads[i] = x->heads[--x->nheads];
    return false;
}

static unsigned earliest(const struct cu__merge *x, int64_t *second_ns)
{
    unsigned best = 0;
    *second_ns = INT64_MAX;
    for (unsigned i = 1; i < x->nheads; i++) {
        if (x->heads[i].r->now_ns < x->heads[best].r->now_ns) {
            *second_ns = x->heads[best].r->now_ns;
            best = i;
        } else if (x->heads[i].r->now_ns < *second_ns) {
            *second_ns = x->heads[i].r->now_ns;
        }
    }
    return best;
}

static bool can_be_next(const struct cu__merge *x, unsigned i)
{
    return cu__model_can(x->model, x->heads[i].s->m, x->heads[i].r);
}

/* Another head of the same time that must come before this one. */
static unsigned instead_of(const struct cu__merge *x, unsigned i)
{
    for (unsigned j = 0; j < x->nheads; j++) {
        if (j != i && x->heads[j].r->now_ns == x->heads[i].r->now_ns && can_be_next(x, j)) {
            return j;
        }
    }
    return i;
}

static void merge(struct cu__merge *x, int64_t until)
{
    while (x->nheads > 0) {
        int64_t second_ns;
        unsigned i = earliest(x, &second_ns);
        if (x->heads[i].r->now_ns == second_ns && !can_be_next(x, i)) {
            i = instead_of(x, i);
        }
        do { /* alone up to the next one's time */
            apply(x->model, x->heads[i].s, x->heads[i].r);
        } while (advance(x, i, until) && x->heads[i].r->now_ns < second_ns);
    }
}

/* ---- rounds ---------------------------------------------------------------------------------- */

/* Looks what is in the stream; its first record becomes a head. How many more were lost. */
static uint64_t look(struct cu__merge *x, uint32_t i, int64_t until)
{
    const struct cu__trace_stream *source = cu__trace_stream(i);
    struct stream *s = &x->streams[i];
    cu__trace_cursor_look(&s->cursor, source);
    if (s->cursor.chunk == 0 || (!s->m && !open_stream(x->model, s, source))) {
        return 0;
    }
    x->heads[x->nheads++].s = s;
    advance(x, x->nheads - 1, until);
    return tell_lost(x->model, s, source);
}

uint64_t cu__merge_round(struct cu__merge *x, int64_t until)
{
    uint32_t n = cu__trace_streams();
    uint64_t lost = cu__trace_unheard_take();
    cu__trace_give_chunks();
    x->nheads = 0;
    for (uint32_t i = 0; i < n && i < COPPER_TRACE_STREAMS; i++) {
        lost += look(x, i, until);
    }
    merge(x, until);
    return lost;
}

static bool is_gone(int32_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH;
}

void cu__merge_free_gone(struct cu__merge *x, int64_t now_ns)
{
    if (now_ns < x->looked_for_gone_ns + GONE_NS) {
        return;
    }
    x->looked_for_gone_ns = now_ns;
    for (uint32_t i = 0; i < cu__trace_streams(); i++) {
        struct cu__trace_stream *source = cu__trace_stream(i);
        struct stream *s = &x->streams[i];
        if (!s->m || !is_gone(s->tid)) {
            continue;
        }
        cu__trace_cursor_look(&s->cursor, source);
        if (cu__trace_cursor_peek(&s->cursor) == NULL) {
            cu__model_thread_gone(x->model, s->m);
            cu__trace_stream_free(&s->cursor, source);
            s->m = NULL;
            s->lost = 0;
        }
    }
}

void cu__merge_replace_names(struct cu__merge *x)
{
    struct cu__names *names = cu__model_names(x->model), old = *names;
    *names = (struct cu__names){.nused = 0};
    for (uint32_t i = 0; i < cu__trace_streams(); i++) {
        uint32_t *stacks = x->streams[i].stacks;
        for (uint32_t k = 0; stacks && k <= COPPER_TRACE_STACK_CACHE; k++) {
            stacks[k] = cu__names_move(names, &old, stacks[k]);
        }
    }
    cu__model_forget_births(x->model);
    cu__names_clear(&old);
}

struct cu__merge *cu__merge_new(struct cu__model *model)
{
    struct cu__merge *x = calloc(1, sizeof(*x));
    if (x) {
        x->model = model;
    }
    return x;
}

void cu__merge_free(struct cu__merge *x)
{
    for (uint32_t i = 0; x && i < COPPER_TRACE_STREAMS; i++) {
        free(x->streams[i].stacks);
    }
    free(x);
}
