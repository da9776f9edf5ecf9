/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/select.h.
 *
 * Design: first each case is tried by itself, in random order: what is ready then is chosen without
 * holding two locks. If nothing is, all channels are locked, in order of their addresses, and
 * looked at again; still nothing, and a record for each case goes into its list. All records are of
 * one race (race.h), which one wakes wins, so exactly one case happens. Since the locks are given
 * back before the coroutine has left its stack, the race has a gate.
 *
 * Contexts have lists too and are entered one by one afterwards. A context that turns out to be
 * done then is one more racer: select itself, on its behalf.
 *
 * Afterwards every record is taken out, under its list's lock, but the winner's, which is out.
 *
 * Lifetime: who waits holds no reference, so a channel that lost may be gone: see wait.c.
 */
#include <copper/select.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "clock.h"
#include "context.h"
#include "race.h"
#include "random.h"
#include "schedule.h"
#include "select_int.h"
#include "timer_chan.h"
#include "tls.h"

#define ON_STACK 16u

/* ---- random order -------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
    static uint64_t of_threads; /* any: atomic */
    struct cu__m *m = cu__m();
    struct cu__p *p = m ? m->p : NULL; /* perhaps no longer ours: then a number is drawn twice */
    return p ? cu__random(&p->random)
             : cu__random_mix(add_relaxed(&of_threads, COPPER_RANDOM_STEP));
}

/* A number below `bound` (at most 2^16), each as likely: the error is below 2^-48. */
static uint32_t below(uint32_t bound)
{
    return (uint32_t)(((unsigned __int128)next_random() * bound) >> 64);
}

static void shuffle(uint16_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i ? below((uint32_t)i + 1) : 0;
        order[i] = order[j];
        order[j] = (uint16_t)i;
    }
}

/* ---- trying -------------------------------------------------------------------------------- */

/* One case, without waiting: true when it happened. */
static bool try_case(cu_case *c)
{
    int result = -EAGAIN;
    if (c->kind == COPPER_CASE_SEND && c->chan && cu__chan_may_send(c->chan)) {
        result = cu_try_send(c->chan, c->value);
    } else if (c->kind == COPPER_CASE_RECV && c->chan && cu__chan_may_receive(c->chan)) {
        result = cu_try_recv(c->chan, c->value);
    } else if (c->kind == COPPER_CASE_DONE && c->ctx && cu_ctx_err(c->ctx)) {
        result = cu_ctx_err(c->ctx);
    } else if (c->kind == COPPER_CASE_AFTER && c->ns <= 0) {
        result = 0;
    }
    if (result == -EAGAIN) {
        return false;
    }
    c->err = result;
    return true;
}

static int try_all(cu_case *cases, const uint16_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (try_case(&cases[order[i]])) {
            return order[i];
        }
    }
    return -EAGAIN;
}

/* ---- waiting ------------------------------------------------------------------------------- */

struct cu__selection {
    cu_case *cases;
    size_t n;
    struct cu__waiter *waiters; /* one for each case */
    const uint16_t *order;      /* to look at them */
    uint16_t *locks;            /* the cases with channels, by address */
    size_t nlocks;
    struct cu__race *race;
    int64_t deadline_ns; /* the first `after` case's; set when it first waits */
};

static bool has_channel(const cu_case *c)
{
    return (c->kind == COPPER_CASE_SEND || c->kind == COPPER_CASE_RECV) && c->chan;
}

/* Insertion, since there are few; each is put behind those that are not above it. */
static void sort_locks(struct cu__selection *s)
{
    s->nlocks = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!has_channel(&s->cases[i])) {
            continue;
        }
        size_t at = s->nlocks++;
        while (at && (uintptr_t)s->cases[s->locks[at - 1]].chan > (uintptr_t)s->cases[i].chan) {
            s->locks[at] = s->locks[at - 1];
            at--;
        }
        s->locks[at] = (uint16_t)i;
    }
}

/* A channel may be in several cases. */
static bool is_first_of_its_channel(const struct cu__selection *s, size_t i)
{
    return i == 0 || s->cases[s->locks[i - 1]].chan != s->cases[s->locks[i]].chan;
}

static void lock_all(const struct cu__selection *s)
{
    for (size_t i = 0; i < s->nlocks; i++) {
        if (is_first_of_its_channel(s, i)) {
            cu__lock_take(&s->cases[s->locks[i]].chan->lock);
        }
    }
}

static void unlock_all(const struct cu__selection *s)
{
    for (size_t i = s->nlocks; i-- > 0;) {
        if (is_first_of_its_channel(s, i)) {
            cu__lock_drop(&s->cases[s->locks[i]].chan->lock);
        }
    }
}

/* With all locks: the index of a case that needed no waiting, or -EAGAIN. */
static int look_locked(const struct cu__selection *s, struct cu__waiter **wake)
{
    *wake = NULL;
    for (size_t i = 0; i < s->n; i++) {
        cu_case *c = &s->cases[s->order[i]];
        if (has_channel(c)) {
            c->err = c->kind == COPPER_CASE_SEND ? cu__chan_send_now(c->chan, c->value, wake)
                                                 : cu__chan_receive_now(c->chan, c->value, wake);
            if (c->err != -EAGAIN) {
                return s->order[i];
            }
        }
    }
    return -EAGAIN;
}

static struct cu__waiters *list_of(const cu_case *c)
{
    return c->kind == COPPER_CASE_SEND ? &c->chan->senders : &c->chan->receivers;
}

/* When the first of the timers among them is due; 0: never. */
static int64_t enter_channels(const struct cu__selection *s)
{
    int64_t first_ns = 0;
    for (size_t i = 0; i < s->n; i++) {
        cu_case *c = &s->cases[i];
        if (!has_channel(c)) {
            continue;
        }
        s->waiters[i].value = c->value;
        if (unlikely(c->chan->is_timed) && c->kind == COPPER_CASE_RECV) {
            int64_t due_ns = cu__timed_enter(c->chan, &s->waiters[i]);
            first_ns = first_ns == 0 || (due_ns && due_ns < first_ns) ? due_ns : first_ns;
        } else {
            cu__waiters_add(list_of(c), &s->waiters[i]);
        }
    }
    return first_ns;
}

/* The waiter of a context that is done already, if that ends the race; else NULL. */
static struct cu__waiter *enter_contexts(const struct cu__selection *s, uint64_t ticket)
{
    for (size_t i = 0; i < s->n; i++) {
        cu_case *c = &s->cases[i];
        if (c->kind != COPPER_CASE_DONE || c->ctx == NULL) {
            continue;
        }
        /* once it is listed, the result is the winner's to write */
        int err = cu__ctx_watch(c->ctx, &s->waiters[i]);
        if (err && cu__race_win(s->race, ticket)) {
            s->waiters[i].result = err;
            return &s->waiters[i];
        }
    }
    return NULL;
}

static void leave_all(const struct cu__selection *s, const struct cu__waiter *winner)
{
    for (size_t i = 0; i < s->n; i++) {
        cu_case *c = &s->cases[i];
        if (&s->waiters[i] == winner) {
            continue; /* it is out, and what it was for may be gone */
        }
        if (has_channel(c)) {
            cu__wait_leave(&s->waiters[i], c->chan, &c->chan->lock, list_of(c));
        } else if (c->kind == COPPER_CASE_DONE) {
            cu__ctx_unwatch(c->ctx, &s->waiters[i]);
        }
    }
}

void cu__select_describe(const struct cu__selection *s, struct cu_object_info *out)
{
    for (size_t i = 0; i < s->n && out->address == NULL; i++) {
        if (!has_channel(&s->cases[i])) {
            continue;
        }
        const struct cu_chan *c = s->cases[i].chan;
        struct cu__lock *stripe = cu__stripe(c);
        cu__lock_take(stripe);
        if (load_acquire(&s->waiters[i].is_queued)) {
            cu__chan_describe(c, out);
            out->address = c;
        }
        cu__lock_drop(stripe);
    }
    out->cap = s->n;
    out->len = 0;
    out->is_closed = false;
}

/* The case that is due first; n: there is none. */
static size_t earliest_after(const struct cu__selection *s)
{
    size_t earliest = s->n;
    for (size_t i = 0; i < s->n; i++) {
        const cu_case *c = &s->cases[i];
        if (c->kind == COPPER_CASE_AFTER && (earliest == s->n || c->ns < s->cases[earliest].ns)) {
            earliest = i;
        }
    }
    return earliest;
}

/* What the wait looks like to others: its deadline is that of a case, or of a context. */
static struct cu__wait describe(struct cu__selection *s, size_t after)
{
    bool can_end = false;
    struct cu__wait why = {.reason = COPPER_WAIT_SELECT, .kind = COPPER_OBJECT_SELECT};
    if (after < s->n && s->deadline_ns == 0) {
        s->deadline_ns = cu__deadline(s->cases[after].ns);
    }
    why.deadline_ns = s->deadline_ns;
    for (size_t i = 0; i < s->n; i++) {
        can_end = can_end || has_channel(&s->cases[i]) || s->cases[i].ctx;
        if (s->cases[i].ctx) {
            why = cu__ctx_limit(&why, s->cases[i].ctx);
        }
    }
    if (!can_end && after == s->n) {
        why.reason = COPPER_WAIT_SELECT_NO_CASES;
    }
    return why;
}

/* The index of the case that happened, or CU__WAIT_ANEW. */
static int wait_once(struct cu__selection *s)
{
    struct cu__g *g = cu__g_self();
    struct cu__race own = {0};
    struct cu__waiter *wake, *winner;
    size_t after = earliest_after(s);
    struct cu__wait why = describe(s, after);
    s->race = g ? &g->race : &own;
    sort_locks(s);
    lock_all(s);
    int ready = look_locked(s, &wake);
    if (ready >= 0) {
        unlock_all(s);
        if (wake) {
            cu__wake(wake);
        }
        return ready;
    }
    uint64_t ticket = cu__race_open_gated(s->race);
    for (size_t i = 0; i < s->n; i++) {
        s->waiters[i] = (struct cu__waiter){.g = g, .race = s->race};
    }
    int64_t timer_ns = enter_channels(s);
    unlock_all(s);
    if (timer_ns && why.deadline_ns == 0) {
        why.deadline_ns = timer_ns;
        why.is_timed_elsewhere = true;
    }
    winner = enter_contexts(s, ticket);
    if (winner == NULL) {
        if (g) {
            g->select = s;
        }
        winner = cu__wait_gated(s->race, g, &why);
        if (g) {
            g->select = NULL;
        }
    }
    leave_all(s, winner);
    if (winner && unlikely(winner->result == CU__WAIT_ANEW)) {
        return CU__WAIT_ANEW;
    }
    size_t chosen = winner ? (size_t)(winner - s->waiters) : after;
    s->cases[chosen].err = winner ? winner->result : 0;
    return (int)chosen;
}

static int wait_for_one(struct cu__selection *s)
{
    int chosen;
    do {
        chosen = wait_once(s);
    } while (unlikely(chosen == CU__WAIT_ANEW));
    return chosen;
}

static int wait_on_stack(cu_case *cases, const uint16_t *order, size_t n)
{
    struct cu__waiter waiters[n ? n : 1];
    uint16_t locks[n ? n : 1];
    struct cu__selection s = {
        .cases = cases, .n = n, .waiters = waiters, .order = order, .locks = locks};
    return wait_for_one(&s);
}

static int select_many(cu_case *cases, size_t n, bool may_wait)
{
    int chosen = -ENOMEM;
    uint16_t *order = calloc(n, 2 * sizeof(*order));
    struct cu__waiter *waiters = may_wait ? calloc(n, sizeof(*waiters)) : NULL;
    if (order && (waiters || !may_wait)) {
        shuffle(order, n);
        chosen = try_all(cases, order, n);
        if (chosen == -EAGAIN && may_wait) {
            struct cu__selection s = {
                .cases = cases, .n = n, .waiters = waiters, .order = order, .locks = order + n};
            chosen = wait_for_one(&s);
        }
    }
    free(order);
    free(waiters);
    return chosen;
}

static int choose(cu_case *cases, size_t n, bool may_wait)
{
    uint16_t order[ON_STACK];
    if (n > COPPER_SELECT_MAX) {
        return -EINVAL;
    }
    if (n > ON_STACK) {
        return select_many(cases, n, may_wait);
    }
    shuffle(order, n);
    int chosen = try_all(cases, order, n);
    return chosen == -EAGAIN && may_wait ? wait_on_stack(cases, order, n) : chosen;
}

int cu_select(cu_case *cases, size_t n)
{
    if (n == 1 && cases->chan) {
        cases->err = cases->kind == COPPER_CASE_SEND ? cu_send(cases->chan, cases->value)
                                                     : cu_recv(cases->chan, cases->value);
        return 0;
    }
    return choose(cases, n, true);
}

int cu_try_select(cu_case *cases, size_t n)
{
    return choose(cases, n, false);
}
