/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the lines of the profiler that depend on the processor. x86-64.
 */
#ifndef COPPER_MACHINE_H
#define COPPER_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* The thread's own control block, which the C library puts at the upper end of the stacks it makes.
 * A register read: usable anywhere. */
static inline uint64_t cu__thread_pointer_sig(void)
{
    uint64_t pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

static inline uint64_t cu__context_pc_sig(const ucontext_t *context)
{
    return (uint64_t)context->uc_mcontext.gregs[REG_RIP];
}

/* The instruction that enters the kernel: how long it is, and whether this is one. */
#define COPPER_SYSCALL_BYTES 2
static inline bool cu__is_syscall_sig(const unsigned char code[COPPER_SYSCALL_BYTES])
{
    return code[0] == 0x0f && code[1] == 0x05;
}

/* The registers as they are here, in the order of struct cu_regs: where a walk of the caller's own
 * stack starts. In a function of its own the compiler may not inline around it. */
__attribute__((always_inline)) static inline void cu__regs_here(uint64_t regs[8])
{
    __asm__ volatile("lea 0(%%rip), %%rax\n\t"
                     "mov %%rax, 0(%0)\n\t"
                     "mov %%rsp, 8(%0)\n\t"
                     "mov %%rbp, 16(%0)\n\t"
                     "mov %%rbx, 24(%0)\n\t"
                     "mov %%r12, 32(%0)\n\t"
                     "mov %%r13, 40(%0)\n\t"
                     "mov %%r14, 48(%0)\n\t"
                     "mov %%r15, 56(%0)"
                     :
                     : "r"(regs)
                     : "rax", "memory");
}

#endif
