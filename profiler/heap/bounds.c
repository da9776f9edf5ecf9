/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how far a stack may be read. A walk must not run off a stack that is not what it seems:
 * a program may bring signal stacks and coroutines of its own.
 *
 * Design. A coroutine of our runtime says where its stack is. For any other, the mapping that sp is
 * in can be read as a whole: the kernel is asked for it, by PROCMAP_QUERY where it has that (Linux
 * 6.11), else by reading /proc/self/maps. A thread's own stack stays where it is, so that is asked
 * once: the thread's own is the one whose mapping holds its thread control block, or the main one.
 */
#include "internal.h"

#include <copper/inspect.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096u

extern __typeof__(cu_inspect_here) cu_inspect_here __attribute__((weak));
extern void *__libc_stack_end; /* inside of the main thread's stack */

/* linux/fs.h, of 6.11 and later */
struct procmap_query {
    uint64_t size, query_flags, query_addr;
    uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
    uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
    uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY          0xc0686611ul /* _IOWR('f', 17, struct procmap_query) */
#define PROCMAP_QUERY_READABLE 0x01

static bool ask(int fd, uint64_t address, struct cu__bounds *out)
{
    struct procmap_query q = {
        .size = sizeof q, .query_flags = PROCMAP_QUERY_READABLE, .query_addr = address};
    if (syscall(SYS_ioctl, fd, PROCMAP_QUERY, &q) != 0) {
        return false;
    }
    *out = (struct cu__bounds){q.vma_start, q.vma_end};
    return true;
}

/* "start-end rw..." lines, read piece by piece with a small state machine. */
struct scan {
    uint64_t start, end;
    enum { IN_START, IN_END, IN_REST } part;
};

static bool scan_byte(struct scan *s, char c, uint64_t address)
{
    if (c == '\n') {
        *s = (struct scan){0, 0, IN_START};
    } else if (s->part == IN_START && c == '-') {
        s->part = IN_END;
    } else if (s->part == IN_END && c == ' ') {
        s->part = IN_REST;
        return address >= s->start && address < s->end;
    } else if (s->part != IN_REST) {
        uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        uint64_t *to = s->part == IN_START ? &s->start : &s->end;
        *to = *to << 4 | digit;
    }
    return false;
}

static bool scan_maps(int fd, uint64_t address, struct cu__bounds *out)
{
    char piece[1024];
    struct scan s = {0, 0, IN_START};
    for (;;) {
        long n = syscall(SYS_read, fd, piece, sizeof piece);
        for (long i = 0; i < n; i++) {
            if (scan_byte(&s, piece[i], address)) {
                *out = (struct cu__bounds){s.start, s.end};
                return true;
            }
        }
        if (n <= 0) {
            return false;
        }
    }
}

static bool find_mapping(uint64_t address, struct cu__bounds *out)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool is_found = ask(fd, address, out) || scan_maps(fd, address, out);
    syscall(SYS_close, fd);
    return is_found && address >= out->lo && address < out->hi;
}

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
    if (!find_mapping(sp, &b)) {
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
