/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: times of events where the clocks of threads differ: the real hooks.c and tell.c are
 * compiled in, and the processor's counter stands still, so that each worker's clock says what the
 * test set it to. A coroutine goes from thread to thread, each further behind, and its events must
 * yet be in order: a tool that merges the threads' events knows nothing but their times.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#include "types.h"

#define cu__lock_take(lock) ((void)(lock))
#define cu__lock_drop(lock) ((void)(lock))
#include "hooks.c"
#include "tell.c"
#include "tls.c"

/* ---- what they need ---------------------------------------------------------------------- */

struct cu__sched cu__sched;
struct cu__ticks cu__ticks;
struct cu__replay cu__replay;

bool cu__replay_is_here(void)
{
    return false;
}

void cu__ticks_prepare(void)
{
    cu__ticks.is_counter = true;
    cu__ticks.ns_each = 0;               /* a tick takes no time */
    cu__ticks.in_ns = UINT64_C(1) << 60; /* and no clock is read anew */
}

bool cu__barrier_everywhere(void)
{
    return true;
}

void cu__account(struct cu__p *p, struct cu__g *stops, int64_t now_ns)
{
    (void)p, (void)stops, (void)now_ns;
}

void cu__coroutine_entry(void)
{
}

void cu__capture_regs(struct cu_saved_regs *regs)
{
    (void)regs;
}

/* ---- threads and a coroutine ----------------------------------------------------------------- */

enum { AHEAD, BEHIND, FAR_BEHIND, THREADS };

static struct cu__m threads[THREADS];
static struct cu__p p;
static struct cu__switch_frame never_ran;
static struct cu__g g = {.id = 1};
static int64_t last_ns;

static void told(int64_t now)
{
    assert_true(now > last_ns);
    last_ns = now;
}

static void on_created(void *tool, int64_t now, cu_id id, cu_id parent, const struct cu_site *site)
{
    (void)tool, (void)id, (void)parent, (void)site;
    told(now);
}

static void on_ready(void *tool, int64_t now, cu_id id, cu_id by)
{
    (void)tool, (void)id, (void)by;
    told(now);
}

static void on_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool, (void)resume;
    told(now);
}

static void on_parked(void *tool, int64_t now, cu_id id, int index, enum cu_wait_reason reason,
                      const void *object, int64_t deadline_ns)
{
    (void)tool, (void)id, (void)index, (void)reason, (void)object, (void)deadline_ns;
    told(now);
}

static void on_yielded(void *tool, int64_t now, cu_id id, int index)
{
    (void)tool, (void)id, (void)index;
    told(now);
}

static const struct cu_hooks table = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(table),
                                      .created = on_created,
                                      .ready = on_ready,
                                      .running = on_running,
                                      .parked = on_parked,
                                      .yielded = on_yielded};

static int set_up(void **state)
{
    (void)state;
    never_ran.pc = (uint64_t)(uintptr_t)cu__coroutine_entry;
    g.context.sp = &never_ran;
    last_ns = 0;
    for (int i = 0; i < THREADS; i++) {
        threads[i].told_ns = 0;
        threads[i].anchor_ns = 1000000 - 300 * i;
        threads[i].anchor_ticks = cu__cycles();
    }
    return cu_hooks_attach(&table, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    cu__m_set(NULL);
    return cu_hooks_detach(&table, NULL);
}

/* From here on the test is what runs on that thread. */
static void on_thread(int i)
{
    cu__m_set(&threads[i]);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void a_wait_ends_on_other_threads(void **state)
{
    (void)state;
    on_thread(AHEAD);
    cu__tell_park(&p, &g);
    on_thread(BEHIND);
    cu__tell_ready(&g);
    on_thread(FAR_BEHIND);
    cu__tell_run(&p, &g, 0);
}

static void who_yields_is_stolen(void **state)
{
    (void)state;
    on_thread(AHEAD);
    cu__tell_yield(&p, &g);
    on_thread(FAR_BEHIND);
    cu__tell_run(&p, &g, 0);
}

static void who_is_new_is_stolen(void **state)
{
    (void)state;
    on_thread(AHEAD);
    cu__tell_start(&g, 2);
    on_thread(FAR_BEHIND);
    cu__tell_run(&p, &g, 0);
}

/* Who leaves reads its clock once, for itself and for who follows. */
static void a_reading_is_older_than_what_it_serves_for(void **state)
{
    (void)state;
    on_thread(AHEAD);
    cu__tell_park(&p, &g);
    on_thread(BEHIND);
    int64_t reading = cu_hooks_now();
    on_thread(AHEAD);
    cu__tell_ready(&g);
    on_thread(BEHIND);
    cu__tell_run(&p, &g, reading);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wait_ends_on_other_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_yields_is_stolen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_new_is_stolen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reading_is_older_than_what_it_serves_for, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
