/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how it is noticed that a coroutine needs more stack than it has: guards below stacks,
 * and words at their bottoms where the kernel gives no guards.
 *
 * Concurrency: from any thread, several at once; no locks.
 */
#ifndef COPPER_RUNTIME_STACK_GUARD_H
#define COPPER_RUNTIME_STACK_GUARD_H

#include "types.h"

#define COPPER_STACK_GUARD    (64u * 1024)
#define COPPER_GUARDS_AT_ONCE 32u

/* How overflow is noticed. */
enum cu__guard {
    COPPER_GUARD_MADVISE,  /* guard pages without a mapping of their own */
    COPPER_GUARD_MPROTECT, /* guard pages, two mappings a stack */
    COPPER_GUARD_CANARY,   /* a word at the bottom, looked at when the coroutine stops */
};

/* Guards for so many new stacks, at most COPPER_GUARDS_AT_ONCE; their `guard` says which they got.
 */
void cu__stack_guards_install(struct cu__stack *const *all, uint32_t count);
/* Of a stack with a canary, before it is used. */
void cu__stack_put_canary(struct cu__stack *stack);
/* For stacks with a canary: reports the overflow and aborts. Called with the stack at rest. */
void cu__stack_check(const struct cu__g *g);
/* True when address lies in the guard below this stack. Async-signal-safe. */
bool cu__stack_guards_sig(const struct cu__stack *stack, const void *address);
/* What new stacks get. */
const char *cu__stack_guard_mode(void);
/* Reads COPPER_STACK_GUARD. */
void cu__stack_guard_configure(void);

#endif
