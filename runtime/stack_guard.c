/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see stack_guard.h.
 *
 * Design. A guard is as wide as it is so that one large frame does not jump it. Guards come by
 * madvise(MADV_GUARD_INSTALL) where the kernel has it: such a guard splits no mapping, so a million
 * stacks stay a handful of mappings. Else by mprotect, which makes two mappings of each stack and
 * so is used up to half of vm.max_map_count; from then on a word at the bottom is checked.
 *
 * After fork the child has the parent's mappings, and so what it knows of guards.
 */
#include "stack_guard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "report.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#ifndef PIDFD_SELF_THREAD_GROUP
#define PIDFD_SELF_THREAD_GROUP -10001 /* of Linux 6.14 */
#endif

#define MAP_COUNT_DEFAULT 65530u /* of Linux */
#define CANARY            0x6b63617473207563u

static uint8_t best;    /* any: atomic; the mode that new stacks get, if the kernel will */
static uint32_t mapped; /* any: atomic; guards made by mprotect */

/* A guard by mprotect costs two mappings, of which a process has vm.max_map_count: half of those
 * are left to the program, which could neither map memory nor start threads without. */
static uint32_t mapped_guards_max(void)
{
    static uint32_t max; /* any: atomic; 0: not read yet */
    uint32_t known = load_relaxed(&max);
    if (unlikely(known == 0)) {
        char text[24] = "";
        int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0) {
            close(fd);
        }
        unsigned long count = n > 0 ? strtoul(text, NULL, 10) : 0;
        count = count ? count : MAP_COUNT_DEFAULT;
        known = count / 4 < UINT32_MAX ? (uint32_t)(count / 4) + 1 : UINT32_MAX;
        store_relaxed(&max, known);
    }
    return known;
}

static void has_guard(struct cu__stack *stack, enum cu__guard mode)
{
    stack->guard = (uint8_t)mode;
    cu__valgrind_stack(stack->lo, stack->hi); /* it stays one for ever */
}

/* Without the lock: several may do so at once, and a mode that failed is left by all. */
static void install_guard(struct cu__stack *stack)
{
    char *guard = stack->lo - COPPER_STACK_GUARD;
    uint8_t mode = load_relaxed(&best);
    if (mode == COPPER_GUARD_MADVISE &&
        madvise(guard, COPPER_STACK_GUARD, MADV_GUARD_INSTALL) != 0) {
        mode = COPPER_GUARD_MPROTECT;
    }
    if (mode == COPPER_GUARD_MPROTECT && (add_relaxed(&mapped, 1) >= mapped_guards_max() ||
                                          mprotect(guard, COPPER_STACK_GUARD, PROT_NONE) != 0)) {
        mode = COPPER_GUARD_CANARY;
    }
    if (unlikely(mode > load_relaxed(&best))) {
        store_relaxed(&best, mode);
    }
    has_guard(stack, mode);
}

/* Several in one system call, where the kernel has it, which is a quarter cheaper. */
void cu__stack_guards_install(struct cu__stack *const *all, uint32_t count)
{
    struct iovec guards[COPPER_GUARDS_AT_ONCE];
    long done = -1;
    if (count > 1 && load_relaxed(&best) == COPPER_GUARD_MADVISE &&
        !cu__valgrind_is_here()) { /* it does not know the call, and says so */
        for (uint32_t i = 0; i < count; i++) {
            guards[i] = (struct iovec){all[i]->lo - COPPER_STACK_GUARD, COPPER_STACK_GUARD};
        }
        done = syscall(SYS_process_madvise, PIDFD_SELF_THREAD_GROUP, guards, (size_t)count,
                       MADV_GUARD_INSTALL, 0);
    }
    if (done != (long)count * COPPER_STACK_GUARD) {
        for (uint32_t i = 0; i < count; i++) {
            install_guard(all[i]);
        }
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        has_guard(all[i], COPPER_GUARD_MADVISE);
    }
}

void cu__stack_put_canary(struct cu__stack *stack)
{
    *(uint64_t *)(void *)stack->lo = CANARY;
}

void cu__stack_check(const struct cu__g *g)
{
    if (*(const uint64_t *)(const void *)g->stack->lo != CANARY) {
        cu__report_overflow(g);
    }
}

bool cu__stack_guards_sig(const struct cu__stack *stack, const void *address)
{
    uintptr_t at = (uintptr_t)address, lo = (uintptr_t)stack->lo;
    return at < lo && at >= lo - COPPER_STACK_GUARD;
}

static const char *const guard_names[] = {"madvise", "mprotect", "canary"};

const char *cu__stack_guard_mode(void)
{
    return guard_names[load_relaxed(&best)];
}

/* A weaker mode than wanted is used where the kernel refuses; a stronger one never. */
void cu__stack_guard_configure(void)
{
    const char *wanted = secure_getenv("COPPER_STACK_GUARD");
    if (wanted == NULL || *wanted == 0 || strcmp(wanted, "auto") == 0) {
        return;
    }
    for (uint8_t i = 0; i < ARRAY_LEN(guard_names); i++) {
        if (strcmp(wanted, guard_names[i]) == 0) {
            store_relaxed(&best, i);
            return;
        }
    }
    cu__complain("COPPER_STACK_GUARD=%s is not one of madvise, mprotect, canary, auto; using auto",
                 wanted);
}
