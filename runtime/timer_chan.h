/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the channel of a timer or ticker does differently, for chan.c, select.c, wait.c.
 */
#ifndef COPPER_RUNTIME_TIMER_CHAN_H
#define COPPER_RUNTIME_TIMER_CHAN_H

#include "chan.h"

/* The result of a wait on a timer's channel that has to begin anew: the timer was stopped, or
 * started, and the waiter's deadline is no longer what it was. */
#define CU__WAIT_ANEW (-ERESTART)

/* For channels with is_timed. With the lock, as cu__chan_receive_now: 0 or -EAGAIN. */
int cu__timed_receive_now(cu_chan *c, void *value);
/* The lock is held, and given back. ctx may be NULL. */
int cu__timed_receive(cu_chan *c, void *value, bool may_wait, cu_ctx *ctx);
/* Lists w, whose value and race are set, and sees to it that the timer comes due. With the lock.
 * When that will be; 0: never. */
int64_t cu__timed_enter(cu_chan *c, struct cu__waiter *w);
/* Somebody was taken out of the list `receivers` who gave up. With the lock. */
void cu__timed_left(struct cu__waiters *receivers);
/* The last reference was dropped, nobody waits, no lock is held. */
void cu__timed_free(cu_chan *c);

#endif
