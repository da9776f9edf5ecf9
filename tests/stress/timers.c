/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: sleeping and deadlines under stress: nothing ends early, everything ends, and timers
 * that were taken back end nothing.
 */
#include <copper/context.h>
#include <copper/select.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>

#include "stress.h"

static int64_t latest_ns; /* atomic */

int64_t latest_sleep_ns(void)
{
    return __atomic_load_n(&latest_ns, __ATOMIC_RELAXED);
}

void has_lasted(int64_t before_ns, int64_t ns)
{
    int64_t late_ns = cu_now() - before_ns - ns, seen = latest_sleep_ns();
    check(late_ns >= 0);
    while (late_ns > seen && !__atomic_compare_exchange_n(&latest_ns, &seen, late_ns, false,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void sleep_and_check(int64_t ns)
{
    int64_t before_ns = cu_now();
    cu_sleep(ns);
    has_lasted(before_ns, ns);
}

static void wait_for_deadline(uint64_t random)
{
    int64_t before_ns = cu_now(), ns = draw(&random, 800) * COPPER_US;
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, ns);
    check(ctx != NULL);
    if (draw(&random, 2)) {
        check(cu_ctx_wait(ctx) == -ETIMEDOUT);
    } else {
        cu_case cases[] = {cu_on_done(ctx), cu_on_after(1000 * COPPER_SEC)};
        check(cu_select(cases, 2) == 0 && cases[0].err == -ETIMEDOUT);
    }
    has_lasted(before_ns, ns);
    check(cu_ctx_err(ctx) == -ETIMEDOUT);
    cu_ctx_end(ctx);
}

static void select_after(uint64_t random)
{
    int64_t before_ns = cu_now(), ns = draw(&random, 800) * COPPER_US;
    cu_case cases[] = {cu_on_after(ns + 500 * COPPER_SEC), cu_on_after(ns), cu_on_recv(NULL, NULL)};
    check(cu_select(cases, 3) == 1);
    has_lasted(before_ns, ns);
}

/* Far ones, that never fire, and near ones, which may just do. */
static void start_and_stop(uint64_t random)
{
    cu_ctx *far[24];
    unsigned n = draw(&random, 24);
    for (unsigned i = 0; i < n; i++) {
        int64_t ns = (random >> i & 1) ? 1000 * COPPER_SEC : (int64_t)i * 20 * COPPER_US;
        far[i] = cu_ctx_with_timeout(NULL, ns);
        check(far[i] != NULL);
    }
    dawdle(random);
    for (unsigned i = 0; i < n; i++) {
        unsigned at = random & 1024 ? i : n - 1 - i; /* oldest or newest first */
        cu_ctx_end(far[at]);
    }
}

struct sleeper {
    cu_ctx *ctx;
    int64_t ns;
};

static void sleep_under(void *arg)
{
    struct sleeper *s = arg;
    int64_t before_ns = cu_now();
    int error = cu_sleep_ctx(s->ctx, s->ns);
    check(error == 0 || error == -ECANCELED);
    if (error == 0) {
        has_lasted(before_ns, s->ns);
    }
}

/* The end of a sleep and its cancellation at about the same time. */
static void cut_sleep_short(uint64_t random)
{
    int64_t ns = draw(&random, 300) * COPPER_US;
    struct sleeper s = {cu_ctx_with_cancel(NULL), ns};
    cu_wg wg = {0};
    check(s.ctx != NULL);
    check(cu_wg_go(&wg, sleep_under, &s) > 0);
    cu_sleep(ns + draw(&random, 40) * COPPER_US - 20 * COPPER_US);
    cu_ctx_cancel(s.ctx);
    cu_wg_wait(&wg);
    cu_ctx_end(s.ctx);
}

static void step(uint64_t random)
{
    switch (draw(&random, 8)) {
    case 0:
        wait_for_deadline(random);
        break;
    case 1:
        select_after(random);
        break;
    case 2:
        cut_sleep_short(random);
        break;
    case 3:
    case 4:
        start_and_stop(random);
        break;
    default:
        sleep_and_check(draw(&random, 300) * COPPER_US);
    }
}

const struct concept timers_concept = {"timers", NULL, step, NULL, NULL};
