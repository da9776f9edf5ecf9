/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_bounds.h.
 *
 * Design. A coroutine of ours says where its stack is. Any other stack may be one that the program
 * brought (fibres of another library, a signal stack), and what lies above it may not be mapped: so
 * the kernel is asked which mapping sp is in, which can be read as a whole as long as the stack is
 * in use. A thread's own stack stays where it is and is remembered: it is the one whose mapping
 * holds the thread's control block, which the C library puts at its upper end, or the main
 * thread's.
 *
 * Concurrency: what is remembered is the thread's own.
 */
#include "stack_bounds.h"

#include "machine.h"
#include "runtime_weak.h"

#include <copper/stacks.h>
#include <errno.h>
#include <stdbool.h>

#pragma weak cu_inspect_here

extern void *__libc_stack_end; /* the loader's: inside of the main thread's stack */

static __attribute__((tls_model("initial-exec"))) __thread struct {
    uint64_t lo, hi; /* hi 0: not known yet */
} own;

/* Noinline: coroutines move between threads, and a compiler may keep the address of `own`. */
static __attribute__((noinline)) uint64_t end_of_thread_stack(uint64_t sp)
{
    uint64_t lo, hi, pointer = cu__thread_pointer_sig();
    uint64_t main_end = (uint64_t)(uintptr_t)__libc_stack_end;
    if (sp >= own.lo && sp < own.hi) {
        return own.hi;
    }
    int saved_errno = errno;
    bool is_found = cu_mapping_at_sig(sp, &lo, &hi);
    errno = saved_errno;
    if (!is_found) {
        return 0;
    }
    bool has_control_block = pointer >= lo && pointer < hi;
    if (has_control_block && pointer > sp) {
        hi = pointer;
    }
    if (has_control_block || (main_end >= lo && main_end < hi)) {
        own.lo = lo;
        own.hi = hi;
    }
    return hi;
}

uint64_t cu__stack_end_here(uint64_t sp)
{
    struct cu_here here = {.kind = COPPER_HERE_THREAD};
    if (cu_inspect_here) {
        cu_inspect_here(&here);
    }
    if (here.kind == COPPER_HERE_COROUTINE && sp >= here.stack_lo && sp < here.stack_hi) {
        return here.stack_hi;
    }
    return end_of_thread_stack(sp);
}
