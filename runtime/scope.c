/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: scopes of coroutines, and waiting until nothing happens any more in one, or anywhere.
 *
 * Design: a scope counts its active members: runnable, running, waiting with a deadline or for I/O;
 * and the functions that timers of its members are about to run.
 * The count changes where a member is spawned, parks, is readied, ends. A coroutine that belongs to
 * no scope (all of them, outside of leak assertions) pays one test of a pointer for this.
 *
 * The count never reaches zero too early: a member that makes another one active is active itself
 * until after that; one that parks leaves the count before it can be found by a waker. Nothing is
 * active when the count is zero, because an active member is counted by definition.
 *
 * For "all coroutines" nothing is counted. Nothing can happen by itself exactly when every P is
 * idle, all queues are empty, no heap has a timer (those of waiters for quiescence aside), nobody
 * but daemons waits for I/O, no coroutine runs without a P (in a blocking call, say), and no
 * inspector holds one that was made ready meanwhile. All this is looked at under the scheduler's
 * lock, by whoever lists the last P as idle; while all are idle only a plain thread can change
 * anything, which is not "by itself".
 *
 * Concurrency: scopes.lock guards the list of scopes, their references and the waiters. A scope
 * lives while it has members, is somebody's current one, or is what somebody will go back to.
 */
#include <copper/inspect.h>
#include <copper/time.h>
#include <stdlib.h>
#include <string.h>

#include "netpoll.h"
#include "runq.h"
#include "schedule.h"
#include "tls.h"

struct cu__scope {
    struct cu__scope *next; /* lock */
    uint64_t id;            /* constant */
    uint32_t references;    /* lock */
    uint32_t active;        /* any: atomic */
};

static struct {
    struct cu__lock lock;
    struct cu__scope *first;
    uint64_t last_id;
    struct cu__waiters waiters;
} scopes;

static struct cu__scope *find_scope(uint64_t id)
{
    struct cu__scope *scope = scopes.first;
    while (scope && scope->id != id) {
        scope = scope->next;
    }
    return scope;
}

/* Called with the lock. */
static void drop_reference(struct cu__scope *scope)
{
    if (--scope->references) {
        return;
    }
    struct cu__scope **link = &scopes.first;
    while (*link != scope) {
        link = &(*link)->next;
    }
    *link = scope->next;
    free(scope);
}

void cu__scope_join(struct cu__scope *scope, struct cu__g *g)
{
    cu__lock_take(&scopes.lock);
    scope->references++;
    cu__lock_drop(&scopes.lock);
    add_seq(&scope->active, 1);
    g->scope = scope;
    store_relaxed(&g->scope_id, scope->id);
}

void cu__scope_part(struct cu__scope *scope)
{
    if (cu__scope_idle(scope)) {
        cu__scope_settled(scope->id);
    }
    cu__lock_take(&scopes.lock);
    drop_reference(scope);
    cu__lock_drop(&scopes.lock);
}

void cu__scope_ref(struct cu__scope *scope)
{
    cu__lock_take(&scopes.lock);
    scope->references++;
    cu__lock_drop(&scopes.lock);
}

void cu__scope_unref(struct cu__scope *scope)
{
    cu__lock_take(&scopes.lock);
    drop_reference(scope);
    cu__lock_drop(&scopes.lock);
}

uint64_t cu__scope_id(const struct cu__scope *scope)
{
    return scope->id;
}

void cu__scope_goes_on(struct cu__scope *scope)
{
    add_seq(&scope->active, 1);
}

void cu__scope_busy(struct cu__g *g)
{
    add_seq(&g->scope->active, 1);
}

bool cu__scope_idle(struct cu__scope *scope)
{
    return sub_seq(&scope->active, 1) == 1;
}

struct cu__scope *cu__scope_current(void)
{
    struct cu__g *g = cu__g_self();
    return g ? g->scope : cu__thread_scope();
}

static void set_current(struct cu__scope *scope)
{
    struct cu__g *g = cu__g_self();
    if (g == NULL) {
        cu__thread_scope_set(scope);
        return;
    }
    /* the running caller is an active member of what it is in */
    if (g->scope && cu__scope_idle(g->scope)) {
        cu__scope_settled(g->scope->id);
    }
    g->scope = scope;
    store_relaxed(&g->scope_id, scope ? scope->id : 0);
    if (scope) {
        cu__scope_busy(g);
    }
}

uint64_t cu_scope_enter(uint64_t *previous)
{
    struct cu__scope *scope = calloc(1, sizeof(*scope)), *before = cu__scope_current();
    *previous = before ? before->id : 0;
    if (scope == NULL) {
        return 0;
    }
    cu__lock_take(&scopes.lock);
    scope->id = ++scopes.last_id;
    scope->references = 1; /* the caller's; the one of `before` stays, for going back */
    scope->next = scopes.first;
    scopes.first = scope;
    cu__lock_drop(&scopes.lock);
    set_current(scope);
    return scope->id;
}

void cu_scope_leave(uint64_t previous)
{
    struct cu__scope *left = cu__scope_current();
    if (left == NULL || left->id == previous) {
        return;
    }
    cu__lock_take(&scopes.lock);
    struct cu__scope *before = previous ? find_scope(previous) : NULL;
    cu__lock_drop(&scopes.lock);
    set_current(before);
    cu__lock_take(&scopes.lock);
    drop_reference(left);
    cu__lock_drop(&scopes.lock);
}

/* Called with scopes.lock. */
static bool everything_is_idle(void)
{
    struct cu__sched *s = &cu__sched;
    if (!load_acquire(&s->is_started)) {
        return true;
    }
    cu__lock_take(&s->lock);
    bool is_idle = s->idle_count == s->alive_count && s->global_count == 0 &&
                   load_seq(&s->detached_count) == 0 && load_seq(&s->inspecting_count) == 0;
    is_idle = is_idle && !cu__netpoll_can_wake();
    for (uint32_t i = 0; i < s->ps_seen && is_idle; i++) {
        is_idle = load_relaxed(&s->ps[i].timers.counted) == 0 && cu__runq_is_empty(&s->ps[i]);
    }
    cu__lock_drop(&s->lock);
    return is_idle;
}

bool cu__is_all_idle(void)
{
    cu__lock_take(&scopes.lock);
    bool is_idle = everything_is_idle();
    cu__lock_drop(&scopes.lock);
    return is_idle;
}

/* Called with scopes.lock. own: how many of the active ones are the asking coroutine itself. */
static bool is_settled(uint64_t scope_id, uint32_t own)
{
    struct cu__scope *scope = find_scope(scope_id);
    return scope == NULL || load_seq(&scope->active) == own;
}

/* Takes out who waits for a thing that came true, and wakes them. */
static void wake_settled(bool (*is_true)(uint64_t scope_id), uint64_t scope_id)
{
    struct cu__waiters ripe = {NULL, NULL};
    cu__lock_take(&scopes.lock);
    for (struct cu__waiter *w = scopes.waiters.first, *next; w; w = next) {
        next = w->next;
        if ((uint64_t)w->tag == scope_id && is_true(scope_id) &&
            cu__waiters_take(&scopes.waiters, w)) {
            cu__waiters_add(&ripe, w);
        }
    }
    for (struct cu__waiter *w = ripe.first; w; w = w->next) {
        store_relaxed(&w->is_queued, false);
        w->result = 0;
    }
    cu__lock_drop(&scopes.lock);
    for (struct cu__waiter *w = ripe.first, *next; w; w = next) {
        next = w->next;
        cu__wake(w);
    }
}

static bool all_true(uint64_t scope_id)
{
    (void)scope_id;
    return everything_is_idle();
}

static bool scope_true(uint64_t scope_id)
{
    return is_settled(scope_id, 0);
}

void cu__scope_settled(uint64_t scope_id)
{
    wake_settled(scope_true, scope_id);
}

void cu__quiesce_check(void)
{
    wake_settled(all_true, 0);
}

/* True when there is nothing to wait for. Called with scopes.lock. */
static bool is_quiet_now(uint64_t scope_id, const struct cu__g *g)
{
    if (scope_id) {
        return is_settled(scope_id, g && g->scope && g->scope->id == scope_id);
    }
    return g == NULL && everything_is_idle(); /* a coroutine must park to let its P be idle */
}

int cu_quiesce(uint64_t scope, int64_t timeout_ns)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {.reason = COPPER_WAIT_QUIESCE};
    struct cu__g *g = cu__g_self();
    why.deadline_ns = cu__deadline(timeout_ns);
    self->tag = (int64_t)scope;
    add_seq(&cu__sched.quiesce_count, 1);
    cu__lock_take(&scopes.lock);
    int result = 0;
    if (is_quiet_now(scope, g)) {
        cu__lock_drop(&scopes.lock);
    } else {
        cu__waiters_add(&scopes.waiters, self);
        result = cu__wait_until(self, &why, &scopes.lock, &scopes.waiters);
    }
    sub_seq(&cu__sched.quiesce_count, 1);
    return result;
}

/* The caller's own scope goes on in the child, without members. */
void cu__scope_after_fork(void)
{
    scopes.lock.word = 0;
    scopes.waiters = (struct cu__waiters){NULL, NULL};
}
