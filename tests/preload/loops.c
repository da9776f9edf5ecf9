/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what is known to break profilers, in loops: `loops WHAT SECONDS` with WHAT one of dl,
 * malloc, throw, fork, exec, thread, mixed, busy, blocked. Each step checks its own result; the first wrong
 * one ends the program with status 1 and a line that says which.
 *
 * SIGUSR1 ends it early; it is blocked and looked for between steps, so that nothing is interrupted.
 * At the end one line on stdout: "WHAT rounds=N cpu=SECONDS", the main thread's CPU time since main
 * began.
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NS          INT64_C(1000000000)
#define THREAD_WORK 100000 /* a tenth of a millisecond */

typedef void loop_fn(void);

static int64_t deadline_ns;
static _Atomic uint64_t rounds;

int throw_and_catch(int depth); /* loops_throw.cc */

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * NS + t.tv_nsec;
}

static bool is_time_over(void)
{
    sigset_t pending;
    sigpending(&pending);
    return now_ns(CLOCK_MONOTONIC) >= deadline_ns || sigismember(&pending, SIGUSR1) == 1;
}

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "loops: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void must(bool good, const char *what)
{
    if (!good) {
        fail(what);
    }
}

__attribute__((noinline)) static void burn(int n)
{
    for (volatile int i = 0; i < n; i++) {
    }
}

/* Two libraries loaded in turn, so that one lands where the other was; code of theirs runs. */
static void load_and_unload(void)
{
    static const char *const libraries[] = {"libm.so.6", "libz.so.1", "liblzma.so.5"};
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        void *lib = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
        if (!lib) {
            continue;
        }
        double (*cosine)(double) = (double (*)(double))dlsym(lib, "cos");
        unsigned long (*crc)(unsigned long, const unsigned char *, unsigned) =
            (unsigned long (*)(unsigned long, const unsigned char *, unsigned))dlsym(lib, "crc32");
        must(!cosine || cosine(0) == 1, "cos(0)"); /* NOLINT: exact by definition */
        must(!crc || crc(0, (const unsigned char *)"123456789", 9) == 0xcbf43926, "crc32");
        must(dlclose(lib) == 0, "dlclose");
    }
    burn(2000);
}

static void allocate_and_free(void)
{
    static _Thread_local unsigned seed = 1;
    char *block[64] = {0};
    for (int i = 0; i < 512; i++) {
        seed = seed * 1103515245 + 12345;
        unsigned at = seed >> 16 & 63, size = 1 + (seed >> 8 & 0xffff) % 5000;
        if (block[at]) {
            must(block[at][0] == (char)at, "a block's first byte");
            free(block[at]);
        }
        block[at] = malloc(size);
        must(block[at] != NULL, "malloc");
        memset(block[at], (int)at, size);
    }
    for (int i = 0; i < 64; i++) {
        free(block[i]);
    }
}

static void throw_exceptions(void)
{
    for (int i = 0; i < 100; i++) {
        must(throw_and_catch(i % 30) == i % 30, "the exception's value");
    }
}

static void await(pid_t pid, int status, const char *what)
{
    int how;
    pid_t got = waitpid(pid, &how, 0);
    must(got == pid, what); /* not interrupted either */
    if (!WIFEXITED(how) || WEXITSTATUS(how) != status) {
        fprintf(stderr, "loops: %s: a child ended with %#x\n", what, how);
        _exit(1);
    }
}

static void fork_children(void)
{
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        void *p = malloc(1000); /* locks taken at the fork are free in the child */
        free(p);
        burn(20000);
        _exit(p ? 42 : 1);
    }
    await(pid, 42, "fork");
    burn(20000);
}

static void exec_children(void)
{
    char *const argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){"exit 3"}, NULL};
    pid_t pid;
    must(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) == 0, "posix_spawn");
    await(pid, 3, "posix_spawn");
    pid = vfork();
    must(pid >= 0, "vfork");
    if (pid == 0) {
        execve(argv[0], argv, environ);
        _exit(1);
    }
    await(pid, 3, "vfork");
    pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        burn(300000); /* time for a signal to be under way at the exec */
        execve(argv[0], argv, environ);
        _exit(1);
    }
    await(pid, 3, "exec");
    must(system("exit 5") >> 8 == 5, "system");
    burn(1000000);
}

static void *short_posix(void *arg)
{
    burn(THREAD_WORK);
    return arg;
}

static int short_c11(void *arg)
{
    burn(THREAD_WORK);
    return *(int *)arg;
}

static void create_threads(void)
{
    pthread_t posix[4];
    thrd_t c11;
    char token[4];
    int value = 17, result;
    for (int i = 0; i < 4; i++) {
        must(pthread_create(&posix[i], NULL, short_posix, &token[i]) == 0, "pthread_create");
    }
    must(thrd_create(&c11, short_c11, &value) == thrd_success, "thrd_create");
    for (int i = 0; i < 4; i++) {
        void *got;
        must(pthread_join(posix[i], &got) == 0 && got == &token[i], "pthread_join");
    }
    must(thrd_join(c11, &result) == thrd_success && result == value, "thrd_join");
}

static void stay_busy(void)
{
    burn(100000);
}

/* Calls that fail with EINTR after a handler has run, whatever SA_RESTART says. */
static void block(void)
{
    struct timespec ms = {.tv_nsec = 5000000}, when;
    struct pollfd none = {.fd = -1};
    must(poll(&none, 1, 5) == 0, "poll");
    must(ppoll(&none, 1, &ms, NULL) == 0, "ppoll");
    must(select(0, NULL, NULL, NULL, &(struct timeval){.tv_usec = 5000}) == 0, "select");
    must(nanosleep(&ms, NULL) == 0, "nanosleep");
    must(clock_nanosleep(CLOCK_MONOTONIC, 0, &ms, NULL) == 0, "clock_nanosleep");
    must(thrd_sleep(&ms, NULL) == 0, "thrd_sleep");
    must(usleep(5000) == 0, "usleep");
    struct epoll_event event;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    must(epoll_wait(epoll, &event, 1, 5) == 0, "epoll_wait");
    close(epoll);
    sem_t sem;
    sem_init(&sem, 0, 0);
    clock_gettime(CLOCK_REALTIME, &when);
    when.tv_nsec += 5000000;
    when.tv_sec += when.tv_nsec / NS;
    when.tv_nsec %= NS;
    must(sem_timedwait(&sem, &when) != 0 && errno == ETIMEDOUT, "sem_timedwait");
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    struct timeval limit = {.tv_usec = 5000};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char c;
    must(recv(pair[0], &c, 1, 0) < 0 && errno == EAGAIN, "recv");
    close(pair[0]);
    close(pair[1]);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    must(sigtimedwait(&set, NULL, &ms) < 0 && errno == EAGAIN, "sigtimedwait");
}

static void *repeat(void *arg)
{
    loop_fn *loop = *(loop_fn **)arg;
    while (!is_time_over()) {
        loop();
        atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static loop_fn *const all[] = {load_and_unload, allocate_and_free, throw_exceptions,
                               fork_children,   exec_children,     create_threads};

/* Every loop at once, a thread each. */
static void mix(void)
{
    pthread_t thread[sizeof all / sizeof all[0]];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        loop_fn *const *loop = &all[i];
        must(pthread_create(&thread[i], NULL, repeat, (void *)(uintptr_t)loop) == 0, "thread");
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        pthread_join(thread[i], NULL);
    }
}

/* Blocked threads beside busy ones. */
static void block_beside_busy(void)
{
    static loop_fn *const loops[] = {block, stay_busy, block, allocate_and_free};
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        must(pthread_create(&thread[i], NULL, repeat, (void *)(uintptr_t)&loops[i]) == 0, "thread");
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        loop_fn *loop;
        bool is_whole; /* runs until the time is over by itself */
    } loops[] = {{"dl", load_and_unload, false},      {"malloc", allocate_and_free, false},
                 {"throw", throw_exceptions, false},  {"fork", fork_children, false},
                 {"exec", exec_children, false},      {"thread", create_threads, false},
                 {"mixed", mix, true},                {"blocked", block_beside_busy, true},
                 {"busy", stay_busy, false}};
    if (argc != 3) {
        fprintf(stderr, "usage: loops WHAT SECONDS\n");
        return 2;
    }
    int64_t cpu_at_start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGUSR1);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    deadline_ns = now_ns(CLOCK_MONOTONIC) + (int64_t)(strtod(argv[2], NULL) * (double)NS);
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        if (strcmp(argv[1], loops[i].name) == 0) {
            loop_fn *loop = loops[i].loop;
            if (loops[i].is_whole) {
                loop();
            } else {
                repeat(&loop);
            }
            printf("%s rounds=%llu cpu=%.3f\n", argv[1], (unsigned long long)rounds,
                   (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_at_start) / (double)NS);
            return 0;
        }
    }
    fprintf(stderr, "loops: %s is not a loop\n", argv[1]);
    return 2;
}
