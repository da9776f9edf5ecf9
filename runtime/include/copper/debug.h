/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/debug.h: what is every coroutine doing, and can it ever go on?
 *
 * All coroutines at once: cu_dump() writes every one with its stack; with COPPER_DUMP=quit in the
 * environment `kill -QUIT` does the same to standard error, and the program goes on.
 *
 * Deadlock of the whole program: when every coroutine is parked for good and no timer, deadline,
 * descriptor, blocking call or thread of the program can wake one, the runtime prints
 *
 *     fatal error: all coroutines are asleep - deadlock!
 *
 * and every coroutine, and ends the process with status 2 by exit(), so that what is registered
 * with atexit() runs, a leak report too. A thread of the program that does not itself wait in one
 * of our calls without a deadline might wake somebody: then nothing is reported. COPPER_DEADLOCK=
 * `exit` is this default; `report` prints, once, and lets the process hang, and looks for cycles
 * (cu_deadlocks_check) every second; `off` never looks.
 */
#ifndef COPPER_DEBUG_H
#define COPPER_DEBUG_H

#include <copper/go.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Writes every coroutine to a descriptor: id, state or wait reason, how long in whole minutes,
 * name, what it waits on, labels, stack, and where it and its ancestors were spawned. Parked and
 * runnable ones stand still while they are written; of running ones the stack is not shown. Frames
 * have names when copper::stacks is linked (the profiler and the leak checker bring it). From
 * coroutines and plain threads, not from signal handlers or hooks; blocks its thread. Returns the
 * number written. */
int64_t cu_dump(int fd);

/* Looks for coroutines that wait for each other in a circle of mutexes, rwmutexes and wait groups,
 * or for one that has ended or waits for ever, while the rest of the program goes on. Writes each
 * that was not reported before, with its coroutines, to a descriptor. Certain if locks are given
 * back by who took them; what waits for a channel, a condition or a semaphore is never judged. Only
 * waits older than 50 ms count. From coroutines and plain threads; blocks its thread; 0.2 us for
 * each coroutine. Returns how many were written, or -ENOMEM. The runtime does it by itself, to
 * standard error, when all its threads are idle, and every second with COPPER_DEADLOCK=report; not
 * with COPPER_DEADLOCK=off. */
int cu_deadlocks_check(int fd);

/* How much stack the coroutines of one spawn site and function used, of those that ended and were
 * measured: one in 512, or one in COPPER_STACK_CENSUS (1: every one, 0: none). Exact to a page. For
 * choosing cu_go_options.stack_size. */
struct cu_stack_use {
    uint32_t size;              /* sizeof(struct cu_stack_use) of the runtime */
    const struct cu_site *site; /* NULL: unknown */
    void (*entry)(void *);
    uint64_t measured;    /* coroutines */
    uint64_t peak_bytes;  /* the most that one of them used */
    uint64_t stack_bytes; /* what it may use */
};
/* Calls visit for each until it returns false. Any context but signal handlers. Returns how many.
 */
int64_t cu_stack_census_each(bool (*visit)(const struct cu_stack_use *use, void *arg), void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
