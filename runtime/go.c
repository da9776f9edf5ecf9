/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/go.h: starting, yielding, ending, naming coroutines.
 */
#include <copper/go.h>
#include <copper/sync.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "at_end.h"
#include "clock.h"
#include "events.h"
#include "futex.h"
#include "origin.h"
#include "ownership.h"
#include "registry.h"
#include "report.h"
#include "schedule.h"
#include "service.h"
#include "spawn.h"
#include "stack.h"
#include "tls.h"

/* Names are read by inspectors while they change: word by word. */
static void store_name(struct cu__g *g, const char *name)
{
    uint64_t words[ARRAY_LEN(g->name)] = {0};
    if (name) {
        memcpy(words, name, strnlen(name, COPPER_NAME_SIZE - 1));
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        store_relaxed(&g->name[i], words[i]);
    }
    g->has_name = words[0] != 0;
}

/* Its own, or its parent's. "main" is the name of one coroutine and not of its family. */
static inline void set_first_name(struct cu__g *g, const char *name, const struct cu__g *parent)
{
    if (likely(name == NULL && parent && (!parent->has_name || parent->is_main))) {
        if (unlikely(g->has_name)) {
            store_name(g, NULL);
        }
        return;
    }
    store_name(g, name || parent == NULL ? name : (const char *)parent->name);
}

static inline void set_scope(struct cu__g *g, struct cu__scope *scope)
{
    if (unlikely(scope != NULL)) {
        cu__scope_join(scope, g);
    } else {
        g->scope = NULL;
        store_relaxed(&g->scope_id, 0);
    }
}

/* What it has from who asked for it, who may be gone. */
static noinline void inherit(struct cu__g *g, const struct cu__heir *heir)
{
    store_relaxed(&g->parent, heir->parent);
    store_release(&g->origin, heir->origin);
    store_relaxed(&g->labels, heir->labels);
    store_name(g, heir->name);
    set_scope(g, heir->scope);
}

/* What it has from its parent, who runs. */
static inline void descend(struct cu__g *g, const struct cu__spawn *spawn, struct cu__g *parent)
{
    const struct cu_go_options *o = spawn->options;
    store_relaxed(&g->parent, parent ? parent->id : 0);
    store_release(&g->origin, cu__origin_of_child(parent, o->site, spawn->fn));
    store_relaxed(&g->labels, parent ? parent->labels : cu__thread_labels());
    set_first_name(g, o->name, parent);
    set_scope(g, parent ? parent->scope : cu__thread_scope());
}

/* Everything that the new coroutine is born with. */
static void fill_in(struct cu__g *g, const struct cu__spawn *spawn, struct cu__g *parent)
{
    const struct cu_go_options *o = spawn->options;
    g->arg = spawn->arg;
    store_relaxed(&g->wg, spawn->wg);
    g->stack_class = (uint8_t)spawn->stack_class;
    g->saved_errno = 0;
    store_relaxed(&g->syscall_depth, 0);
    g->lost_cause = 0;
    store_relaxed(&g->is_locked, false);
    g->is_detached = false;
    g->wait = (struct cu__wait){.reason = COPPER_WAIT_NONE};
    store_relaxed(&g->entry, spawn->fn);
    store_relaxed(&g->site, o->site);
    g->child = NULL;
    store_relaxed(&g->is_daemon, o->daemon);
    store_relaxed(&g->is_main, spawn->is_main);
    store_relaxed(&g->run_ns, 0);
    int64_t now_ns = cu__now_coarse();
    store_relaxed(&g->created_ns, now_ns);
    store_relaxed(&g->since_ns, now_ns);
    if (unlikely(spawn->heir != NULL)) {
        inherit(g, spawn->heir);
    } else {
        descend(g, spawn, parent);
    }
}

/* p is m's, or NULL: on a plain thread, or because it was lost. */
__attribute__((always_inline)) static inline cu_id make(struct cu__m *m, struct cu__p *p,
                                                        const struct cu__spawn *spawn)
{
    int error = cu__stack_reserve(p, spawn->stack_class);
    if (unlikely(error)) {
        return error;
    }
    struct cu__g *g = cu__registry_take(p, &error);
    if (unlikely(g == NULL)) {
        cu__stack_unreserve(p, spawn->stack_class);
        return error;
    }
    struct cu__g *parent = m ? m->g : NULL;
    cu_id id = g->id, parent_id = parent ? parent->id : 0;
    if (unlikely(spawn->heir != NULL)) {
        parent_id = spawn->heir->parent;
    }
    fill_in(g, spawn, parent);
    if (likely(p != NULL)) {
        bump(&p->counters.created, 1);
    } else {
        add_relaxed(&cu__sched.foreign.created, 1);
    }
    if (EVENTS_ON(COPPER_EVENTS_OF_START)) {
        cu__tell_start(g, parent_id);
    }
    store_release(&g->state, CU__G_RUNNABLE);
    cu__enqueue(g);
    return id;
}

cu_id cu__spawn(const struct cu__spawn *asked)
{
    struct cu__spawn spawn = *asked;
    int error = cu__start();
    if (unlikely(error)) {
        return error;
    }
    spawn.stack_class = cu__stack_class(spawn.options->stack_size);
    if (spawn.stack_class == 0) {
        return -ENOMEM;
    }
    struct cu__m *m = cu__m();
    if (m == NULL) {
        return make(NULL, NULL, &spawn);
    }
    uint32_t was_inside = m->inside; /* timers' callbacks spawn too */
    struct cu__p *p = m->p && cu__enter(m) ? m->p : NULL;
    cu_id id = make(m, p, &spawn);
    store_release(&m->inside, was_inside);
    return id;
}

cu_id cu_go_with(void (*fn)(void *), void *arg, const struct cu_go_options *options)
{
    /* what an older caller did not know of keeps its default */
    struct cu_go_options known = {COPPER_GO_OPTIONS};
    if (options->size == 0 || options->size > sizeof(known)) {
        return -EINVAL;
    }
    memcpy(&known, options, options->size);
    return cu__spawn(&(struct cu__spawn){.fn = fn, .arg = arg, .options = &known});
}

cu_id cu_go_site(void (*fn)(void *), void *arg, const struct cu_site *site)
{
    struct cu_go_options options = {COPPER_GO_OPTIONS, .site = site};
    return cu__spawn(&(struct cu__spawn){.fn = fn, .arg = arg, .options = &options});
}

cu_id(cu_go)(void (*fn)(void *), void *arg)
{
    return cu_go_site(fn, arg, NULL);
}

/* The caller of cu_run waits here. */
struct main_call {
    int (*fn)(void *);
    void *arg;
    int value;
    uint32_t state; /* any: atomic */
};
enum { CALL_RUNS = 0, CALL_DONE = 1, CALL_WAITED_FOR = 2 };

static void run_main(void *arg)
{
    struct main_call *call = arg;
    int value = call->fn(call->arg);
    if (cu__m() == NULL) {
        exit(value); /* a forked child: the thread that called cu_run is not in it */
    }
    call->value = value;
    uint32_t *state = &call->state;
    if (swap_seq(state, CALL_DONE) == CALL_WAITED_FOR) {
        cu__thread_is_woken();
        cu__futex_wake(state, 1);
    }
}

int cu_run(int (*fn)(void *), void *arg)
{
    if (cu__m()) {
        return -EDEADLK;
    }
    struct main_call call = {.fn = fn, .arg = arg};
    struct cu_go_options options = {COPPER_GO_OPTIONS, .name = "main"};
    cu_id id = cu__spawn(
        &(struct cu__spawn){.fn = run_main, .arg = &call, .options = &options, .is_main = true});
    if (id < 0) {
        return (int)id;
    }
    uint32_t runs = CALL_RUNS;
    if (cas_seq(&call.state, &runs, CALL_WAITED_FOR)) {
        cu__thread_blocks();
    }
    /* pairs with the exchange in run_main */
    while (load_acquire(&call.state) != CALL_DONE) {
        cu__futex_wait(&call.state, CALL_WAITED_FOR, COPPER_NO_DEADLINE);
    }
    cu__report_let_finish();
    return call.value;
}

void cu_yield(void)
{
    struct cu__m *m = cu__m();
    if (likely(m != NULL)) {
        cu__schedule(m, COPPER_AFTER_YIELD, NULL);
    } else {
        sched_yield();
    }
}

/* Ends the calling coroutine. */
static _Noreturn void end(struct cu__g *g)
{
    cu__at_end_run(g);
    if (g->wg) {
        cu_wg_done(g->wg);
    }
    cu__schedule(cu__m(), COPPER_AFTER_EXIT, NULL);
    __builtin_unreachable();
}

void cu__coroutine_end(struct cu__g *g)
{
    end(g);
}

void cu_exit(void)
{
    struct cu__g *g = cu__g_self();
    if (g == NULL) {
        cu__misuse("cu_exit called on a plain thread");
    }
    if (g->is_main) {
        cu__misuse("cu_exit called in the main coroutine: its value would be lost");
    }
    end(g);
}

cu_id cu_self(void)
{
    return cu__running_id();
}

void cu_name_set(const char *name)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        store_name(g, name);
    }
}
