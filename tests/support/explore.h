/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: runs a primitive's own source in every order of steps, for small cases.
 *
 * A test includes this and then the primitive's .c file. Its loads, stores and compare-and-swaps,
 * the taking of its lock, its waiting and waking then go through here: each is one step of an actor
 * (a context of its own, on one thread), and before each the explorer may let another actor go on.
 * Schedules are enumerated depth first, with at most x.preemptions_max switches away from an actor
 * that could go on. Memory is sequentially consistent: orders that are too weak are for the thread
 * sanitizer to find.
 *
 * Found are: broken assertions of the scripts (explore_check), actors that wait for ever, wakes of
 * somebody who is not waiting, and any touch of an object after explore_free.
 *
 *     static void script(int actor) { ... cu_mutex_lock(&mu); ... }
 *     explore("name", 3, reset, script, verify);
 */
#ifndef COPPER_TEST_EXPLORE_H
#define COPPER_TEST_EXPLORE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define COPPER_NO_INLINE /* what is explored is in the sources */
#include "at_end.h"
#include "clock.h"
#include "events.h"
#include "report.h"
#include "sanitize.h"
#include "schedule.h"
#include "sync_int.h"
#include "tls.h"

#define ACTORS_MAX  4
#define STEPS_MAX   4000
#define STACK_BYTES (64 * 1024)

static struct explorer {
    ucontext_t scheduler, actor[ACTORS_MAX];
    char stacks[ACTORS_MAX][STACK_BYTES];
    int actors, current;
    bool is_done[ACTORS_MAX];
    struct cu__waiter *waits[ACTORS_MAX];     /* for this record */
    struct cu__waiter *woken[ACTORS_MAX];     /* it was woken, and has not gone on */
    const struct cu__lock *needs[ACTORS_MAX]; /* waits for this lock */
    void (*script)(int actor);
    /* the schedule: at each step, which of how many possible */
    uint8_t choice[STEPS_MAX], choices[STEPS_MAX];
    int step, preemptions, preemptions_max;
    int64_t now_ns, tick_ns;
    const char *freed_lo, *freed_hi;
    const char *failure;
    uint64_t schedules;
} x = {.preemptions_max = 3};

static void explore_fail(const char *what)
{
    if (x.failure == NULL) {
        x.failure = what;
    }
}

#define explore_check(condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            explore_fail(#condition);                                                              \
        }                                                                                          \
    } while (0)

static bool can_go_on(int actor)
{
    if (x.is_done[actor] || (x.waits[actor] && x.woken[actor] != x.waits[actor])) {
        return false;
    }
    return x.needs[actor] == NULL || x.needs[actor]->word == 0;
}

/* Lets the explorer decide who goes on. */
static void explore_step(void)
{
    swapcontext(&x.actor[x.current], &x.scheduler);
}

/* Ends the present schedule from within: whoever is left is left. */
static void check_is_there(const void *object)
{
    if ((const char *)object >= x.freed_lo && (const char *)object < x.freed_hi) {
        explore_fail("an object was touched after it was freed");
    }
}

static void touch(const void *object)
{
    explore_step();
    check_is_there(object);
}

/* From now on nobody may touch it. */
static __attribute__((unused)) void explore_free(const void *object, size_t bytes)
{
    x.freed_lo = object;
    x.freed_hi = x.freed_lo + bytes;
}

/* ---- what the sources call ---- */

static void explore_lock(struct cu__lock *lock)
{
    x.needs[x.current] = lock;
    explore_step();
    x.needs[x.current] = NULL;
    check_is_there(lock);
    explore_check(lock->word == 0);
    lock->word = 1;
}

static void explore_unlock(struct cu__lock *lock)
{
    check_is_there(lock);
    lock->word = 0;
    explore_step();
}

static struct cu__lock explore_stripe;
struct cu__lock *cu__stripe(const void *address)
{
    (void)address;
    return &explore_stripe;
}

__attribute__((used)) __thread struct cu__m *cu__tls; /* NULL: nobody here is a worker */

cu_id cu_self(void)
{
    return x.current + 1;
}

int64_t cu_now(void)
{
    return x.now_ns += x.tick_ns;
}

uint32_t cu__events_on;
void cu__emit_contended(int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)now, (void)g, (void)object, (void)waited_ns;
}
void cu__emit_released(int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)now, (void)g, (void)object, (void)waited_ns;
}
void cu__misuse(const char *format, ...)
{
    print_error("%s\n", format);
    abort();
}

struct cu__waiter *cu__waiter_init(struct cu__waiter *thread_one, void *value)
{
    *thread_one = (struct cu__waiter){.value = value};
    return thread_one;
}

static void link_in(struct cu__waiters *list, struct cu__waiter *w, struct cu__waiter *before)
{
    touch(list);
    w->next = before;
    w->prev = before ? before->prev : list->last;
    *(w->prev ? &w->prev->next : &list->first) = w;
    *(before ? &before->prev : &list->last) = w;
    w->is_queued = true;
}
void cu__waiters_add(struct cu__waiters *list, struct cu__waiter *w)
{
    link_in(list, w, NULL);
}
void cu__waiters_add_first(struct cu__waiters *list, struct cu__waiter *w)
{
    link_in(list, w, list->first);
}
bool cu__waiters_take(struct cu__waiters *list, struct cu__waiter *w)
{
    touch(list);
    *(w->prev ? &w->prev->next : &list->first) = w->next;
    *(w->next ? &w->next->prev : &list->last) = w->prev;
    w->is_queued = false;
    return true;
}
struct cu__waiter *cu__waiters_pop(struct cu__waiters *list)
{
    struct cu__waiter *w = list->first;
    return w && cu__waiters_take(list, w) ? w : NULL;
}

int cu__wait(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock)
{
    int me = x.current;
    (void)why;
    x.waits[me] = w;
    lock->word = 0;
    explore_step();
    explore_check(x.woken[me] == w);
    x.waits[me] = x.woken[me] = NULL;
    return w->result;
}

int cu__wait_ctx(struct cu__waiter *w, const struct cu__wait *why, struct cu__lock *lock,
                 struct cu__waiters *list, struct cu_ctx *ctx)
{
    (void)list, (void)ctx; /* scripts use none */
    return cu__wait(w, why, lock);
}

void cu__wake(struct cu__waiter *w)
{
    explore_step();
    for (int i = 0; i < x.actors; i++) {
        if (x.waits[i] == w && x.woken[i] != w) {
            explore_check(!w->is_queued);
            x.woken[i] = w;
            return;
        }
    }
    explore_fail("somebody was woken who does not wait");
}

void cu__chain_wake(struct cu__chain *chain)
{
    for (struct cu__waiter *w = chain->first, *next; w; w = next) {
        next = w->next;
        cu__wake(w);
    }
}

/* From here on the sources' own words. */
#undef load_relaxed
#undef load_acquire
#undef store_relaxed
#undef store_release
#undef cas_seq
#undef cas_acquire
#undef cas_release
#undef add_seq
#define load_relaxed(p)     (touch(p), *(p))
#define load_acquire(p)     (touch(p), *(p))
#define store_relaxed(p, v) (touch(p), (void)(*(p) = (v)))
#define store_release(p, v) (touch(p), (void)(*(p) = (v)))
#define explore_cas(p, expected, v)                                                                \
    __extension__({                                                                                \
        touch(p);                                                                                  \
        bool cas_is_equal = *(p) == *(expected);                                                   \
        if (cas_is_equal) {                                                                        \
            *(p) = (v);                                                                            \
        } else {                                                                                   \
            *(expected) = *(p);                                                                    \
        }                                                                                          \
        cas_is_equal;                                                                              \
    })
#define add_seq(p, v)                                                                              \
    __extension__({                                                                                \
        touch(p);                                                                                  \
        __typeof__(*(p)) add_old = *(p);                                                           \
        *(p) = add_old + (v);                                                                      \
        add_old;                                                                                   \
    })
#define cas_seq       explore_cas
#define cas_acquire   explore_cas
#define cas_release   explore_cas
#define cu__lock_take explore_lock
#define cu__lock_drop explore_unlock

/* ---- the explorer ---- */

static void run_actor(void)
{
    x.script(x.current);
    x.is_done[x.current] = true;
    setcontext(&x.scheduler);
}

/* The next actor, by the schedule; -1: none can go on. The one that ran last is the first choice.
 */
static int choose(int last)
{
    int possible[ACTORS_MAX], count = 0;
    bool last_can = last >= 0 && can_go_on(last);
    if (last_can) {
        possible[count++] = last;
    }
    for (int i = 0; i < x.actors && !(last_can && x.preemptions >= x.preemptions_max); i++) {
        if (i != last && can_go_on(i)) {
            possible[count++] = i;
        }
    }
    if (count == 0) {
        return -1;
    }
    assert_true(x.step < STEPS_MAX);
    if (x.choices[x.step] == 0) {
        x.choices[x.step] = (uint8_t)count;
        x.choice[x.step] = 0;
    }
    assert_int_equal(x.choices[x.step], count); /* the same schedule leads to the same state */
    int chosen = possible[x.choice[x.step++]];
    x.preemptions += last_can && chosen != last;
    return chosen;
}

static void run_schedule(void (*reset)(void), void (*verify)(void))
{
    x.step = x.preemptions = 0;
    x.now_ns = 0;
    x.freed_lo = x.freed_hi = NULL;
    explore_stripe.word = 0;
    reset();
    for (int i = 0; i < x.actors; i++) {
        x.is_done[i] = false;
        x.waits[i] = x.woken[i] = NULL;
        x.needs[i] = NULL;
        getcontext(&x.actor[i]);
        x.actor[i].uc_stack.ss_sp = x.stacks[i];
        x.actor[i].uc_stack.ss_size = STACK_BYTES;
        x.actor[i].uc_link = NULL;
        makecontext(&x.actor[i], run_actor, 0);
    }
    for (int last = -1, next; x.failure == NULL && (next = choose(last)) >= 0; last = next) {
        x.current = next;
        swapcontext(&x.scheduler, &x.actor[next]);
    }
    for (int i = 0; i < x.actors; i++) {
        if (!x.is_done[i]) {
            explore_fail("somebody waits for ever");
        }
    }
    if (x.failure == NULL) {
        verify();
    }
}

/* The next schedule in order; false: that was the last. */
static bool next_schedule(void)
{
    int at = x.step - 1;
    while (at >= 0 && x.choice[at] + 1 >= x.choices[at]) {
        at--;
    }
    if (at < 0) {
        return false;
    }
    x.choice[at]++;
    memset(x.choices + at + 1, 0, sizeof(x.choices) - (size_t)at - 1);
    return true;
}

static void explore_all(const char *name, void (*reset)(void), void (*verify)(void))
{
    memset(x.choices, 0, sizeof(x.choices));
    x.schedules = 0;
    do {
        run_schedule(reset, verify);
        x.schedules++;
        if (x.failure) {
            print_error("%s: %s, schedule %llu:", name, x.failure, (unsigned long long)x.schedules);
            for (int i = 0; i < x.step; i++) {
                print_error(" %d", x.choice[i]);
            }
            print_error("\n");
            fail();
        }
    } while (next_schedule());
    print_message("%s: %llu schedules\n", name, (unsigned long long)x.schedules);
}

/* Once with a clock that stands still, once with one on which every wait is long. */
static void explore(const char *name, int actors, void (*reset)(void), void (*script)(int actor),
                    void (*verify)(void))
{
    if (COPPER_WITH_TSAN) {
        skip(); /* it follows no contexts */
    }
    x.actors = actors;
    x.script = script;
    for (int long_waits = 0; long_waits < 2; long_waits++) {
        x.tick_ns = long_waits ? 2 * COPPER_MS : 0;
        explore_all(name, reset, verify);
    }
}

#endif
