/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/signal.h: signals of the process as values of a channel.
 *
 *     cu_chan *signals = cu_chan_new(sizeof(int), 1);
 *     cu_signal_notify(signals, (const int[]){SIGINT, SIGTERM}, 2);
 *     int sig;
 *     cu_recv(signals, &sig);                 // parks until one arrives
 *
 * As in Go, a signal is sent to a channel without waiting: give it room (capacity 1 is enough for
 * one kind of signal), or signals that come while nobody receives are lost. Signals of one kind
 * that come in quick succession may arrive as one.
 *
 * Only the signals asked for are touched: for them a handler is installed (SA_RESTART, SA_ONSTACK).
 * A handler function that the program had before keeps being called, after the signal was noted;
 * the default action and SIG_IGN are replaced. When no channel wants a signal any more, what was
 * there before is put back, unless somebody changed it meanwhile.
 *
 * The threads that run coroutines block signals, so one of the program's own threads has to be open
 * to them: the one that called cu_run is, if the program did not block them there.
 *
 * After fork the child has none of this: the actions from before are back.
 *
 * All but stop: 0 or -errno. From coroutines and plain threads, not from signal handlers; they
 * neither park nor block.
 */
#ifndef COPPER_SIGNAL_H
#define COPPER_SIGNAL_H

#include <copper/chan.h>
#include <signal.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* From now on each of these signals is sent to the channel, whose values are ints, besides what it
 * got already. Several channels may want the same signal: each gets it. The channel is referenced
 * until cu_signal_stop. -EINVAL: a channel of another size, no signal, or one that cannot be had:
 * SIGKILL, SIGSTOP, and those that an instruction raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP,
 * SIGSYS). -ENOMEM; -EMFILE, -ENFILE: a descriptor is needed. */
int cu_signal_notify(cu_chan *c, const int *signals, size_t count);

/* The channel gets no more signals: when this returns, it has got its last. Signals whose handler
 * ran before are sent to it first, and to no channel that asks for them later. */
void cu_signal_stop(cu_chan *c);

/* No channel gets these signals any more; count 0: none at all. */
int cu_signal_reset(const int *signals, size_t count);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
