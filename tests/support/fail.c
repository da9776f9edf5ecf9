/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: makes the n-th call of one library to the system fail. For LD_PRELOAD.
 *
 *     FAIL=mmap:3      the third mmap fails; FAIL=mmap:3+ the third and all after it
 *     FAIL=pthread_create:3~500   the third does what it should, half a second later
 *     FAIL_IN=libcopper_runtime   only calls that come from code of this library count
 *     FAIL_REPORT=FILE            gets the name of the call when it fails: a run whose file stays
 *                                 empty made fewer calls
 *
 * The calls and the error each gives are in the table. Waits fail as if by a signal. A futex wake
 * that is valid never fails, here neither.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS(X)                                                                                   \
    X(malloc, ENOMEM)                                                                              \
    X(mmap, ENOMEM)                                                                                \
    X(madvise, EAGAIN)                                                                             \
    X(pthread_create, EAGAIN)                                                                      \
    X(pthread_key_create, EAGAIN)                                                                  \
    X(epoll_create1, EMFILE)                                                                       \
    X(epoll_ctl, ENOSPC)                                                                           \
    X(epoll_wait, EINTR)                                                                           \
    X(epoll_pwait2, ENOSYS)                                                                        \
    X(eventfd, EMFILE)                                                                             \
    X(membarrier, ENOSYS)                                                                          \
    X(futex_wait, EINTR)

enum call {
#define CALL_ENUM(name, error) CALL_##name,
    CALLS(CALL_ENUM) CALL_NONE
};
static const struct {
    const char *name;
    int error;
} calls[] = {
#define CALL_ROW(name, error) {#name, error},
    CALLS(CALL_ROW)};

static struct {
    enum call call;
    long nth;
    bool and_all_after;
    long late_ms;     /* 0: it fails */
    uintptr_t lo, hi; /* of the library's code */
    const char *report;
    long count;       /* atomic */
    bool is_reported; /* atomic */
    int (*pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    int (*pthread_key_create)(pthread_key_t *, void (*)(void *));
} f = {.call = CALL_NONE};

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t n);

static int find_library(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    if (strstr(info->dlpi_name, name) == NULL) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            f.lo = info->dlpi_addr + part->p_vaddr;
            f.hi = f.lo + part->p_memsz;
        }
    }
    return 1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *wanted = getenv("FAIL"), *library = getenv("FAIL_IN");
    *(void **)&f.pthread_create = dlsym(RTLD_NEXT, "pthread_create");
    *(void **)&f.pthread_key_create = dlsym(RTLD_NEXT, "pthread_key_create");
    f.report = getenv("FAIL_REPORT");
    if (library) {
        dl_iterate_phdr(find_library, (void *)(uintptr_t)library);
    }
    for (int i = 0; wanted && i < CALL_NONE; i++) {
        size_t length = strlen(calls[i].name);
        if (!strncmp(wanted, calls[i].name, length) && wanted[length] == ':') {
            f.nth = atol(wanted + length + 1);
            f.and_all_after = strchr(wanted, '+') != NULL;
            f.late_ms = strchr(wanted, '~') ? atol(strchr(wanted, '~') + 1) : 0;
            f.call = (enum call)i;
        }
    }
}

static void report(void)
{
    const char *name = calls[f.call].name;
    int fd = f.report ? (int)syscall(SYS_openat, AT_FDCWD, f.report, O_WRONLY | O_APPEND, 0) : -1;
    if (fd >= 0) {
        syscall(SYS_write, fd, name, strlen(name));
        syscall(SYS_close, fd);
    }
}

/* Whether this call, made from there, is to fail; errno is set then. */
static bool fails(enum call call, const void *from)
{
    uintptr_t at = (uintptr_t)from;
    if (call != f.call || (f.hi && (at < f.lo || at >= f.hi))) {
        return false;
    }
    long n = __atomic_add_fetch(&f.count, 1, __ATOMIC_RELAXED);
    if (n != f.nth && !(f.and_all_after && n > f.nth)) {
        return false;
    }
    if (!__atomic_load_n(&f.is_reported, __ATOMIC_ACQUIRE)) {
        /* each by itself: another's failure may end the process before the first one has said so */
        report();
        __atomic_store_n(&f.is_reported, true, __ATOMIC_RELEASE);
    }
    if (f.late_ms) {
        usleep((useconds_t)f.late_ms * 1000);
        return false;
    }
    errno = calls[call].error;
    return true;
}

#define FROM __builtin_return_address(0)

static long raw(long number, long a, long b, long c, long d, long e, long g)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = g;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

long syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    long a[6];
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(args, long);
    }
    va_end(args);
    bool is_wait = number == SYS_futex && ((a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET ||
                                           (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT);
    if ((is_wait && fails(CALL_futex_wait, FROM)) ||
        (number == SYS_membarrier && fails(CALL_membarrier, FROM)) ||
        (number == SYS_epoll_pwait2 &&
         (fails(CALL_epoll_wait, FROM) || fails(CALL_epoll_pwait2, FROM)))) {
        return -1;
    }
    return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void *malloc(size_t n)
{
    return fails(CALL_malloc, FROM) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails(CALL_malloc, FROM) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
    return fails(CALL_malloc, FROM) ? NULL : __libc_realloc(old, n);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails(CALL_mmap, FROM)) {
        return MAP_FAILED;
    }
    return (void *)raw(SYS_mmap, (long)at, (long)size, protection, flags, fd, offset);
}

int madvise(void *at, size_t size, int advice)
{
    return fails(CALL_madvise, FROM) ? -1
                                     : (int)raw(SYS_madvise, (long)at, (long)size, advice, 0, 0, 0);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *),
                   void *arg)
{
    return fails(CALL_pthread_create, FROM) ? EAGAIN
                                            : f.pthread_create(thread, attributes, fn, arg);
}

int pthread_key_create(pthread_key_t *key, void (*end)(void *))
{
    if (f.pthread_key_create == NULL) { /* before our constructor */
        *(void **)&f.pthread_key_create = dlsym(RTLD_NEXT, "pthread_key_create");
    }
    return fails(CALL_pthread_key_create, FROM) ? EAGAIN : f.pthread_key_create(key, end);
}

int epoll_create1(int flags)
{
    return fails(CALL_epoll_create1, FROM) ? -1 : (int)raw(SYS_epoll_create1, flags, 0, 0, 0, 0, 0);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return fails(CALL_epoll_ctl, FROM)
               ? -1
               : (int)raw(SYS_epoll_ctl, epoll, operation, fd, (long)event, 0, 0);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    return fails(CALL_epoll_wait, FROM)
               ? -1
               : (int)raw(SYS_epoll_wait, epoll, (long)events, count, timeout_ms, 0, 0);
}

int eventfd(unsigned initial, int flags)
{
    return fails(CALL_eventfd, FROM) ? -1 : (int)raw(SYS_eventfd2, initial, flags, 0, 0, 0, 0);
}
