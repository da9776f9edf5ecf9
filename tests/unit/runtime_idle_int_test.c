/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: workers that go to sleep and others that make work meanwhile, in every order of their
 * atomic steps, with the scheduler's own code (find_work.c, supply.c, runq.c): nobody sleeps while
 * something waits that it could run, and no P is lost or had by two.
 *
 * A worker begins where it has found nothing, spinning, with a P. It rests, and when it is up takes
 * one coroutine if it finds any; then it ends, as if that one computed on for ever: what is left is
 * for the others. The kernel's part of a futex is modelled: comparing and going to sleep is one
 * step, and only a wake ends that sleep, so that a wake too few is a worker that is stuck.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* in this order */
#include <setjmp.h>

#include <cmocka.h>

#define INTERLEAVE_RELAXED
#include "interleave_atomics.h"

/* Who runs: actors 0 and 1 are workers, the others plain threads. tls.h would ask the processor. */
#define COPPER_RUNTIME_TLS_H
#define WORKERS 2
static struct cu__m ms[WORKERS];
static struct cu__m *cu__m(void)
{
    return interleave.current >= 0 && interleave.current < WORKERS ? &ms[interleave.current] : NULL;
}

struct cu__sched cu__sched;
#include "find_work.c"
#include "procs.h"
#include "runq.c"
#include "supply.c"

/* ---- what the rest of the runtime does here: little ---- */

static int64_t now_ns;
static bool is_asleep[INTERLEAVE_THREADS];
static uint32_t *sleeps_on[INTERLEAVE_THREADS];

int64_t cu_now(void)
{
    return now_ns;
}

void cu__futex_wait(uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    int self = interleave.current;
    interleave_step();
    if (*word != expected) {
        return;
    }
    if (deadline_ns != COPPER_NO_DEADLINE) { /* it will come, if nothing else does */
        now_ns = deadline_ns > now_ns ? deadline_ns : now_ns;
        return;
    }
    sleeps_on[self] = word;
    is_asleep[self] = true;
    while (is_asleep[self]) {
        interleave_wait();
    }
}

void cu__futex_wake(uint32_t *word, int count)
{
    interleave_step();
    for (int i = 0; i < INTERLEAVE_THREADS && count > 0; i++) {
        if (is_asleep[i] && sleeps_on[i] == word) {
            is_asleep[i] = false;
            count--;
        }
    }
}

struct cu__g *cu__pick(struct cu__p *p)
{
    struct cu__g *g = cu__runq_get(p);
    return g ? g : cu__global_get(p, COPPER_RUNQ_SIZE / 2);
}

uint32_t cu__events_on, cu__sysmon_sleeps, cu__watch_word;
struct cu__replay cu__replay;
struct cu__netpoll cu__netpoll;
void cu__timers_run(struct cu__p *p, int64_t at_ns)
{
    (void)p, (void)at_ns;
}
bool cu__replay_can_advance(void)
{
    return false;
}
bool cu__replay_advance(struct cu__p *p)
{
    (void)p;
    return false;
}
void cu__watch_ask_sig(uint32_t bits)
{
    (void)bits;
}
void cu__quiesce_check(void)
{
}
static bool wants_thread;
void cu__sysmon_want_thread(void)
{
    wants_thread = true;
}
void cu__sysmon_want_heir(void)
{
}
void cu__sysmon_wake(void)
{
}
/* the number of P stays */
void cu__p_clear(struct cu__p *p)
{
    (void)p;
    abort();
}
void cu__p_reopen(struct cu__p *p)
{
    (void)p;
    abort();
}
void cu__p_retire(struct cu__p *p)
{
    (void)p;
    abort();
}
void cu__netpoll_look(void)
{
}
void cu__netpoll_wait(struct cu__polled *out, int64_t deadline_ns)
{
    (void)out, (void)deadline_ns;
}
void cu__netpoll_deliver(const struct cu__polled *polled)
{
    (void)polled;
}
void cu__netpoll_break(void)
{
}
#define EMITTER(NAME, name, parameters, ...)                                                       \
    void cu__emit_##name(int64_t now, COPPER_UNWRAP parameters);                                   \
    void cu__emit_##name(int64_t now, COPPER_UNWRAP parameters)                                    \
    {                                                                                              \
        abort();                                                                                   \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"
COPPER_EVENTS(EMITTER)

void cu__assert_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

/* ---- actors ---- */

static struct cu__p ps[WORKERS];
static struct cu__g g[4];
static unsigned taken[4], found, up;

static void begin(void)
{
    memset(&cu__sched, 0, sizeof(cu__sched));
    memset(ms, 0, sizeof(ms));
    memset(ps, 0, sizeof(ps));
    memset(g, 0, sizeof(g));
    memset(taken, 0, sizeof(taken));
    memset(is_asleep, 0, sizeof(is_asleep));
    now_ns = 1000;
    found = up = 0;
    wants_thread = false;
    cu__sched.procs = WORKERS;
    cu__sched.alive_count = cu__sched.ps_seen = cu__sched.ps_used = WORKERS;
    cu__sched.ps = ps;
    cu__sched.ms = ms;
    cu__sched.spinning_count = 1;
    ms[0].is_spinning = true; /* at most half of the busy ones do */
    for (unsigned i = 0; i < WORKERS; i++) {
        ps[i].index = i;
        ps[i].random = 1 + i;
        ps[i].timers.next_ns = COPPER_NO_WAKE;
        ps[i].owner = (uintptr_t)&ms[i];
        ms[i].p = &ps[i];
    }
}

static void take(struct cu__g *one)
{
    taken[one - g]++;
    found++;
}

/* Found something: it is to run here. */
static void begin_running(struct cu__m *m, struct cu__g *one)
{
    take(one);
    if (m->is_spinning) {
        end_spinning(m);
    }
}

/* As find_work does, but that it looks once. */
static void rest_and_take_one(void)
{
    struct cu__m *m = cu__m();
    struct cu__g *one = NULL;
    while (one == NULL && rest(m)) {
        up++;
        one = cu__pick(m->p);
        for (unsigned i = 0; i < WORKERS && one == NULL; i++) {
            unsigned count;
            if (&ps[i] != m->p) {
                one = cu__runq_steal(m->p, &ps[i], true, &count);
            }
        }
        if (one == NULL && earliest_timer() <= now_ns) {
            break; /* this is what it was woken for */
        }
    }
    if (one) {
        begin_running(m, one);
    }
}

/* Puts work where plain threads put it. */
static void submit(unsigned which)
{
    cu__global_put(&g[which]);
    cu__wake_one();
}

static void submit_first(void)
{
    submit(0);
}

static void submit_two(void)
{
    submit(0);
    submit(1);
}

/* A worker that computes: makes two coroutines ready, and does not run them itself. */
static void ready_two(void)
{
    for (unsigned i = 0; i < 2; i++) {
        cu__runq_put_next(&ps[1], &g[i]);
        cu__wake_one();
    }
}

/* The keeper has to be told, if there is one already. */
static void add_timer(void)
{
    store_seq(&ps[1].timers.next_ns, now_ns + 500);
    cu__wake_keeper(now_ns + 500);
}

/* ---- what must hold in the end ---- */

static bool each_p_has_one_place(void)
{
    unsigned idle = 0;
    for (struct cu__p *p = cu__sched.idle_ps; p; p = p->next_idle) {
        idle += p->owner == 0;
    }
    unsigned owned = (ps[0].owner ? 1u : 0u) + (ps[1].owner ? 1u : 0u);
    return idle == cu__sched.idle_count && idle + owned == WORKERS &&
           (ps[0].owner == 0 || ps[0].owner != ps[1].owner);
}

static bool has_found(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (taken[i] != 1) {
            return false;
        }
    }
    return found == count && each_p_has_one_place();
}

static bool has_found_one(void)
{
    return has_found(1);
}

static bool has_found_two(void)
{
    return has_found(2);
}

/* It computes on, with the one it took; the other is left to who made it. */
static bool has_found_any(void)
{
    return found == 1 && each_p_has_one_place();
}

static bool is_up_in_time(void)
{
    return up > 0 && now_ns >= 1500 && each_p_has_one_place();
}

static void begin_alone(void)
{
    begin();
    cu__sched.procs = 1;
    cu__sched.alive_count = cu__sched.ps_seen = cu__sched.ps_used = 1;
}

static void nobody_sleeps_beside_work(void **state)
{
    /* a worker that is not named computes all the time */
    static const struct interleave_program programs[] = {
        {"one rests, a thread submits",
         begin,
         {rest_and_take_one, NULL, submit_first},
         has_found_one,
         2},
        {"the same with one P",
         begin_alone,
         {rest_and_take_one, NULL, submit_first},
         has_found_one,
         2},
        {"one rests, the other makes two ready",
         begin,
         {rest_and_take_one, ready_two},
         has_found_any,
         2},
        {"two rest, a thread submits two",
         begin,
         {rest_and_take_one, rest_and_take_one, submit_two},
         has_found_two,
         1},
        {"one rests, a thread adds a timer",
         begin,
         {rest_and_take_one, NULL, add_timer},
         is_up_in_time,
         2},
    };
    (void)state;
    if (!INTERLEAVE_IS_POSSIBLE) {
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        uint64_t orders = interleave_explore(&programs[i]);
        print_message("%s: %llu orders\n", programs[i].name, (unsigned long long)orders);
        assert_true(orders > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_sleeps_beside_work)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
