/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the lines of the profiler that depend on the processor. x86-64.
 */
#ifndef COPPER_MACHINE_H
#define COPPER_MACHINE_H

#include <stdint.h>

/* The thread's own control block, which the C library puts at the upper end of the stacks it makes.
 * A register read: usable anywhere. */
static inline uint64_t cu__thread_pointer_sig(void)
{
    uint64_t pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

#endif
