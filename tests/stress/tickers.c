/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: tickers under stress: ticks are due at multiples of the period, come in order and once,
 * and are dropped for who is slow: never do two wait to be received.
 *
 * One is received from by everybody at once; others belong to a step.
 */
#include <copper/select.h>
#include <copper/time.h>
#include <copper/timer.h>
#include <errno.h>
#include <string.h>

#include "stress.h"

#define PERIOD_NS (150 * COPPER_US)
#define TICKS_MAX 20000u /* the shared one's that are looked at */

static struct {
    cu_ticker *ticker;
    int64_t begin_ns;
    uint64_t received;        /* atomic */
    uint8_t ticks[TICKS_MAX]; /* atomic: times that each was received */
} s;

static void begin(uint64_t seed)
{
    (void)seed;
    memset(&s, 0, sizeof(s));
    s.begin_ns = cu_now();
    s.ticker = cu_ticker_new(PERIOD_NS);
    check(s.ticker != NULL);
}

static void verify(void)
{
    check((int64_t)s.received <= (cu_now() - s.begin_ns) / PERIOD_NS);
    cu_ticker_unref(s.ticker);
}

static int receive_by(cu_chan *c, int64_t ns, int64_t *due_ns)
{
    cu_case cases[] = {cu_on_recv(c, due_ns), cu_on_after(ns)};
    return cu_select(cases, 2) == 0 ? cases[0].err : -EAGAIN;
}

/* Receivers do not know each other's order; but no two get the same tick. */
static void receive_shared(uint64_t random)
{
    int64_t due_ns;
    if (receive_by(cu_ticker_chan(s.ticker), draw(&random, 300) * COPPER_US, &due_ns) == 0) {
        check(due_ns >= s.begin_ns + PERIOD_NS && due_ns <= cu_now());
        uint64_t tick = (uint64_t)((due_ns - s.begin_ns) / PERIOD_NS);
        check(tick >= TICKS_MAX || __atomic_fetch_add(&s.ticks[tick], 1, __ATOMIC_RELAXED) == 0);
        __atomic_fetch_add(&s.received, 1, __ATOMIC_RELAXED);
    }
}

/* What the only receiver of a ticker knows. */
struct line {
    cu_ticker *ticker;
    int64_t period_ns;
    int64_t last_ns;  /* the last tick, or 0 */
    int64_t asked_ns; /* when that was asked for, or the ticker started */
};

static void tick_arrives(struct line *l, int64_t due_ns, int64_t asked_ns)
{
    has_lasted(due_ns, 0);
    if (l->last_ns) {
        check(due_ns > l->asked_ns); /* else two had waited */
        check(due_ns > l->last_ns && (due_ns - l->last_ns) % l->period_ns == 0);
    } else {
        check(due_ns >= l->asked_ns + l->period_ns);
    }
    l->last_ns = due_ns;
    l->asked_ns = asked_ns;
}

static void receive_own(struct line *l, uint64_t random)
{
    cu_chan *c = cu_ticker_chan(l->ticker);
    int64_t due_ns, asked_ns = cu_now();
    int error = draw(&random, 2) ? cu_recv(c, &due_ns) : cu_try_recv(c, &due_ns);
    check(error == 0 || error == -EAGAIN);
    if (error == 0) {
        tick_arrives(l, due_ns, asked_ns);
    }
}

/* No ticks are left of before, and none come until it is started again. */
static void stop_and_start(struct line *l, uint64_t random)
{
    cu_ticker_stop(l->ticker);
    if (draw(&random, 2)) {
        int64_t due_ns, ns = draw(&random, 3) * l->period_ns;
        check(receive_by(cu_ticker_chan(l->ticker), ns, &due_ns) == -EAGAIN);
    }
    check(cu_try_recv(cu_ticker_chan(l->ticker), NULL) == -EAGAIN);
    l->period_ns = (1 + (int64_t)draw(&random, 200)) * COPPER_US;
    l->last_ns = 0;
    l->asked_ns = cu_now();
    cu_ticker_reset(l->ticker, l->period_ns);
}

static void use_alone(uint64_t random)
{
    struct line l = {.period_ns = (1 + (int64_t)draw(&random, 300)) * COPPER_US};
    l.asked_ns = cu_now();
    l.ticker = cu_ticker_new(l.period_ns);
    check(l.ticker != NULL);
    for (unsigned turns = draw(&random, 8); turns > 0; turns--) {
        uint64_t more = next_random(&random);
        switch (draw(&more, 4)) {
        case 0:
            stop_and_start(&l, more);
            break;
        case 1:
            dawdle(more); /* slow: some are dropped */
            break;
        default:
            receive_own(&l, more);
        }
    }
    cu_ticker_unref(l.ticker);
}

static void step(uint64_t random)
{
    if (draw(&random, 2)) {
        use_alone(random);
    } else {
        receive_shared(random);
    }
}

const struct concept tickers_concept = {"tickers", begin, step, NULL, verify};
