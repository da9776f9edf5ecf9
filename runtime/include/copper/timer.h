/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/timer.h: timers and tickers, with the semantics of Go's (those of Go 1.23).
 *
 *     cu_timer *idle = cu_timer_new(30 * COPPER_SEC);
 *     for (;;) {
 *         cu_case c[] = {cu_on_recv(packets, &p), cu_on_recv(cu_timer_chan(idle), NULL)};
 *         if (cu_select(c, 2) == 1) break;               // nothing came for 30 s
 *         cu_timer_reset(idle, 30 * COPPER_SEC);         // no need to stop or to drain it first
 *     }
 *     cu_timer_unref(idle);
 *
 * For one wait, a deadline is simpler: cu_on_after in a select, or a context
 * (cu_ctx_with_timeout) with the calls that end in _ctx.
 *
 * Channels: a timer's channel gives an int64_t: the time (as of cu_now) at which it was due. It is
 * unbuffered, like Go's: a time that was not received in time waits to be, but is taken back when
 * the timer is stopped or reset, so nobody receives a stale one. It is for receiving, also with
 * select: sending to it, or closing it, is misuse. It shows as a channel named "timer" or "ticker".
 *
 * References: who makes a timer has one; _ref takes another, _unref gives one back. A timer and its
 * channel are one thing with one count: cu_chan_ref(cu_timer_chan(t)) keeps t too. Dropping the
 * last one stops the timer, which need not be stopped before; but a function that cu_after_func has
 * started the time for still runs. Calls, and who waits on the channel, use the caller's reference.
 *
 * What one costs: memory for itself (less than 512 bytes). While nobody waits on its channel it is
 * a fact about the clock, in no queue; it neither wakes a thread nor keeps the program from being
 * at rest. A coroutine that waits on one that runs has a deadline: it is not stranded.
 *
 * All functions are for coroutines and plain threads, none for signal handlers. They are
 * thread-safe and do not wait. Under COPPER_SCHED_SEED they go by the time of coroutines.
 */
#ifndef COPPER_TIMER_H
#define COPPER_TIMER_H

#include <copper/chan.h>
#include <copper/go.h>
#include <copper/time.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- timers ---- */

typedef struct cu_timer cu_timer;

/* Due once, ns from now; at once if that is not positive. NULL when memory is out, or the runtime
 * cannot be started. */
cu_timer *cu_timer_new(int64_t ns);
cu_timer *cu_timer_new_site(int64_t ns, const struct cu_site *site);
#define cu_timer_new(ns) cu_timer_new_site((ns), COPPER_SITE())

/* The same, but when due it runs fn(arg) in a coroutine of its own and has no channel.
 * The coroutine is the child of who calls this: it gets the labels, the name and the scope that the
 * caller has now, whoever runs or resets the timer later; until it has run, or was stopped, the
 * scope counts it as something that goes on. When it cannot be started by then (memory), that is
 * reported on stderr. */
cu_timer *cu_after_func(int64_t ns, void (*fn)(void *), void *arg);
cu_timer *cu_after_func_site(int64_t ns, void (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_after_func(ns, fn, arg) cu_after_func_site((ns), (fn), (arg), COPPER_SITE())

/* A channel that gives the time once, ns from now, for who needs no timer to stop. The caller has a
 * reference and gives it back with cu_chan_unref. NULL as above. */
cu_chan *cu_after(int64_t ns);
cu_chan *cu_after_site(int64_t ns, const struct cu_site *site);
#define cu_after(ns) cu_after_site((ns), COPPER_SITE())

cu_timer *cu_timer_ref(cu_timer *t); /* returns t */
void cu_timer_unref(cu_timer *t);    /* NULL is allowed */

/* Its channel, by the caller's reference to the timer. NULL, which is never ready, for the timer of
 * a function. */
cu_chan *cu_timer_chan(cu_timer *t);

/* True: it was running, and its time is not received, or its function not run, unless it is reset.
 * False: it was received, or the function started (it may still run), or it was stopped before. */
bool cu_timer_stop(cu_timer *t);
/* Due ns from now, whatever it was before. True: it was running, as above. With false for a
 * function, it runs once more, perhaps beside the run before. */
bool cu_timer_reset(cu_timer *t, int64_t ns);

/* ---- tickers ---- */

typedef struct cu_ticker cu_ticker;

/* Due every ns, first ns from now. For a slow receiver it drops ticks: one waits to be received,
 * and the next one is due at the next multiple of ns. ns that is not positive is misuse: reports
 * the caller and aborts. NULL as above. */
cu_ticker *cu_ticker_new(int64_t ns);
cu_ticker *cu_ticker_new_site(int64_t ns, const struct cu_site *site);
#define cu_ticker_new(ns) cu_ticker_new_site((ns), COPPER_SITE())

cu_ticker *cu_ticker_ref(cu_ticker *t); /* returns t */
void cu_ticker_unref(cu_ticker *t);     /* NULL is allowed */
cu_chan *cu_ticker_chan(cu_ticker *t);

/* No more ticks until it is reset. The channel is not closed: who waits on it goes on waiting. */
void cu_ticker_stop(cu_ticker *t);
/* From now on every ns, first ns from now. ns as for cu_ticker_new. */
void cu_ticker_reset(cu_ticker *t, int64_t ns);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
