/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which mapping of this process holds an address: how far a stack may be read that nobody
 * told us the bounds of.
 *
 * Design. The kernel is asked by PROCMAP_QUERY where it has that (Linux 6.11), a microsecond or
 * two; else /proc/self/maps is read piece by piece with a small state machine.
 *
 * Signal safety: system calls only; nothing is allocated, errno may change.
 */
#include "internal.h"

#include <copper/stacks.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/fs.h, of 6.11 and later */
struct procmap_query {
    uint64_t size, query_flags, query_addr;
    uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
    uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
    uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY          0xc0686611ul /* _IOWR('f', 17, struct procmap_query) */
#define PROCMAP_QUERY_READABLE 0x01

static bool ask_sig(int fd, uint64_t address, uint64_t *lo, uint64_t *hi)
{
    struct procmap_query q = {
        .size = sizeof q, .query_flags = PROCMAP_QUERY_READABLE, .query_addr = address};
    if (syscall(SYS_ioctl, fd, PROCMAP_QUERY, &q) != 0)
        return false;
    *lo = q.vma_start;
    *hi = q.vma_end;
    return true;
}

/* "start-end rw..." lines. */
struct scan {
    uint64_t start, end;
    enum { IN_START, IN_END, IN_REST } part;
};

static bool scan_byte_sig(struct scan *s, char c, uint64_t address)
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

static bool scan_maps_sig(int fd, uint64_t address, uint64_t *lo, uint64_t *hi)
{
    char piece[1024];
    struct scan s = {0, 0, IN_START};
    for (;;) {
        long n = syscall(SYS_read, fd, piece, sizeof piece);
        for (long i = 0; i < n; i++) {
            if (scan_byte_sig(&s, piece[i], address)) {
                *lo = s.start;
                *hi = s.end;
                return true;
            }
        }
        if (n <= 0)
            return false;
    }
}

bool cu_mapping_at_sig(uint64_t address, uint64_t *lo, uint64_t *hi)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool is_found = ask_sig(fd, address, lo, hi) || scan_maps_sig(fd, address, lo, hi);
    syscall(SYS_close, fd);
    return is_found && address >= *lo && address < *hi;
}
