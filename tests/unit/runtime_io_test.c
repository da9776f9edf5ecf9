/* SPDX-License-Identifier: Apache-2.0 */
#include <copper/blocking.h>
#include <copper/chan.h>
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coroutine_body.h"

#define PAIRS  300
#define ROUNDS 20
#define LARGE  (4u << 20)

/* ---- helpers ---- */

struct transfer {
    int fd;
    char *buffer;
    size_t size;
    ssize_t result;
    cu_chan *done; /* of nothing */
};

static void do_read(void *arg)
{
    struct transfer *t = arg;
    t->result = cu_read(t->fd, t->buffer, t->size);
    if (t->done) {
        cu_send(t->done, NULL);
    }
}

static void do_write(void *arg)
{
    struct transfer *t = arg;
    t->result = cu_write(t->fd, t->buffer, t->size);
    if (t->done) {
        cu_send(t->done, NULL);
    }
}

/* How many coroutines wait for descriptor `fd` now. */
struct census {
    int fd, waiting;
};

static bool count_waiting(const struct cu_g_info *g, void *arg)
{
    struct census *c = arg;
    c->waiting += g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_IO_WAIT &&
                  g->object.kind == COPPER_OBJECT_FD && g->object.cap == (uint64_t)c->fd;
    return true;
}

static void await_waiting(int fd, int waiting)
{
    for (struct census c = {fd, -1}; c.waiting != waiting;) {
        c.waiting = 0;
        cu_inspect_each(count_waiting, &c);
        cu_sleep(COPPER_MS / 4);
    }
}

static void fill(char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i * 7 + (i >> 8));
    }
}

/* ---- reading and writing ---- */

COROUTINE_TEST(pipe_passes_bytes_and_end)
{
    int fds[2];
    char text[8] = "";
    expect(cu_pipe(fds) == 0);
    expect(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && (fcntl(fds[0], F_GETFL) & O_NONBLOCK));
    expect(cu_write(fds[1], "abc", 3) == 3 && cu_read(fds[0], text, 8) == 3);
    expect(memcmp(text, "abc", 3) == 0);
    struct transfer t = {fds[0], text, 8, -1, cu_chan_new(0, 1)};
    cu_go(do_read, &t);
    await_waiting(fds[0], 1);
    expect(cu_write(fds[1], "de", 2) == 2 && cu_recv(t.done, NULL) == 0 && t.result == 2);
    cu_go(do_read, &t);
    await_waiting(fds[0], 1);
    expect(cu_close(fds[1]) == 0 && cu_recv(t.done, NULL) == 0 && t.result == 0);
    expect(cu_read(fds[0], text, 8) == 0 && cu_close(fds[0]) == 0);
    cu_chan_unref(t.done);
    return 0;
}

COROUTINE_TEST(broken_pipe_is_an_error)
{
    int fds[2];
    expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && cu_close(fds[0]) == 0);
    expect(cu_write(fds[1], "x", 1) == -EPIPE && cu_close(fds[1]) == 0);
    expect(cu_pipe(fds) == 0 && cu_close(fds[0]) == 0);
    expect(cu_write(fds[1], "x", 1) == -EPIPE && cu_close(fds[1]) == 0);
    return 0;
}

/* More than any buffer of the kernel holds, in both directions of each kind of stream. */
static int pass_large(int from, int to)
{
    char *sent = malloc(LARGE), *got = malloc(LARGE);
    struct transfer t = {to, sent, LARGE, -1, cu_chan_new(0, 1)};
    expect(sent && got);
    fill(sent, LARGE);
    cu_go(do_write, &t);
    expect(cu_read_full(from, got, LARGE) == LARGE && cu_recv(t.done, NULL) == 0);
    expect(t.result == LARGE && memcmp(sent, got, LARGE) == 0);
    cu_chan_unref(t.done);
    free(sent);
    free(got);
    return 0;
}

COROUTINE_TEST(writes_larger_than_buffers)
{
    int fds[2], line;
    expect(cu_pipe(fds) == 0);
    line = pass_large(fds[0], fds[1]);
    cu_close(fds[0]);
    cu_close(fds[1]);
    expect(line == 0 && cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    line = pass_large(fds[0], fds[1]);
    line = line ? line : pass_large(fds[1], fds[0]);
    cu_close(fds[0]);
    cu_close(fds[1]);
    return line;
}

/* Descriptors made by others stay as they are, and park all the same. */
COROUTINE_TEST(foreign_descriptors)
{
    int fds[2], line;
    expect(pipe(fds) == 0);
    line = pass_large(fds[0], fds[1]);
    expect(line == 0 && (fcntl(fds[0], F_GETFL) & O_NONBLOCK) == 0);
    char byte;
    struct transfer t = {fds[0], &byte, 1, -1, cu_chan_new(0, 1)};
    cu_go(do_read, &t);
    await_waiting(fds[0], 1); /* parked, not blocked */
    expect(write(fds[1], "x", 1) == 1 && cu_recv(t.done, NULL) == 0 && t.result == 1);
    close(fds[0]);
    close(fds[1]);
    /* the same numbers again, as something else */
    expect(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    t.fd = fds[1];
    cu_go(do_read, &t);
    await_waiting(fds[1], 1);
    expect(cu_write(fds[0], "x", 1) == 1 && cu_recv(t.done, NULL) == 0 && t.result == 1);
    line = pass_large(fds[0], fds[1]);
    line = line ? line : pass_large(fds[1], fds[0]);
    expect(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0);
    cu_chan_unref(t.done);
    return line;
}

/* One number is in turn a pipe, a file, a socket, opened and closed behind our back. */
COROUTINE_TEST(foreign_numbers_change_their_meaning)
{
    char name[] = "/tmp/copper_io_XXXXXX", text[4];
    int file = mkstemp(name);
    expect(file >= 0 && write(file, "file", 4) == 4);
    for (int round = 0; round < 10; round++) {
        int fds[2];
        expect(pipe(fds) == 0);
        struct transfer t = {fds[0], text, 4, -1, cu_chan_new(0, 1)};
        cu_go(do_read, &t);
        await_waiting(fds[0], 1);
        expect(write(fds[1], "pipe", 4) == 4 && cu_recv(t.done, NULL) == 0 && t.result == 4);
        expect(dup2(file, fds[0]) == fds[0] && lseek(fds[0], 0, SEEK_SET) == 0);
        expect(cu_read(fds[0], text, 4) == 4 && memcmp(text, "file", 4) == 0);
        expect(cu_read(fds[0], text, 4) == 0);
        close(fds[0]);
        close(fds[1]);
        cu_chan_unref(t.done);
    }
    close(file);
    unlink(name);
    return 0;
}

COROUTINE_TEST(vectors)
{
    int fds[2];
    char a[3], b[70000], c[5];
    struct iovec parts[] = {{a, sizeof(a)}, {NULL, 0}, {b, sizeof(b)}, {c, sizeof(c)}};
    size_t total = sizeof(a) + sizeof(b) + sizeof(c);
    char *got = malloc(total);
    memset(a, 'a', sizeof(a));
    fill(b, sizeof(b));
    memset(c, 'c', sizeof(c));
    expect(cu_pipe(fds) == 0 && got);
    struct transfer t = {fds[0], got, total, -1, cu_chan_new(0, 1)};
    for (size_t done = 0; done < total; done += (size_t)t.result) {
        t.buffer = got + done;
        t.size = total - done;
        cu_go(do_read, &t);
        if (done == 0) {
            await_waiting(fds[0], 1);
            expect(cu_writev(fds[1], parts, 4) == (ssize_t)total);
        }
        expect(cu_recv(t.done, NULL) == 0 && t.result > 0);
    }
    expect(memcmp(got, "aaa", 3) == 0 && memcmp(got + 3, b, sizeof(b)) == 0);
    expect(memcmp(got + 3 + sizeof(b), "ccccc", 5) == 0);
    expect(cu_write(fds[1], "abcdefgh", 8) == 8 && cu_readv(fds[0], parts, 4) == 8);
    expect(memcmp(a, "abc", 3) == 0 && memcmp(b, "defgh", 5) == 0);
    expect(cu_readv(fds[0], parts, -1) == -EINVAL);
    cu_close(fds[0]);
    cu_close(fds[1]);
    cu_chan_unref(t.done);
    free(got);
    return 0;
}

COROUTINE_TEST(ordinary_files)
{
    char name[] = "/tmp/copper_io_XXXXXX";
    char *out = malloc(LARGE), *in = malloc(LARGE);
    int fd = mkstemp(name);
    fill(out, LARGE);
    expect(fd >= 0 && cu_write(fd, out, LARGE) == LARGE && lseek(fd, 0, SEEK_SET) == 0);
    expect(cu_read(fd, in, LARGE) == LARGE && memcmp(in, out, LARGE) == 0);
    expect(cu_read(fd, in, LARGE) == 0);
    /* also what is not in memory */
    expect(fsync(fd) == 0 && posix_fadvise(fd, 0, LARGE / 2, POSIX_FADV_DONTNEED) == 0);
    memset(in, 0, LARGE);
    expect(lseek(fd, 0, SEEK_SET) == 0 && cu_read(fd, in, LARGE) == LARGE);
    expect(memcmp(in, out, LARGE) == 0);
    expect(cu_fd_deadline(fd, COPPER_READ, cu_now()) == -EPERM && cu_fd_own(fd) == -EPERM);
    expect(cu_close(fd) == 0 && cu_close(fd) == -EBADF);
    unlink(name);
    free(out);
    free(in);
    return 0;
}

COROUTINE_TEST(bad_descriptors)
{
    char byte;
    int fds[2];
    expect(cu_read(-1, &byte, 1) == -EBADF && cu_write(-1, &byte, 1) == -EBADF);
    expect(cu_read(1 << 30, &byte, 1) == -EBADF && cu_close(1 << 30) == -EBADF);
    expect(cu_close(-1) == -EBADF && cu_fd_deadline(-1, COPPER_READ, 0) == -EBADF);
    expect(cu_fd_own(-1) == -EBADF && cu_accept(-1, NULL, NULL) == -EBADF);
    expect(cu_pipe(fds) == 0);
    expect(cu_write(fds[0], &byte, 1) == -EBADF && cu_read(fds[1], &byte, 1) == -EBADF);
    expect(cu_fd_deadline(fds[0], 0, 0) == -EINVAL && cu_fd_deadline(fds[0], 4, 0) == -EINVAL);
    expect(cu_recvfrom(fds[0], &byte, 1, 0, NULL, NULL) == -ENOTSOCK);
    expect(cu_close(fds[0]) == 0 && cu_close(fds[0]) == -EBADF);
    expect(cu_read(fds[0], &byte, 1) == -EBADF);
    cu_close(fds[1]);
    return 0;
}

/* Many readers of one eventfd: each count is taken once. */
static struct {
    int fd;
    cu_wg wg;
    uint64_t sum; /* atomic */
    int failed;   /* atomic */
} shared;

static void take_one(void *unused)
{
    uint64_t n = 0;
    (void)unused;
    if (cu_read(shared.fd, &n, sizeof(n)) != sizeof(n) || n != 1) {
        __atomic_store_n(&shared.failed, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&shared.sum, n, __ATOMIC_RELAXED);
}

COROUTINE_TEST(many_wait_for_one)
{
    shared.fd = eventfd(0, EFD_SEMAPHORE);
    expect(shared.fd >= 0 && cu_fd_own(shared.fd) == 0);
    for (int i = 0; i < 50; i++) {
        expect(cu_wg_go(&shared.wg, take_one, NULL) > 0);
    }
    await_waiting(shared.fd, 50);
    for (uint64_t i = 0, n = 10; i < 5; i++) {
        expect(cu_write(shared.fd, &n, sizeof(n)) == sizeof(n));
    }
    cu_wg_wait(&shared.wg);
    expect(shared.sum == 50 && !shared.failed && cu_close(shared.fd) == 0);
    return 0;
}

/* ---- closing ---- */

COROUTINE_TEST(close_wakes_who_waits)
{
    for (int kind = 0; kind < 3; kind++) {
        int fds[2];
        char bytes[2];
        expect((kind == 0   ? cu_pipe(fds)
                : kind == 1 ? cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds)
                            : pipe(fds)) == 0);
        cu_chan *done = cu_chan_new(0, 2);
        struct transfer a = {fds[0], &bytes[0], 1, 0, done}, b = {fds[0], &bytes[1], 1, 0, done};
        cu_go(do_read, &a);
        cu_go(do_read, &b);
        await_waiting(fds[0], 2);
        expect(cu_close(fds[0]) == 0 && fcntl(fds[0], F_GETFD) == -1);
        expect(cu_recv(done, NULL) == 0 && cu_recv(done, NULL) == 0);
        expect(a.result == -EBADF && b.result == -EBADF && cu_close(fds[1]) == 0);
        cu_chan_unref(done);
    }
    return 0;
}

/* A number is closed under its reader and given to a new pipe at once, again and again: the reader
 * gets what was sent to its own pipe, or -EBADF, and never a byte of the next one. */
struct reuse {
    int fd;
    uint64_t expected;
    bool failed;
    cu_wg *wg;
};

static void read_own(void *arg)
{
    struct reuse *r = arg;
    uint64_t value = 0;
    ssize_t n = cu_read(r->fd, &value, sizeof(value));
    r->failed = !(n == -EBADF || (n == sizeof(value) && value == r->expected));
}

COROUTINE_TEST(numbers_are_reused)
{
    for (uint64_t round = 0; round < 2000; round++) {
        int fds[2];
        cu_wg wg = {0};
        struct reuse r = {.expected = round};
        expect(cu_pipe(fds) == 0);
        r.fd = fds[0];
        cu_wg_go(&wg, read_own, &r);
        if (round % 3 == 0) {
            cu_yield();
        }
        if (round % 2) {
            expect(cu_write(fds[1], &round, sizeof(round)) == sizeof(round));
        }
        if (round % 5 == 0) {
            cu_sleep(20 * COPPER_US);
        }
        /* it may not have begun yet: then it must find its own descriptor all the same */
        bool has_begun = round % 3 == 0;
        if (!has_begun) {
            if (!(round % 2)) {
                expect(cu_write(fds[1], &round, sizeof(round)) == sizeof(round));
            }
            cu_wg_wait(&wg);
        }
        expect(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0);
        cu_wg_wait(&wg);
        expect(!r.failed);
    }
    return 0;
}

/* ---- deadlines ---- */

COROUTINE_TEST(deadlines)
{
    int fds[2];
    char byte = 0;
    expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    int64_t start_ns = cu_now();
    expect(cu_fd_deadline(fds[0], COPPER_READ, start_ns + 20 * COPPER_MS) == 0);
    expect(cu_read(fds[0], &byte, 1) == -ETIMEDOUT && cu_now() >= start_ns + 20 * COPPER_MS);
    expect(cu_read(fds[0], &byte, 1) == -ETIMEDOUT); /* and stays so, */
    expect(cu_write(fds[1], "x", 1) == 1);
    expect(cu_read(fds[0], &byte, 1) == -ETIMEDOUT); /* also when there is something, */
    expect(cu_write(fds[0], "x", 1) == 1);           /* in this direction, */
    expect(cu_fd_deadline(fds[0], COPPER_READ, 0) == 0);
    expect(cu_read(fds[0], &byte, 1) == 1); /* until it is taken back */

    /* setting it wakes who waits; one in the future lets it wait on */
    struct transfer t = {fds[0], &byte, 1, 0, cu_chan_new(0, 1)};
    cu_go(do_read, &t);
    await_waiting(fds[0], 1);
    expect(cu_fd_deadline(fds[0], COPPER_READ, cu_now() + 3600 * COPPER_SEC) == 0);
    await_waiting(fds[0], 1);
    expect(cu_fd_deadline(fds[0], COPPER_READ | COPPER_WRITE, 1) == 0);
    expect(cu_recv(t.done, NULL) == 0 && t.result == -ETIMEDOUT);
    expect(cu_write(fds[0], "x", 1) == -ETIMEDOUT);

    /* a write that was cut short says how far it came */
    char *large = calloc(1, LARGE);
    ssize_t n = -ETIMEDOUT; /* a busy machine may let the time pass before the first byte */
    for (int64_t ns = 10 * COPPER_MS; large && n == -ETIMEDOUT; ns *= 2) {
        expect(cu_fd_deadline(fds[1], COPPER_WRITE, cu_now() + ns) == 0);
        n = cu_write(fds[1], large, LARGE);
    }
    expect(n > 0 && n < (ssize_t)LARGE && cu_write(fds[1], large, LARGE) == -ETIMEDOUT);
    free(large);

    /* a deadline goes with the descriptor */
    int old = fds[0];
    expect(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0);
    expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && fds[0] == old);
    expect(cu_write(fds[1], "x", 1) == 1 && cu_read(fds[0], &byte, 1) == 1);
    cu_close(fds[0]);
    cu_close(fds[1]);
    cu_chan_unref(t.done);
    return 0;
}

/* Sleepers are on time while all wait for I/O. */
COROUTINE_TEST(timers_beside_the_poller)
{
    int fds[2];
    char byte;
    expect(cu_pipe(fds) == 0);
    struct transfer t = {fds[0], &byte, 1, 0, cu_chan_new(0, 1)};
    cu_go(do_read, &t);
    await_waiting(fds[0], 1);
    for (int i = 0; i < 20; i++) {
        int64_t start_ns = cu_now();
        cu_sleep(2 * COPPER_MS);
        int64_t took_ns = cu_now() - start_ns;
        expect(took_ns >= 2 * COPPER_MS && took_ns < 2 * COPPER_SEC);
    }
    expect(cu_write(fds[1], "x", 1) == 1 && cu_recv(t.done, NULL) == 0 && t.result == 1);
    cu_close(fds[0]);
    cu_close(fds[1]);
    cu_chan_unref(t.done);
    return 0;
}

static void cancel_later(void *arg)
{
    cu_sleep(5 * COPPER_MS);
    cu_ctx_cancel(arg);
}

COROUTINE_TEST(contexts)
{
    int fds[2];
    char byte;
    cu_ctx *soon = cu_ctx_with_timeout(NULL, 5 * COPPER_MS), *ctx = cu_ctx_with_cancel(NULL);
    cu_wg wg = {0};
    expect(cu_pipe(fds) == 0 && cu_read_ctx(soon, fds[0], &byte, 1) == -ETIMEDOUT);
    cu_wg_go(&wg, cancel_later, ctx);
    expect(cu_write_ctx(ctx, fds[1], "x", 1) == 1 && cu_read_ctx(ctx, fds[0], &byte, 1) == 1);
    expect(cu_read_ctx(ctx, fds[0], &byte, 1) == -ECANCELED);
    expect(cu_write_ctx(ctx, fds[1], "x", 1) == -ECANCELED);
    expect(cu_accept_ctx(ctx, fds[0], NULL, NULL) == -ECANCELED);
    cu_wg_wait(&wg);
    cu_ctx_end(soon);
    cu_ctx_end(ctx);
    expect(cu_close(fds[0]) == 0 && cu_close(fds[1]) == 0);
    return 0;
}

/* Calls that wait, on an empty or a full socket. */

static ssize_t readv_of(cu_ctx *ctx, int fd)
{
    char a[2], b[2];
    struct iovec parts[] = {{a, sizeof(a)}, {b, sizeof(b)}};
    return cu_readv_ctx(ctx, fd, parts, 2);
}

static ssize_t recvmsg_of(cu_ctx *ctx, int fd)
{
    char a[2];
    struct iovec part = {a, sizeof(a)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return cu_recvmsg_ctx(ctx, fd, &message, 0);
}

static ssize_t writev_of(cu_ctx *ctx, int fd)
{
    static char much[LARGE];
    struct iovec parts[] = {{much, sizeof(much)}, {much, sizeof(much)}};
    ssize_t n = 1;
    while (n > 0) {
        n = cu_writev_ctx(ctx, fd, parts, 2);
    }
    return n;
}

static ssize_t sendmsg_of(cu_ctx *ctx, int fd)
{
    static char much[4096];
    struct iovec part = {much, sizeof(much)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = 1;
    while (n > 0) {
        n = cu_sendmsg_ctx(ctx, fd, &message, 0);
    }
    return n;
}

static ssize_t poll_of_one(cu_ctx *ctx, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return cu_poll_ctx(ctx, &p, 1, -1);
}

static ssize_t poll_of_two(cu_ctx *ctx, int fd)
{
    struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = fd, .events = POLLPRI}};
    return cu_poll_ctx(ctx, p, 2, 1000 * COPPER_SEC);
}

/* A backlog that is full: nobody accepts. */
static ssize_t connect_of(cu_ctx *ctx, int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    ssize_t result = getsockname(listener, (struct sockaddr *)&address, &length) ? -errno : 0;
    while (result == 0) {
        int fd = cu_socket(address.ss_family, SOCK_STREAM, 0);
        result = fd < 0 ? fd : cu_connect_ctx(ctx, fd, (struct sockaddr *)&address, length);
        cu_close(fd);
    }
    return result;
}

static int listen_on_unix(void)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    int fd = cu_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd >= 0 && (bind(fd, &address, sizeof(sa_family_t)) || listen(fd, 0))) {
        cu_close(fd);
        return -errno;
    }
    return fd;
}

COROUTINE_TEST(contexts_end_every_call)
{
    static ssize_t (*const calls[])(cu_ctx *, int) = {
        readv_of, recvmsg_of, writev_of, sendmsg_of, poll_of_one, poll_of_two, connect_of};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        cu_ctx *soon = cu_ctx_with_timeout(NULL, 5 * COPPER_MS), *ctx = cu_ctx_with_cancel(NULL);
        cu_wg wg = {0};
        int fds[2], fd;
        expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        expect((fd = calls[i] == connect_of ? listen_on_unix() : fds[0]) >= 0);
        expect(calls[i](soon, fd) == -ETIMEDOUT);
        cu_wg_go(&wg, cancel_later, ctx);
        expect(calls[i](ctx, fd) == -ECANCELED);
        cu_wg_wait(&wg);
        expect(calls[i](ctx, fd) == -ECANCELED);
        cu_ctx_end(soon);
        cu_ctx_end(ctx);
        cu_close(fds[0]);
        cu_close(fds[1]);
        cu_close(calls[i] == connect_of ? fd : -1);
    }
    return 0;
}

COROUTINE_TEST(poll_with_a_time_and_a_context)
{
    int fds[2];
    cu_ctx *ctx = cu_ctx_with_timeout(NULL, 1000 * COPPER_SEC);
    expect(cu_pipe(fds) == 0);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    expect(cu_poll_ctx(ctx, &p, 1, 2 * COPPER_MS) == 0);
    expect(cu_write(fds[1], "x", 1) == 1);
    expect(cu_poll_ctx(ctx, &p, 1, -1) == 1 && p.revents == POLLIN);
    cu_ctx_end(ctx);
    cu_close(fds[0]);
    cu_close(fds[1]);
    return 0;
}

/* ---- poll ---- */

static void write_later(void *arg)
{
    struct transfer *t = arg;
    cu_sleep(5 * COPPER_MS);
    t->result = cu_write(t->fd, t->buffer, t->size);
}

COROUTINE_TEST(poll_waits_for_one_of_many)
{
    int a[2], b[2];
    cu_wg wg = {0};
    expect(cu_pipe(a) == 0 && pipe(b) == 0);
    struct pollfd fds[] = {{a[0], POLLIN, 0}, {-1, POLLIN, 0}, {b[0], POLLIN, 0}};
    expect(cu_poll(fds, 3, 0) == 0 && cu_poll(fds, 3, 2 * COPPER_MS) == 0);
    expect(cu_poll(fds, 1, 0) == 0 && cu_poll(fds, 1, 2 * COPPER_MS) == 0);
    char x[] = "x";
    struct transfer t = {b[1], x, 1, 0, NULL};
    cu_wg_go(&wg, write_later, &t);
    expect(cu_poll(fds, 3, -1) == 1 && fds[2].revents == POLLIN && fds[0].revents == 0);
    cu_wg_wait(&wg);
    t.fd = a[1];
    cu_wg_go(&wg, write_later, &t);
    expect(cu_poll(fds, 1, COPPER_SEC * 60) == 1 && fds[0].revents == POLLIN);
    cu_wg_wait(&wg);
    expect(cu_poll(fds, 3, -1) == 2);
    struct pollfd out[] = {{a[1], POLLOUT, 0}, {a[1], POLLOUT, 0}, {a[0], POLLIN, 0}};
    expect(cu_poll(out, 3, -1) == 3);
    fds[1].fd = 1 << 20;
    expect(cu_poll(fds, 3, -1) == 3 && fds[1].revents == POLLNVAL);
    /* the same descriptor twice, both directions */
    int s[2];
    expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
    struct pollfd twice[] = {{s[0], POLLIN, 0}, {s[0], POLLIN | POLLPRI, 0}};
    t.fd = s[1];
    cu_wg_go(&wg, write_later, &t);
    expect(cu_poll(twice, 2, -1) == 2 && twice[0].revents == POLLIN);
    cu_wg_wait(&wg);
    expect(cu_poll(NULL, 0, COPPER_MS) == 0);
    for (int i = 0; i < 2; i++) {
        cu_close(a[i]);
        cu_close(b[i]);
        cu_close(s[i]);
    }
    return 0;
}

/* ---- crowds and threads ---- */

static struct {
    int fds[PAIRS][2];
    cu_wg wg;
    int failed; /* atomic */
} crowd;

static void echo(void *arg)
{
    int *fds = arg;
    char buffer[256];
    ssize_t n;
    while ((n = cu_read(fds[0], buffer, sizeof(buffer))) > 0) {
        if (cu_write(fds[0], buffer, (size_t)n) != n) {
            __atomic_store_n(&crowd.failed, 1, __ATOMIC_RELAXED);
        }
    }
    if (n != 0) {
        __atomic_store_n(&crowd.failed, 2, __ATOMIC_RELAXED);
    }
}

static void ask(void *arg)
{
    int *fds = arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t sent = i << 32 | (uint32_t)fds[1], got = 0;
        if (cu_write(fds[1], &sent, sizeof(sent)) != sizeof(sent) ||
            cu_read_full(fds[1], &got, sizeof(got)) != sizeof(got) || got != sent) {
            __atomic_store_n(&crowd.failed, 3, __ATOMIC_RELAXED);
        }
    }
    if (cu_close(fds[1]) != 0) {
        __atomic_store_n(&crowd.failed, 4, __ATOMIC_RELAXED);
    }
}

COROUTINE_TEST(a_crowd_of_echoes)
{
    for (int i = 0; i < PAIRS; i++) {
        expect(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, crowd.fds[i]) == 0);
        cu_wg_go(&crowd.wg, echo, crowd.fds[i]);
        cu_wg_go(&crowd.wg, ask, crowd.fds[i]);
    }
    cu_wg_wait(&crowd.wg);
    for (int i = 0; i < PAIRS; i++) {
        expect(cu_close(crowd.fds[i][0]) == 0);
    }
    expect(crowd.failed == 0);
    return 0;
}

static void *ask_in_thread(void *arg)
{
    ask(arg);
    return NULL;
}

static void plain_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cu_socketpair(AF_UNIX, SOCK_STREAM, 0, crowd.fds[i]), 0);
        assert_true(cu_wg_go(&crowd.wg, echo, crowd.fds[i]) > 0);
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_thread, crowd.fds[i]), 0);
    }
    char byte;
    int fds[2];
    assert_int_equal(cu_pipe(fds), 0);
    assert_int_equal(cu_fd_deadline(fds[0], COPPER_READ, cu_now() + 5 * COPPER_MS), 0);
    assert_int_equal(cu_read(fds[0], &byte, 1), -ETIMEDOUT);
    assert_int_equal(cu_fd_deadline(fds[0], COPPER_READ, 0), 0);
    struct pollfd p = {fds[0], POLLIN, 0};
    assert_int_equal(cu_poll(&p, 1, 5 * COPPER_MS), 0);
    assert_int_equal(cu_close(fds[0]), 0);
    assert_int_equal(cu_close(fds[1]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    cu_wg_wait(&crowd.wg);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(cu_close(crowd.fds[i][0]), 0);
    }
    assert_int_equal(crowd.failed, 0);
}

/* Who waits for I/O may be woken: nothing is settled. */
COROUTINE_TEST(quiescence_knows_of_io)
{
    int fds[2];
    char byte;
    uint64_t before, scope;
    expect(cu_pipe(fds) == 0);
    struct transfer t = {fds[0], &byte, 1, 0, NULL};
    scope = cu_scope_enter(&before);
    cu_go(do_read, &t);
    cu_scope_leave(before);
    await_waiting(fds[0], 1);
    expect(cu_quiesce(scope, 5 * COPPER_MS) == -ETIMEDOUT);
    expect(cu_quiesce(0, 5 * COPPER_MS) == -ETIMEDOUT);
    expect(cu_write(fds[1], "x", 1) == 1);
    expect(cu_quiesce(scope, 60 * COPPER_SEC) == 0 && t.result == 1);
    cu_close(fds[0]);
    cu_close(fds[1]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipe_passes_bytes_and_end),
        cmocka_unit_test(broken_pipe_is_an_error),
        cmocka_unit_test(writes_larger_than_buffers),
        cmocka_unit_test(foreign_descriptors),
        cmocka_unit_test(foreign_numbers_change_their_meaning),
        cmocka_unit_test(vectors),
        cmocka_unit_test(ordinary_files),
        cmocka_unit_test(bad_descriptors),
        cmocka_unit_test(many_wait_for_one),
        cmocka_unit_test(close_wakes_who_waits),
        cmocka_unit_test(numbers_are_reused),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(contexts),
        cmocka_unit_test(contexts_end_every_call),
        cmocka_unit_test(poll_with_a_time_and_a_context),
        cmocka_unit_test(timers_beside_the_poller),
        cmocka_unit_test(poll_waits_for_one_of_many),
        cmocka_unit_test(a_crowd_of_echoes),
        cmocka_unit_test(plain_threads),
        cmocka_unit_test(quiescence_knows_of_io),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
