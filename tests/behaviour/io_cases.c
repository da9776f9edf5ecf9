/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: programs that meet the outside world in one way each: forks, foreign hands on our
 * descriptors, kernels and sandboxes that refuse things. The first argument says which; io_cases.py
 * knows how each must end and what it must say.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/signal.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"

/* ---- helpers ---- */

/* From now on these system calls fail with these errors. */
static void refuse(int number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    filter_calls(code, sizeof(code) / sizeof(code[0]));
}

struct reading {
    int fd;
    ssize_t result; /* atomic */
    char byte;
};

static void read_one(void *arg)
{
    struct reading *r = arg;
    __atomic_store_n(&r->result, cu_read(r->fd, &r->byte, 1), __ATOMIC_RELEASE);
}

static void write_later(void *arg)
{
    int fd = (int)(intptr_t)arg;
    cu_sleep(20 * COPPER_MS);
    check(cu_write(fd, "x", 1) == 1);
}

/* A coroutine that waits for a pipe of ours or a foreign one gets its byte; timers are on time. */
static int run_traffic(void *unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        int fds[2];
        cu_wg wg = {0};
        check((i % 2 ? pipe(fds) : cu_pipe(fds)) == 0);
        struct reading r = {.fd = fds[0], .result = -1};
        cu_wg_go(&wg, read_one, &r);
        cu_wg_go(&wg, write_later, (void *)(intptr_t)fds[1]);
        int64_t start_ns = cu_now();
        cu_sleep(5 * COPPER_MS);
        check(cu_now() - start_ns >= 5 * COPPER_MS);
        cu_wg_wait(&wg);
        check(r.result == 1 && r.byte == 'x');
        check(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0);
    }
    return 0;
}

static int await_child(pid_t child)
{
    int status;
    check(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- processes ---- */

static void notify(cu_chan *c)
{
    check(cu_signal_notify(c, (const int[]){SIGUSR1}, 1) == 0);
}

static int fork_beside_the_poller(void)
{
    int fds[2];
    check(cu_pipe(fds) == 0);
    struct reading r = {.fd = fds[0], .result = -1};
    check(cu_go(read_one, &r) > 0 && cu_run(run_traffic, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        /* the parent's reader is not here: the numbers are free to use, and have no waiter */
        check(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0 && cu_pipe(fds) == 0);
        struct reading mine = {.fd = fds[0]};
        check(cu_write(fds[1], "c", 1) == 1);
        read_one(&mine);
        check(mine.result == 1 && mine.byte == 'c');
        _exit(cu_run(run_traffic, NULL));
    }
    check(await_child(child) == 0);
    check(cu_run(run_traffic, NULL) == 0 && cu_write(fds[1], "p", 1) == 1);
    while (__atomic_load_n(&r.result, __ATOMIC_ACQUIRE) != 1) {
        cu_sleep(COPPER_MS);
    }
    return r.byte == 'p' ? 0 : 1;
}

/* The child has the actions from before, and the parent keeps its channel. */
static int fork_beside_signals(void)
{
    int sig = 0;
    cu_chan *c = cu_chan_new(sizeof(int), 1);
    notify(c);
    pid_t child = fork();
    if (child == 0) {
        kill(getpid(), SIGUSR1);
        _exit(1);
    }
    check(await_child(child) == 128 + SIGUSR1);
    kill(getpid(), SIGUSR1);
    check(cu_recv(c, &sig) == 0 && sig == SIGUSR1);
    return 0;
}

/* What we opened is not in a program that is executed. */
static int exec_closes(void)
{
    int fds[2];
    cu_chan *c = cu_chan_new(sizeof(int), 1);
    notify(c);
    check(cu_pipe(fds) == 0 && cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    check(cu_listen("tcp4", "127.0.0.1:0") >= 0 && cu_run(run_traffic, NULL) == 0);
    execl("/bin/sh", "sh", "-c", "for fd in /proc/$$/fd/*; do readlink $fd; done; exit 0", NULL);
    return 1;
}

/* ---- who can wake us ---- */

static int recv_signal(void *c)
{
    int sig = 0;
    return cu_recv(c, &sig) == 0 && sig == SIGUSR1 ? 0 : 1;
}

static int signal_is_no_deadlock(void)
{
    cu_chan *c = cu_chan_new(sizeof(int), 1);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        usleep(700000); /* longer than it takes to look for deadlocks */
        kill(parent, SIGUSR1);
        _exit(0);
    }
    notify(c);
    int result = cu_run(recv_signal, c);
    return await_child(child) ? 1 : result;
}

static int read_byte(void *arg)
{
    struct reading *r = arg;
    read_one(r);
    return r->result == 1 ? 0 : 1;
}

static int io_is_no_deadlock(void)
{
    int fds[2];
    check(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(700000);
        check(write(fds[1], "x", 1) == 1);
        _exit(0);
    }
    struct reading r = {.fd = fds[0]};
    int result = cu_run(read_byte, &r);
    return await_child(child) ? 1 : result;
}

/* ---- refusals ---- */

static int no_descriptors(void)
{
    struct rlimit limit, none;
    int fds[2];
    check(cu_run(read_byte, &(struct reading){.fd = -1}) == 1); /* starts the runtime */
    check(pipe(fds) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)fds[1] + 1;
    check(setrlimit(RLIMIT_NOFILE, &none) == 0);
    struct reading r = {.fd = fds[0]};
    check(cu_run(read_byte, &r) == 1 && r.result == -EMFILE);
    struct pollfd p[2] = {{fds[0], POLLIN, 0}, {fds[0], POLLIN, 0}};
    check(cu_poll(p, 2, COPPER_SEC) == -EMFILE && cu_socket(AF_UNIX, SOCK_STREAM, 0) == -EMFILE);
    check(cu_pipe(fds) == -EMFILE && cu_dial("tcp", "127.0.0.1:1", -1) == -EMFILE);
    check(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return cu_run(run_traffic, NULL);
}

static int watch_refused(void)
{
    int fds[2];
    check(cu_run(run_traffic, NULL) == 0 && cu_pipe(fds) == 0);
    refuse(SYS_epoll_ctl, ENOSPC);
    struct reading r = {.fd = fds[0]};
    read_one(&r);
    check(r.result == -ENOSPC && cu_fd_deadline(fds[0], COPPER_READ, 1) == -ENOSPC);
    check(cu_write(fds[1], "x", 1) == 1 && cu_read(fds[0], &r.byte, 1) == 1);
    return 0;
}

/* An older kernel, or a sandbox that does not know newer calls. */
static int no_pwait2(void)
{
    refuse(SYS_epoll_pwait2, EPERM);
    return cu_run(run_traffic, NULL);
}

static int no_nowait(void)
{
    refuse(SYS_preadv2, EOPNOTSUPP);
    refuse(SYS_pwritev2, ENOSYS);
    return cu_run(run_traffic, NULL);
}

/* Somebody closes everything that is not his. */
static void close_all(void *unused)
{
    (void)unused;
    cu_sleep(20 * COPPER_MS);
    check(close_range(3, ~0u, 0) == 0);
}

static int run_closed(void *unused)
{
    int fds[2];
    struct reading r = {.result = 1};
    cu_wg wg = {0};
    (void)unused;
    check(pipe(fds) == 0);
    r.fd = fds[0];
    cu_wg_go(&wg, read_one, &r);
    cu_wg_go(&wg, close_all, NULL);
    cu_wg_wait(&wg);
    check(r.result == -EBADF);
    cu_sleep(COPPER_MS); /* the rest works on */
    check(pipe(fds) == 0 && cu_read(fds[0], &r.byte, 1) == -EBADF);
    return 0;
}

static int poller_closed(void)
{
    return cu_run(run_closed, NULL);
}

/* ---- crowds ---- */

#define CROWD 3000

static cu_wg crowd, parked;
static int64_t answered; /* atomic */

static void answer(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char byte;
    cu_wg_done(&parked);
    check(cu_read(fd, &byte, 1) == 1 && cu_write(fd, &byte, 1) == 1);
    check(cu_read(fd, &byte, 1) == 0 && cu_close(fd) == 0);
    __atomic_fetch_add(&answered, 1, __ATOMIC_RELAXED);
}

/* Thousands of connections that wait at once cost no threads. */
static int run_crowd(void *unused)
{
    static int ends[CROWD];
    char address[COPPER_ADDRESS_MAX], byte;
    (void)unused;
    int listener = cu_listen("tcp4", "127.0.0.1:0");
    check(cu_local_address(listener, address, sizeof(address)) == 0);
    cu_wg_add(&parked, CROWD);
    for (int i = 0; i < CROWD; i++) {
        ends[i] = cu_dial("tcp4", address, -1);
        int fd = cu_accept(listener, NULL, NULL);
        check(ends[i] >= 0 && fd >= 0 && cu_wg_go(&crowd, answer, (void *)(intptr_t)fd) > 0);
    }
    cu_wg_wait(&parked);
    for (int i = 0; i < CROWD; i++) {
        check(cu_write(ends[i], "q", 1) == 1);
    }
    for (int i = 0; i < CROWD; i++) {
        check(cu_read(ends[i], &byte, 1) == 1 && byte == 'q' && cu_close(ends[i]) == 0);
    }
    cu_wg_wait(&crowd);
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    printf("answered %lld threads %llu\n", (long long)answered, (unsigned long long)stats.threads);
    return answered == CROWD && cu_close(listener) == 0 ? 0 : 1;
}

static int thousands(void)
{
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 2 * CROWD + 100) {
        return 77;
    }
    return cu_run(run_crowd, NULL);
}

static const struct test_case cases[] = {
    {"fork_beside_the_poller", fork_beside_the_poller},
    {"fork_beside_signals", fork_beside_signals},
    {"exec_closes", exec_closes},
    {"signal_is_no_deadlock", signal_is_no_deadlock},
    {"io_is_no_deadlock", io_is_no_deadlock},
    {"no_descriptors", no_descriptors},
    {"watch_refused", watch_refused},
    {"no_pwait2", no_pwait2},
    {"no_nowait", no_nowait},
    {"poller_closed", poller_closed},
    {"thousands", thousands},
};

int main(int argc, char **argv)
{
    return run_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
