/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how far a stack may be read. A walk must not run off a stack that is not what it seems:
 * a program may bring signal stacks and coroutines of its own.
 *
 * Design. A coroutine of our runtime says where its stack is. For any other, the mapping that sp is
 * in can be read as a whole: the kernel is asked for it. A thread's own stack stays where it is, so
 * that is asked once: the thread's own is the one whose mapping holds its thread control block, or
 * the main one.
 */
#include "internal.h"

#include <copper/inspect.h>
#include <copper/stacks.h>

#define PAGE 4096u

extern __typeof__(cu_inspect_here) cu_inspect_here __attribute__((weak));
extern void *__libc_stack_end; /* inside of the main thread's stack */

static uint64_t thread_pointer(void)
{
    return (uint64_t)(uintptr_t)__builtin_thread_pointer();
}

static bool is_within(uint64_t address, struct cu__bounds b)
{
    return address >= b.lo && address < b.hi;
}

struct cu__bounds cu__heap_stack_at(uint64_t sp)
{
    struct cu__heap_thread *t = &cu__heap_thread;
    struct cu_here here = {.kind = COPPER_HERE_THREAD};
    if (cu_inspect_here) {
        cu_inspect_here(&here);
    }
    struct cu__bounds b = {here.stack_lo, here.stack_hi};
    if (is_within(sp, b)) {
        return b;
    }
    b = (struct cu__bounds){t->stack_lo, t->stack_hi};
    if (is_within(sp, b)) {
        return b;
    }
    if (!cu_mapping_at_sig(sp, &b.lo, &b.hi)) {
        return (struct cu__bounds){sp, (sp | (PAGE - 1)) + 1}; /* a page is there as a whole */
    }
    bool is_own = is_within(thread_pointer(), b);
    if (is_own && thread_pointer() > sp) {
        b.hi = thread_pointer();
    }
    if (is_own || is_within((uint64_t)(uintptr_t)__libc_stack_end, b)) {
        t->stack_lo = b.lo;
        t->stack_hi = b.hi;
    }
    return b;
}
