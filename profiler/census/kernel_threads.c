/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: OS threads and their stacks without signals; see kernel_threads.h.
 *
 * Concurrency: no state but the reader's, which belongs to one thread.
 */
#include "kernel_threads.h"

#include "frame_search.h"
#include "pages.h"
#include "profiles.h"
#include "shared_symbolizer.h"
#include "task_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define COPPER_THREAD_COPY_MAX                                                                     \
    ((size_t)1 << 20)         /* deepest part of a thread's stack that is read                     \
                               */
#define COPPER_THREAD_LOOKS 4 /* tries to catch a thread that keeps moving */

struct mapping {
    uint64_t start, limit;
};

struct cu__thread_reader {
    struct mapping *mappings; /* writable ones, ascending */
    size_t nmappings;
    char *copy;                    /* COPPER_THREAD_COPY_MAX bytes */
    struct cu_symbolizer *symbols; /* opened when first needed */
};

/* System calls that threads wait in, by name. Anything else shows as "syscall". */
#define COPPER_WAIT_CALLS(X)                                                                       \
    X(read)                                                                                        \
    X(readv)                                                                                       \
    X(pread64)                                                                                     \
    X(write)                                                                                       \
    X(writev)                                                                                      \
    X(pwrite64)                                                                                    \
    X(futex)                                                                                       \
    X(epoll_pwait)                                                                                 \
    X(ppoll)                                                                                       \
    X(pselect6)                                                                                    \
    X(nanosleep)                                                                                   \
    X(clock_nanosleep)                                                                             \
    X(accept)                                                                                      \
    X(accept4)                                                                                     \
    X(connect)                                                                                     \
    X(recvfrom)                                                                                    \
    X(recvmsg)                                                                                     \
    X(sendto)                                                                                      \
    X(sendmsg)                                                                                     \
    X(wait4)                                                                                       \
    X(waitid)                                                                                      \
    X(rt_sigtimedwait)                                                                             \
    X(rt_sigsuspend)                                                                               \
    X(flock)                                                                                       \
    X(fcntl)                                                                                       \
    X(fsync)                                                                                       \
    X(fdatasync)                                                                                   \
    X(openat)                                                                                      \
    X(msgrcv)                                                                                      \
    X(msgsnd)                                                                                      \
    X(semop)                                                                                       \
    X(semtimedop)                                                                                  \
    X(io_getevents)                                                                                \
    X(sendfile)                                                                                    \
    X(splice)                                                                                      \
    X(restart_syscall)

static const char *wait_name(long number)
{
    switch (number) {
#define COPPER_WAIT_CALL(name)                                                                     \
    case SYS_##name:                                                                               \
        return #name;
        COPPER_WAIT_CALLS(COPPER_WAIT_CALL)
#undef COPPER_WAIT_CALL
#ifdef SYS_poll /* older calls that newer machines do not have */
    case SYS_poll:
        return "poll";
    case SYS_select:
        return "select";
    case SYS_epoll_wait:
        return "epoll_wait";
    case SYS_pause:
        return "pause";
#endif
#ifdef SYS_io_uring_enter
    case SYS_io_uring_enter:
        return "io_uring_enter";
#endif
    default:
        return "syscall";
    }
}

/* Third number of schedstat; 0 where the kernel does not count. */
static uint64_t count_slices(pid_t tid)
{
    char text[128];
    unsigned long long slices = 0;
    if (cu__read_task_file(tid, "schedstat", text, sizeof(text))) {
        sscanf(text, "%*u %*u %llu", &slices);
    }
    return slices;
}

/* Where the kernel last saw the thread. False when it is gone. */
static bool look(pid_t tid, struct cu__thread *t)
{
    char text[256];
    long number;
    unsigned long long sp, pc;
    t->tid = tid;
    t->slices = count_slices(tid);
    t->has_regs = false;
    t->state = "running";
    if (!cu__read_task_file(tid, "syscall", text, sizeof(text))) {
        t->state = "unknown";
        return cu__read_task_file(tid, "comm", text, sizeof(text)); /* refused, or gone? */
    }
    if (sscanf(text, "%ld 0x%*x 0x%*x 0x%*x 0x%*x 0x%*x 0x%*x 0x%llx 0x%llx", &number, &sp, &pc) ==
        3) {
        t->state = wait_name(number);
    } else if (sscanf(text, "-1 0x%llx 0x%llx", &sp, &pc) == 2) {
        t->state = "blocked"; /* in the kernel, but not in a system call: a page fault */
    } else {
        return true;
    }
    t->sp = sp;
    t->pc = pc;
    t->has_regs = true;
    return true;
}

static void read_name(struct cu__thread *t)
{
    if (!cu__read_task_file(t->tid, "comm", t->name, sizeof(t->name))) {
        t->name[0] = '\0';
    }
    t->name[strcspn(t->name, "\n")] = '\0';
}

void cu__threads_each(bool (*visit)(const struct cu__thread *t, void *arg), void *arg)
{
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);
        struct cu__thread t = {0};
        if (tid <= 0 || cu__is_own_thread(tid) || !look(tid, &t)) {
            continue;
        }
        read_name(&t);
        if (!visit(&t, arg)) {
            break;
        }
    }
    if (dir) {
        closedir(dir);
    }
}

unsigned cu__threads_count(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *d; dir && (d = readdir(dir)) != NULL;) {
        pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);
        count += tid > 0 && !cu__is_own_thread(tid);
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

/* ---- mappings ----------------------------------------------------------------------------------
 */

static bool add_mapping(struct cu__thread_reader *r, size_t *cap, uint64_t start, uint64_t limit)
{
    if (r->nmappings == *cap) {
        *cap = *cap ? *cap * 2 : 256;
        struct mapping *more = realloc(r->mappings, *cap * sizeof(*more));
        if (!more) {
            return false;
        }
        r->mappings = more;
    }
    r->mappings[r->nmappings++] = (struct mapping){start, limit};
    return true;
}

static bool read_mappings(struct cu__thread_reader *r)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0, cap = 0;
    bool is_ok = maps != NULL;
    while (is_ok && getline(&line, &room, maps) > 0) {
        unsigned long long start, limit;
        char rights[5];
        if (sscanf(line, "%llx-%llx %4s", &start, &limit, rights) == 3 && rights[1] == 'w') {
            is_ok = add_mapping(r, &cap, start, limit);
        }
    }
    free(line);
    if (maps) {
        fclose(maps);
    }
    return is_ok;
}

struct cu__thread_reader *cu__thread_reader_open(void)
{
    struct cu__thread_reader *r = calloc(1, sizeof(*r));
    if (!r) {
        return NULL;
    }
    r->copy = cu__pages_map(COPPER_THREAD_COPY_MAX);
    if (!r->copy || !read_mappings(r)) {
        cu__thread_reader_close(r);
        return NULL;
    }
    return r;
}

void cu__thread_reader_close(struct cu__thread_reader *r)
{
    if (r) {
        if (r->symbols) {
            cu__symbolizer_return(r->symbols);
        }
        cu__pages_unmap(r->copy, COPPER_THREAD_COPY_MAX);
        free(r->mappings);
        free(r);
    }
}

/* End of the writable mapping that sp is in; 0 when it is in none. */
static uint64_t mapping_limit(const struct cu__thread_reader *r, uint64_t sp)
{
    size_t lo = 0, hi = r->nmappings;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (sp >= r->mappings[mid].limit) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < r->nmappings && sp >= r->mappings[lo].start ? r->mappings[lo].limit : 0;
}

/* ---- stacks ------------------------------------------------------------------------------------
 */

/* Copies [sp, hi) of this process, as much as is there. */
static size_t copy_stack(struct cu__thread_reader *r, uint64_t sp, uint64_t hi)
{
    size_t n = hi - sp < COPPER_THREAD_COPY_MAX ? (size_t)(hi - sp) : COPPER_THREAD_COPY_MAX;
    struct iovec to = {r->copy, n};
    struct iovec from = {(void *)(uintptr_t)sp, n};
    ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    return got > 0 ? (size_t)got : 0;
}

/* A copy of the stack of a thread that stood still while it was made. 0 bytes: it did not. */
static size_t copy_still(struct cu__thread_reader *r, struct cu__thread *t, uint64_t hi)
{
    for (int i = 0; i < COPPER_THREAD_LOOKS && t->has_regs; i++) {
        uint64_t limit = hi ? hi : mapping_limit(r, t->sp);
        size_t n = limit > t->sp ? copy_stack(r, t->sp, limit) : 0;
        struct cu__thread again = *t;
        if (!look(t->tid, &again)) {
            t->has_regs = false;
            return 0;
        }
        bool is_still =
            again.has_regs && again.sp == t->sp && again.pc == t->pc && again.slices == t->slices;
        *t = again;
        if (is_still) {
            return n;
        }
    }
    if (t->has_regs) {
        t->state = "running"; /* it moves too fast to be caught waiting */
        t->has_regs = false;
    }
    return 0;
}

unsigned cu__thread_walk(struct cu__thread_reader *r, struct cu__thread *t, uint64_t hi,
                         cu_frame *frames, unsigned max)
{
    uint32_t epoch = cu_modules_epoch_sig();
    size_t n = copy_still(r, t, hi);
    if (n == 0 || max == 0) {
        return 0;
    }
    frames[0] = t->pc & 0xffffffffffffu; /* its module is found by the walk */
    struct cu_walk w = {
        .regs = {.pc = t->pc, .sp = t->sp},
        .lo = t->sp,
        .hi = t->sp + n,
        .frames = frames,
        .n = 1,
        .max = max,
        .end = COPPER_WALK_MISS,
    };
    cu_stack_walk_copy(&w, r->copy, t->sp, n, epoch);
    if (w.end != COPPER_WALK_ROOT && !r->symbols) {
        r->symbols = cu__symbolizer_borrow();
    }
    if (w.end != COPPER_WALK_ROOT && r->symbols) {
        cu__frame_search(&w, r->symbols, r->copy, t->sp, n, epoch);
    }
    cu_frames_resolve(frames, w.n, epoch);
    return w.n;
}
