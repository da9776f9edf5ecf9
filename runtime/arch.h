/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: every machine-dependent line of C in the runtime. A second machine adds a branch here
 * and a switch_<machine>.S.
 */
#ifndef COPPER_RUNTIME_ARCH_H
#define COPPER_RUNTIME_ARCH_H

#include <copper/inspect.h>
#include <cpuid.h>
#include <stdint.h>

#if !defined(__x86_64__)
#error "copper's runtime knows x86-64 only: add a switch_<machine>.S and a branch here"
#endif

/* Tells the core that we spin. */
static inline void cu__cpu_relax(void)
{
    __builtin_ia32_pause();
}

/* The processor's counter; may be read before the instructions before it are done. */
static inline uint64_t cu__cycles(void)
{
    return __builtin_ia32_rdtsc();
}

/* Not before what comes before it is done. */
static inline uint64_t cu__cycles_after(void)
{
    __builtin_ia32_lfence();
    return __builtin_ia32_rdtsc();
}

/* Whether it counts at the same pace whatever the processor does. */
static inline bool cu__cycles_are_steady(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}

/* How the kernel names it among its sources of time, as a line. */
#define COPPER_CYCLES_SOURCE "tsc\n"

/* Asks for the line at an address that is about to be written, from whichever processor has it. Any
 * address will do. Processors that do not know the instruction pass over it. */
static inline void cu__prefetch_to_write(uintptr_t address)
{
    __asm__ volatile("prefetchw (%0)" : : "r"(address));
}

/* Whether a bit of *word is set, in one test and one branch: compilers load an atomic word first.
 * The load is relaxed. */
__attribute__((always_inline)) static inline bool cu__bit_is_set(const uint32_t *word,
                                                                 const uint32_t bit)
{
    __asm__ goto("testl %1, %0\n\tjnz %l2" : : "m"(*word), "i"(bit) : "cc" : is_set);
    return false;
is_set:
    return true;
}

/* The first word of the thread-local cu__tls (tls.c), of the thread that executes this. One asm, so
 * that no compiler can keep the address, or the word, across a call that changes threads. */
__attribute__((always_inline)) static inline void *cu__tls_word(void)
{
    void *word;
    __asm__ volatile("movq cu__tls@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
                     : "=r"(word)
                     :
                     : "memory");
    return word;
}

/* The thread-local cu_running_id (tls.h), in the same way. */
__attribute__((always_inline)) static inline int64_t cu__running_id(void)
{
    int64_t id;
    __asm__ volatile("movq cu_running_id@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
                     : "=r"(id)
                     :
                     : "memory");
    return id;
}
__attribute__((always_inline)) static inline void cu__running_id_set(int64_t id)
{
    int64_t offset;
    __asm__ volatile("movq cu_running_id@gottpoff(%%rip), %0\n\tmovq %1, %%fs:(%0)"
                     : "=&r"(offset)
                     : "re"(id)
                     : "memory");
}

/* Asks valgrind for something: a sequence of instructions that does nothing on a processor. What it
 * answers; `otherwise` when it is not there. */
static inline uint64_t cu__valgrind(uint64_t request, uint64_t first, uint64_t second,
                                    uint64_t otherwise)
{
    volatile uint64_t arguments[6] = {request, first, second, 0, 0, 0};
    uint64_t result = otherwise;
    __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi\n\t"
                     "rolq $61, %%rdi; rolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(result)
                     : "a"(&arguments[0])
                     : "cc", "memory");
    return result;
}

/* Without knowing that [lo, hi) is a stack, memcheck takes a switch to it for a very large frame.
 */
static inline void cu__valgrind_stack(const void *lo, const void *hi)
{
    cu__valgrind(0x1501, (uint64_t)(uintptr_t)lo, (uint64_t)(uintptr_t)hi - 1, 0);
}

/* How many valgrinds we run on. */
static inline bool cu__valgrind_is_here(void)
{
    return cu__valgrind(0x1001, 0, 0, 0) != 0;
}

/* What cu__switch leaves at the top of a stack that does not run, lowest address first. */
struct cu__switch_frame {
    uint64_t r15, r14, r13, r12, bx, bp, pc;
};

static inline void cu__frame_regs(const struct cu__switch_frame *frame, struct cu_saved_regs *regs)
{
    *regs = (struct cu_saved_regs){.pc = frame->pc,
                                   .sp = (uint64_t)(uintptr_t)(frame + 1),
                                   .bp = frame->bp,
                                   .bx = frame->bx,
                                   .r12 = frame->r12,
                                   .r13 = frame->r13,
                                   .r14 = frame->r14,
                                   .r15 = frame->r15};
}

#endif
