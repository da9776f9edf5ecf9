/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: random use of timers against a law: each start of a timer (made, or reset) ends in
 * exactly one way: its time is received, or its function runs, or a stop or reset says that it was
 * running. Several coroutines and plain threads start and stop the same timers while others
 * receive in all ways there are; at the end of a round the sums must agree, also for functions.
 *
 * What is received was due by then. Ticks come in order, a multiple of the period apart. Where one
 * coroutine alone uses a timer, nothing can be received after a stop.
 *
 * usage: timer_stress [SECONDS [SEED]]
 */
#include <copper/copper.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seeded.h"

#define LINES       6 /* of each kind */
#define CONTROLLERS 2 /* of each line, and as many receivers */
#define STEPS       40
#define PERIOD_NS   (150 * COPPER_US)

uint64_t stress_seed;

static void add(int64_t *counter, int64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int64_t some_time(uint64_t *random)
{
    return (int64_t)(next_random(random) % 400) * COPPER_US - 20 * COPPER_US;
}

/* A timer that many use. */
struct line {
    cu_timer *timer;
    cu_ctx *ctx; /* ends its receivers */
    uint64_t seed;
    int64_t starts, ends, uses; /* atomic; uses: received, or run */
    int64_t users;              /* atomic; who takes a number of its own from here */
};

static void run_once(void *arg)
{
    struct line *line = arg;
    add(&line->uses, 1);
}

static void control(void *arg)
{
    struct line *line = arg;
    uint64_t random = line->seed + (uint64_t)__atomic_fetch_add(&line->users, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < STEPS; i++) {
        if (next_random(&random) % 3) {
            add(&line->starts, 1);
            add(&line->ends, cu_timer_reset(line->timer, some_time(&random)));
        } else {
            add(&line->ends, cu_timer_stop(line->timer));
        }
        cu_sleep(some_time(&random));
    }
}

static int receive_somehow(struct line *line, cu_chan *c, int64_t *due_ns, uint64_t *random)
{
    cu_case cases[] = {cu_on_recv(c, due_ns), cu_on_done(line->ctx),
                       cu_on_after(some_time(random))};
    switch (next_random(random) % 4) {
    case 0:
        return cu_recv_ctx(line->ctx, c, due_ns);
    case 1:
        cu_yield();
        return cu_try_recv(c, due_ns);
    case 2:
        return cu_select(cases, 2) == 0 ? cases[0].err : -EAGAIN;
    default:
        return cu_select(cases, 3) == 0 ? cases[0].err : -EAGAIN;
    }
}

static void receive(void *arg)
{
    struct line *line = arg;
    uint64_t random = ~line->seed + (uint64_t)__atomic_fetch_add(&line->users, 1, __ATOMIC_RELAXED);
    cu_chan *c = cu_timer_chan(line->timer);
    while (cu_ctx_err(line->ctx) == 0) {
        int64_t due_ns;
        int result = receive_somehow(line, c, &due_ns, &random);
        check(result != -EPIPE);
        check(result || due_ns <= cu_now());
        add(&line->uses, result == 0);
    }
}

static void *receive_in_thread(void *arg)
{
    receive(arg);
    return NULL;
}

static void *control_in_thread(void *arg)
{
    control(arg);
    return NULL;
}

static void run_line(void *arg)
{
    struct line *line = arg;
    cu_wg controllers = {0}, receivers = {0};
    pthread_t control_thread, receive_thread;
    bool is_function = line->seed & 1, has_threads = line->seed % 7 == 0;
    line->ctx = cu_ctx_with_cancel(NULL);
    line->starts = 1;
    line->timer = is_function ? cu_after_func(COPPER_MS, run_once, line) : cu_timer_new(COPPER_MS);
    check(line->timer && line->ctx);
    for (int i = 0; i < CONTROLLERS; i++) {
        cu_wg_go(&controllers, control, line);
        if (!is_function) {
            cu_wg_go(&receivers, receive, line);
        }
    }
    if (has_threads) {
        pthread_create(&control_thread, NULL, control_in_thread, line);
    }
    if (has_threads && !is_function) {
        pthread_create(&receive_thread, NULL, receive_in_thread, line);
    }
    cu_wg_wait(&controllers);
    if (has_threads) {
        pthread_join(control_thread, NULL);
    }
    add(&line->ends, cu_timer_stop(line->timer));
    cu_ctx_cancel(line->ctx);
    cu_wg_wait(&receivers);
    if (has_threads && !is_function) {
        pthread_join(receive_thread, NULL);
    }
    cu_timer_unref(line->timer);
    cu_ctx_end(line->ctx);
}

/* One coroutine, one timer or ticker. */
static void use_alone(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    int64_t due_ns, start_ns;
    cu_timer *t = cu_timer_new(some_time(&random));
    for (int i = 0; i < STEPS; i++) {
        cu_sleep(some_time(&random));
        bool is_over = next_random(&random) & 1 && cu_try_recv(cu_timer_chan(t), NULL) == 0;
        check(cu_timer_stop(t) != is_over);
        check(cu_try_recv(cu_timer_chan(t), NULL) == -EAGAIN);
        start_ns = cu_now();
        int64_t ns = some_time(&random);
        check(!cu_timer_reset(t, ns));
        if (next_random(&random) & 1) {
            check(cu_recv(cu_timer_chan(t), &due_ns) == 0);
            check(due_ns >= start_ns + (ns > 0 ? ns : 0) && due_ns <= cu_now());
            cu_timer_reset(t, some_time(&random));
        }
    }
    cu_timer_unref(t);
}

static void tick(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    cu_ticker *t = cu_ticker_new(PERIOD_NS);
    int64_t last_ns = 0, due_ns;
    for (int i = 0; i < STEPS; i++) {
        check(cu_recv(cu_ticker_chan(t), &due_ns) == 0 && due_ns <= cu_now());
        check(last_ns == 0 || (due_ns > last_ns && (due_ns - last_ns) % PERIOD_NS == 0));
        last_ns = due_ns;
        if (next_random(&random) % 4 == 0) {
            cu_sleep(some_time(&random));
        }
        if (next_random(&random) % 16 == 0) {
            cu_ticker_stop(t);
            check(cu_try_recv(cu_ticker_chan(t), NULL) == -EAGAIN);
            cu_ticker_reset(t, PERIOD_NS);
            last_ns = 0;
        }
    }
    cu_ticker_unref(t);
}

static void run_round(uint64_t seed)
{
    static struct line lines[LINES];
    uint64_t random = stress_seed = seed;
    cu_wg wg = {0};
    memset(lines, 0, sizeof(lines));
    for (int i = 0; i < LINES; i++) {
        lines[i].seed = next_random(&random) % 1000000007;
        cu_wg_go(&wg, run_line, &lines[i]);
        cu_wg_go(&wg, use_alone, (void *)(uintptr_t)next_random(&random));
        cu_wg_go(&wg, tick, (void *)(uintptr_t)next_random(&random));
    }
    cu_wg_wait(&wg);
    check(cu_quiesce(0, 60 * COPPER_SEC) == 0); /* functions that were started have run */
    for (int i = 0; i < LINES; i++) {
        int64_t uses = __atomic_load_n(&lines[i].uses, __ATOMIC_RELAXED);
        check(lines[i].starts == lines[i].ends + uses);
    }
}

static int run_rounds(void *arg)
{
    uint64_t *limits = arg, rounds = 0;
    int64_t until_ns = cu_now() + (int64_t)limits[0] * COPPER_SEC;
    do {
        run_round(limits[1] + rounds++);
    } while (cu_now() < until_ns);
    printf("%llu rounds from seed %llu\n", (unsigned long long)rounds,
           (unsigned long long)limits[1]);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t limits[] = {argc > 1 ? strtoull(argv[1], NULL, 0) : 2,
                         argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)cu_now()};
    return cu_run(run_rounds, limits);
}
