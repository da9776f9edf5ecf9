/* SPDX-License-Identifier: Apache-2.0
 *
 * Times of events: on no thread do they go back, none is ahead of the clock, and none comes before
 * what caused it, on whichever thread that was.
 */
#include <copper/chan.h>
#include <copper/hooks.h>
#include <copper/sync.h>
#include <copper/time.h>

#include "coroutine_body.h"

#define ROUNDS 5000
#define PAIRS  4

static struct {
    int64_t events, late; /* late: by more than a millisecond when the hook looks */
    int64_t back, ahead, before_cause;
} seen;

static __thread int64_t last_ns;

#define COUNT(field) __atomic_fetch_add(&seen.field, 1, __ATOMIC_RELAXED)

static void judge(int64_t now, int64_t cause_ns)
{
    int64_t clock_ns = cu_now();
    COUNT(events);
    if (now < last_ns) {
        COUNT(back);
    }
    if (now > clock_ns) {
        COUNT(ahead);
    }
    if (now < cause_ns) {
        COUNT(before_cause);
    }
    if (clock_ns - now > COPPER_MS) {
        COUNT(late);
    }
    last_ns = now;
}

/* As a tool that says something of its own thread. */
static __attribute__((noinline)) void ask(void)
{
    judge(cu_hooks_now(), 0);
}

/* What happened to a coroutine last, by id. */
static int64_t parked_ns[1024], ready_ns[1024];

static int64_t *of(int64_t *times, cu_id g)
{
    return &times[(uint64_t)g % 1024];
}

static void created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)tool, (void)parent, (void)site;
    judge(now, 0);
    __atomic_store_n(of(ready_ns, g), now, __ATOMIC_RELAXED);
}

static void ready(void *tool, int64_t now, cu_id g, cu_id by)
{
    (void)tool, (void)by;
    judge(now, __atomic_load_n(of(parked_ns, g), __ATOMIC_RELAXED));
    __atomic_store_n(of(ready_ns, g), now, __ATOMIC_RELAXED);
}

static void running(void *tool, int64_t now, const struct cu_resume *r)
{
    (void)tool;
    judge(now, __atomic_load_n(of(ready_ns, r->g), __ATOMIC_RELAXED));
}

static void parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                   const void *object, int64_t deadline_ns)
{
    (void)tool, (void)p, (void)reason, (void)object, (void)deadline_ns;
    judge(now, 0);
    __atomic_store_n(of(parked_ns, g), now, __ATOMIC_RELAXED);
}

static void yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)p;
    judge(now, 0);
    __atomic_store_n(of(ready_ns, g), now, __ATOMIC_RELAXED);
}

static void exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)g, (void)p;
    judge(now, 0);
}

static void p_started(void *tool, int64_t now, int p, int32_t tid)
{
    (void)tool, (void)p, (void)tid;
    judge(now, 0);
}

static void p_stopped(void *tool, int64_t now, int p)
{
    (void)tool, (void)p;
    judge(now, 0);
}

static const struct cu_hooks table = {.version = COPPER_HOOKS_VERSION,
                                      .size = sizeof(table),
                                      .created = created,
                                      .ready = ready,
                                      .running = running,
                                      .parked = parked,
                                      .yielded = yielded,
                                      .exited = exited,
                                      .p_started = p_started,
                                      .p_stopped = p_stopped};

static cu_chan *all; /* who receives is whoever comes: mostly on another thread */

static void give(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < ROUNDS; i++) {
        ask();
        cu_send(all, &i);
        if (i % 16 == 0) {
            cu_yield();
        }
    }
}

static void take(void *unused)
{
    (void)unused;
    for (int64_t i = 0, value; i < ROUNDS; i++) {
        cu_recv(all, &value);
        if (i % 256 == 0) {
            cu_sleep(COPPER_MS / 10);
        }
    }
}

COROUTINE_TEST(times_are_in_order)
{
    cu_wg wg = {0};
    all = cu_chan_new(sizeof(int64_t), 0);
    expect(cu_hooks_attach(&table, NULL) == 0);
    for (int i = 0; i < PAIRS; i++) {
        cu_wg_go(&wg, give, NULL);
        cu_wg_go(&wg, take, NULL);
    }
    cu_wg_wait(&wg);
    expect(cu_hooks_detach(&table, NULL) == 0);
    cu_chan_unref(all);
    expect(seen.events > 2 * PAIRS * ROUNDS);
    expect(seen.back == 0 && seen.ahead == 0 && seen.before_cause == 0);
    expect(seen.late < seen.events / 2);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
