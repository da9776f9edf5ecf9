/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/preempt.h: safe points, for code that computes for long.
 *
 * A coroutine that calls nothing of the runtime keeps its P for 10 ms of CPU time, if others wait.
 * Then its P is taken and it computes on beside them, on a thread of its own (copper/blocking.h).
 * Two things make it give way instead, also where COPPER_HANDOFF=0 leaves every P with its thread:
 *
 *     cu_checkpoint()               a call, where you put it: others run, and the caller is queued
 *     copper_preemptible(target)    a CMake function: the compiler puts a safe point into every
 *                                   function and every turn of every loop of a target
 *
 *     find_package(copper REQUIRED)
 *     add_executable(server server.c)
 *     target_link_libraries(server PRIVATE copper::runtime)
 *     copper_preemptible(server)
 *
 * The two differ in what the code around may assume. cu_checkpoint parks: the coroutine may go on
 * on another thread. A compiled safe point gives up the P and waits for another *on its thread*:
 * nothing is switched, so locks, thread-locals, errno and half-done library calls around it are as
 * safe as while the kernel runs another thread; but others may run where the source shows no call.
 *
 * With COPPER_HANDOFF=0 a coroutine that waits for a pthread mutex keeps its P. If the holder of
 * that mutex stands at a compiled safe point and there is no other P, neither goes on: with
 * hand-off off, keep such locks out of preemptible targets, or use cu_mutex.
 *
 * Cost: a checkpoint or safe point that nobody asked for is a call, a load, a test and a return. In
 * loops of few instructions that is much: see docs/performance.md. Only targets that compute for
 * long without a runtime call gain from it.
 */
#ifndef COPPER_PREEMPT_H
#define COPPER_PREEMPT_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Yields if others wait and the caller has computed for 10 ms, or lost its P; else returns at once,
 * after some 2 ns. In a seeded replay (COPPER_SCHED_SEED) it always yields, so that seeds try what
 * may happen there. Parks. On a plain thread nothing. Not from signal handlers. */
void cu_checkpoint(void);

/* For a function in a preemptible target that gets no safe points: what runs in signal handlers and
 * in hooks (copper/hooks.h), and hot loops. Those that it calls have theirs. */
#if defined(__clang__)
#define COPPER_NO_SAFE_POINTS __attribute__((noinline, no_sanitize("coverage")))
#elif __GNUC__ < 12
#define COPPER_NO_SAFE_POINTS __attribute__((noinline)) /* it has them all the same */
#else
#define COPPER_NO_SAFE_POINTS __attribute__((noinline, no_sanitize_coverage))
#endif

/* What a compiled safe point calls when the P was asked for; nothing that a program calls itself.
 * errno is left as it was. On a plain thread, in a signal handler on a stack of its own, inside
 * cu_blocking and between cu_syscall_enter and _exit it does nothing. */
void cu_safe_point(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
