/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: changing stacks. The routine itself is in switch_<machine>.S; here is the C around it
 * that tells the sanitizers.
 *
 * Design: a context is a saved stack pointer; everything else is on that stack (arch.h draws it).
 * A switch is three calls by the leaving side (depart, cu__switch) and the arriving side (arrive).
 * The floating-point environment (rounding mode, exception masks) belongs to the thread and is not
 * switched.
 */
#ifndef COPPER_RUNTIME_SWITCH_H
#define COPPER_RUNTIME_SWITCH_H

#include "base.h"
#include "sanitize.h"

struct cu__context {
    void *sp; /* any; valid while it does not run */
#if COPPER_WITH_TSAN
    void *fiber;
#endif
#if COPPER_WITH_ASAN
    void *fake_stack;
    const void *stack_lo;
    size_t stack_size;
#endif
};

/* Saves the callee-saved registers and the stack pointer, continues at `to`, and calls cu__arrived
 * there first of all. Returns, when somebody switches back, what cu__arrived returned then. */
int cu__switch(void **save_sp, void *to_sp);
int cu__arrived(void);

/* First instruction of every coroutine: calls cu__coroutine_main. Unwinding ends here. */
void cu__coroutine_entry(void);

/* Fills regs with the caller's registers, as if it had just been switched away from. */
struct cu_saved_regs;
void cu__capture_regs(struct cu_saved_regs *regs);

/* The leaving side, just before cu__switch. is_final: `from` never runs again. */
static inline void cu__depart(struct cu__context *from, struct cu__context *to, bool is_final)
{
#if COPPER_WITH_ASAN
    __sanitizer_start_switch_fiber(is_final ? NULL : &from->fake_stack, to->stack_lo,
                                   to->stack_size);
#endif
#if COPPER_WITH_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    (void)from, (void)to, (void)is_final;
}

/* The arriving side, first thing on its stack. */
static inline void cu__arrive(struct cu__context *self)
{
#if COPPER_WITH_ASAN
    __sanitizer_finish_switch_fiber(self->fake_stack, NULL, NULL);
#endif
    (void)self;
}

#endif
