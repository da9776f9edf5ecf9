/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the protocols of the scheduler, step by step, in every order of steps.
 *
 * A model is a set of actors, each a small program of atomic steps over shared words. The test runs
 * every interleaving, depth first, and checks what must hold in each state and at the end. The
 * first model uses the runtime's own transition function; the others restate the arguments in
 * find_work.c and barrier.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gstate.h"

void cu__assert_failed(const char *what, const char *file, int line)
{
    print_error("%s does not hold (%s:%d)\n", what, file, line);
    abort();
}

#define ACTORS_MAX 5
#define BLOCKED    (-1) /* the step cannot be taken now */
#define DONE       (-2)

struct world {
    int at[ACTORS_MAX]; /* the next step of each actor */
    uint32_t word;      /* first model: the state word */
    int queued, runs, waits, wakes_left;
    bool is_claimed_by[2];
    int a, b, c, d, e, f; /* words of the other models */
};

/* Takes the actor's step; returns the next one, BLOCKED or DONE. */
typedef int step_function(struct world *w, int actor, int step);

struct model {
    int actors;
    step_function *step;
    void (*check)(const struct world *w);
    void (*check_end)(const struct world *w);
};

static long interleavings;

static void explore(const struct model *m, const struct world *from)
{
    bool is_end = true, is_stuck = true;
    for (int i = 0; i < m->actors; i++) {
        struct world w = *from;
        if (w.at[i] == DONE) {
            continue;
        }
        is_end = false;
        int next = m->step(&w, i, w.at[i]);
        if (next == BLOCKED) {
            continue;
        }
        is_stuck = false;
        w.at[i] = next;
        m->check(&w);
        explore(m, &w);
    }
    if (is_end) {
        interleavings++;
        m->check_end(from);
    } else {
        assert_false(is_stuck);
    }
}

/* ---- a coroutine that parks twice, its wakers, two workers, two inspectors ---- */

static bool apply(struct world *w, enum cu__g_event event)
{
    struct cu__g_step step = cu__g_next(w->word, event);
    assert_true(step.is_valid);
    w->word = step.word;
    return step.go;
}

/* Waker: each wake pairs with one wait, as the object's lock sees to it. */
static int waker(struct world *w, int step)
{
    if (w->wakes_left == 0) {
        return BLOCKED;
    }
    w->wakes_left--;
    w->queued += apply(w, CU__G_WAKE);
    return step + 1 == 2 ? DONE : step + 1;
}

/* Worker: dequeues, runs, parks; done when the coroutine has run to its end somewhere. */
static int worker(struct world *w, int step)
{
    if (step == 0) {
        if (w->runs == 3) {
            return DONE;
        }
        if (w->queued == 0) {
            return BLOCKED;
        }
        w->queued--;
        return 1;
    }
    if (step == 1) {
        return apply(w, CU__G_RUN) ? 2 : 0;
    }
    w->runs++;
    if (w->runs == 3) {
        w->word = CU__G_DEAD;
        return DONE;
    }
    w->word = CU__G_WAITING;
    w->wakes_left++;
    return 0;
}

static int inspector(struct world *w, int which, int step)
{
    if (step % 2 == 0) {
        w->is_claimed_by[which] = apply(w, CU__G_CLAIM);
    } else if (w->is_claimed_by[which]) {
        w->is_claimed_by[which] = false;
        w->queued += apply(w, CU__G_RELEASE);
    }
    return step + 1 == 4 ? DONE : step + 1;
}

static int state_step(struct world *w, int actor, int step)
{
    return actor == 0 ? waker(w, step) : actor <= 2 ? worker(w, step) : inspector(w, 0, step);
}

static int two_inspectors_step(struct world *w, int actor, int step)
{
    return actor == 0   ? waker(w, step)
           : actor == 1 ? worker(w, step)
                        : inspector(w, actor - 2, step);
}

static void check_state(const struct world *w)
{
    assert_in_range(w->queued, 0, 1);
    assert_false(w->is_claimed_by[0] && w->is_claimed_by[1]);
    bool is_claimed = w->is_claimed_by[0] || w->is_claimed_by[1];
    assert_true(is_claimed == ((w->word & CU__G_CLAIMED) != 0));
    assert_true(!is_claimed || (w->word & CU__G_STATE_MASK) != CU__G_RUNNING);
}

static void check_state_end(const struct world *w)
{
    assert_int_equal(w->runs, 3);
    assert_int_equal(w->queued, 0);
    assert_int_equal(w->word, CU__G_DEAD);
}

static void wakers_meet_claims(void **state)
{
    (void)state;
    static const struct model models[] = {{4, state_step, check_state, check_state_end},
                                          {4, two_inspectors_step, check_state, check_state_end}};
    for (size_t i = 0; i < 2; i++) {
        struct world w = {.word = CU__G_RUNNABLE, .queued = 1};
        interleavings = 0;
        explore(&models[i], &w);
        print_message("%ld interleavings\n", interleavings);
        assert_true(interleavings > 1000);
    }
}

/* ---- find_work.c: a submitter and a worker that goes to sleep. a: work in the queue, b: idle P,
 * c: spinning, d: asleep, e: woken ---- */

static int wake_up_step(struct world *w, int actor, int step)
{
    if (actor < 2) { /* submitters */
        if (step == 0) {
            w->a++;
            return 1;
        }
        if (step == 1) { /* looks */
            return w->b && !w->c ? 2 : DONE;
        }
        if (w->c == 0) { /* the compare-and-swap of spinning_count */
            w->c = 1;
            w->e = 1;
            w->b = 0;
        }
        return DONE;
    }
    switch (step) { /* a spinning worker */
    case 0:
        if (w->a) {
            w->a = 0;
            w->c = 0;
            return 0;
        }
        w->b = 1;
        return 1;
    case 1:
        w->c = 0;
        return 2;
    case 2: /* looks again */
        if (w->a && !w->e) {
            w->b = 0;
            w->c = 1;
            return 0 + 4;
        }
        return 3;
    case 3: /* sleeps until woken */
        if (w->e) {
            w->e = 0;
            return 4;
        }
        return w->at[0] == DONE && w->at[1] == DONE ? DONE : BLOCKED;
    default:
        w->a = 0;
        w->c = 0;
        w->b = 1;
        w->d++;
        return 2;
    }
}

static void check_nothing(const struct world *w)
{
    (void)w;
}

static void check_no_work_left(const struct world *w)
{
    assert_int_equal(w->a, 0);
}

static void no_wake_up_is_lost(void **state)
{
    (void)state;
    static const struct model model = {3, wake_up_step, check_nothing, check_no_work_left};
    struct world w = {.c = 1};
    interleavings = 0;
    explore(&model, &w);
    assert_true(interleavings > 10);
}

/* ---- barrier.c: a worker with a store buffer, and an inspector. a: is_picking, b: claims_open,
 * c: state (0 runnable, 1 running, 2 claimed), d, e: the worker's buffered stores of a and c ----
 */

enum { EMPTY = 0, BUFFERED = 1 };

static void drain_buffer(struct world *w)
{
    if (w->d != EMPTY) {
        w->a = 1;
        w->d = EMPTY;
    }
}

static int barrier_step(struct world *w, int actor, int step)
{
    if (actor == 0) {
        switch (step) {
        case 0:
            w->d = BUFFERED; /* is_picking = 1, not visible yet */
            return 1;
        case 1: /* loads claims_open, ahead of its own store */
            return w->b ? 4 : 2;
        case 2: /* stores RUNNING: after is_picking, stores stay in order */
            drain_buffer(w);
            assert_int_equal(w->c, 0); /* nobody has claimed it */
            w->c = 1;
            return 3;
        case 3:
            w->a = 0;
            return DONE;
        case 4:
            drain_buffer(w);
            w->a = 0;
            return 5;
        default: /* compare-and-swap */
            w->c = w->c == 0 ? 1 : w->c;
            return DONE;
        }
    }
    switch (step) {
    case 0:
        w->b = 1;
        return 1;
    case 1: /* membarrier: the worker's buffer is written out */
        drain_buffer(w);
        return 2;
    case 2:
        return w->a ? BLOCKED : 3;
    default: /* compare-and-swap */
        w->f = w->c == 0;
        w->c = w->c == 0 ? 2 : w->c;
        return DONE;
    }
}

static void check_one_winner(const struct world *w)
{
    assert_true(w->f ? w->c == 2 : w->c == 1);
}

static void workers_and_inspectors_agree(void **state)
{
    (void)state;
    static const struct model model = {2, barrier_step, check_nothing, check_one_winner};
    struct world w = {0};
    interleavings = 0;
    explore(&model, &w);
    assert_true(interleavings > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wakers_meet_claims),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(workers_and_inspectors_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
