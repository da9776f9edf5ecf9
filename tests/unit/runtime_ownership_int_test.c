/* SPDX-License-Identifier: Apache-2.0
 *
 * All interleavings of a thread that enters and leaves the scheduler twice, with sysmon, which
 * takes its P and hands it to another M. The thread's stores wait in a buffer, as the processor's
 * do, until something drains it; a compare-and-swap and sysmon's barrier do.
 */
#include "ownership.h"

#include "coroutine_body.h"

enum { M1 = 64, M2 = 128, ENTRIES = 2 };

struct world {
    uintptr_t owner;
    unsigned inside, buffer[4], buffered;
    unsigned step, entries, watch_step; /* where the two are */
    bool is_using, saw_inside, m2_has_it, is_lost;
};

static bool has_barrier;
static unsigned doubled, vanished, runs, taken, kept;

static struct cu__own_step next(struct world *w, enum cu__own_event event, uintptr_t m)
{
    struct cu__own_step step = cu__own_next(w->owner, event, m);
    w->owner = step.word;
    return step;
}

static void drain_one(struct world *w)
{
    w->inside = w->buffer[0];
    w->buffered--;
    for (unsigned i = 0; i < w->buffered; i++) {
        w->buffer[i] = w->buffer[i + 1];
    }
}

static void drain(struct world *w)
{
    while (w->buffered) {
        drain_one(w);
    }
}

/* One step of the thread. */
static void thread_step(struct world *w)
{
    switch (w->step) {
    case 0:
        w->buffer[w->buffered++] = 1;
        w->step = 1;
        break;
    case 1:
        w->step = w->owner == M1 ? 3 : 2;
        w->is_using = w->step == 3;
        break;
    case 2:
        drain(w);
        w->is_using = next(w, CU__OWN_RECLAIM, M1).go;
        w->is_lost = !w->is_using;
        w->step = 3;
        break;
    default:
        w->is_using = false;
        w->buffer[w->buffered++] = 0;
        w->step = 0;
        w->entries++;
    }
}

static void watch_step(struct world *w)
{
    switch (w->watch_step) {
    case 0:
        w->watch_step = next(w, CU__OWN_MARK, M1).go ? 1 : 9;
        break;
    case 1:
        if (has_barrier) {
            drain(w);
        }
        w->watch_step = 2;
        break;
    case 2:
        w->saw_inside = w->inside;
        w->watch_step = 3;
        break;
    case 3:
        if (w->saw_inside) {
            next(w, CU__OWN_ABORT, M1);
            w->watch_step = 9;
        } else {
            w->watch_step = next(w, CU__OWN_COMMIT, M1).go ? 4 : 9;
        }
        break;
    default:
        w->m2_has_it = next(w, CU__OWN_TAKE, M2).go;
        w->watch_step = 9;
    }
}

static void explore(struct world w)
{
    bool thread_goes = w.entries < ENTRIES && !w.is_lost, watch_goes = w.watch_step != 9;
    doubled += w.is_using && w.m2_has_it;
    if (!thread_goes && !watch_goes) {
        runs++;
        taken += w.owner == M2;
        kept += w.owner == M1;
        vanished += w.owner != M1 && w.owner != M2;
        vanished += w.m2_has_it != (w.owner == M2) || (w.is_lost && w.owner == M1);
        return;
    }
    if (thread_goes) {
        struct world then = w;
        thread_step(&then);
        explore(then);
    }
    if (watch_goes) {
        struct world then = w;
        watch_step(&then);
        explore(then);
    }
    if (w.buffered) {
        struct world then = w;
        drain_one(&then);
        explore(then);
    }
}

static void start(bool barrier)
{
    has_barrier = barrier;
    doubled = vanished = runs = taken = kept = 0;
    explore((struct world){.owner = M1});
}

static void exactly_one_has_it(void **state)
{
    (void)state;
    start(true);
    assert_true(runs > 100 && taken > 0 && kept > 0);
    assert_int_equal(doubled, 0);
    assert_int_equal(vanished, 0);
}

/* Else the test would prove nothing. */
static void without_the_barrier_two_have_it(void **state)
{
    (void)state;
    start(false);
    assert_true(doubled > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_one_has_it),
        cmocka_unit_test(without_the_barrier_two_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
