/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the calls of copper/io.h: attempts that never wait, and what to do when one would have
 * to.
 *
 * Design: each call is described by its direction and two functions: `attempt` never waits, `block`
 * may, and is announced as a blocking call. perform() is the loop that all share: attempt; when
 * that meets EAGAIN, wait for the poller and attempt again; when the descriptor is none to wait
 * for, block.
 *
 * How an attempt is kept from waiting: our own descriptors are nonblocking. On foreign ones
 * RWF_NOWAIT and MSG_DONTWAIT say so for one call. Where the kernel knows no such flag for a kind
 * of file (EOPNOTSUPP; ENOSYS under an old one), we ask poll(2), wait if it is not ready, and else
 * make the blocking call.
 *
 * errno is read in the function that made the call and passed on as a result: after a wait this may
 * be another thread.
 */
#include <copper/blocking.h>
#include <copper/io.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "fd.h"
#include "io_int.h"
#include "sanitize.h"

#define UNIX_RETRY_NS                                                                              \
    COPPER_MS /* a unix socket whose backlog is full tells nobody when it is not */

static ssize_t or_error(ssize_t result)
{
    return result < 0 ? -errno : result;
}

static enum cu__fd_kind kind_of(const struct cu__fd *f)
{
    return (enum cu__fd_kind)load_relaxed(&f->kind);
}

/* ---- the loop ---- */

static ssize_t block(struct cu__fd *f, const struct cu__call *c)
{
    if (c->block == NULL) {
        return -EPERM;
    }
    add_seq(&f->blocking, 1);
    cu_syscall_enter();
    ssize_t result = c->block(f->number, c);
    cu_syscall_exit();
    sub_seq(&f->blocking, 1);
    return result;
}

static bool is_ready(int fd, enum cu__fd_way way)
{
    struct pollfd p = {.fd = fd, .events = way == CU__FD_READ ? POLLIN : POLLOUT};
    return poll(&p, 1, 0) != 0;
}

/* The kernel cannot be told not to wait on this descriptor. */
static ssize_t attempt_otherwise(struct cu__fd *f, const struct cu__call *c)
{
    return is_ready(f->number, c->way) ? block(f, c) : -EAGAIN;
}

static ssize_t attempt(struct cu__fd *f, const struct cu__call *c)
{
    ssize_t result;
    do {
        result = c->attempt(f, c);
    } while (result == -EINTR);
    if (unlikely(result == -EOPNOTSUPP || result == -ENOSYS) && kind_of(f) == CU__FD_FOREIGN &&
        c->block) {
        result = attempt_otherwise(f, c);
    }
    return result;
}

/* ThreadSanitizer knows read(2) and write(2), not preadv2 and pwritev2. A vector of no parts never
 * reaches the file, but tells it that what one wrote, by whichever call, another has read. */
static void tell_sanitizer(int fd, enum cu__fd_way way, bool is_before)
{
#if COPPER_WITH_TSAN
    if (way == CU__FD_WRITE && is_before) {
        (void)!writev(fd, NULL, 0);
    } else if (way == CU__FD_READ && !is_before) {
        (void)!readv(fd, NULL, 0);
    }
#endif
    (void)fd;
    (void)way;
    (void)is_before;
}

static ssize_t perform_in(struct cu__fd *f, const struct cu__call *c, const struct cu__until *until)
{
    for (;;) {
        ssize_t result = until->ctx ? cu_ctx_err(until->ctx) : 0;
        result = result ? result : cu__fd_attempt(f, c->way);
        if (unlikely(result != 0)) {
            return result;
        }
        tell_sanitizer(f->number, c->way, true);
        result = attempt(f, c);
        tell_sanitizer(f->number, c->way, false);
        if (result != -EAGAIN) {
            return result;
        }
        result = cu__fd_wait(f, c->way, until);
        if (result == -EPERM) {
            return block(f, c);
        }
        if (result != 0) {
            return result;
        }
    }
}

ssize_t cu__perform(int fd, const struct cu__call *c, const struct cu__until *until)
{
    int error;
    struct cu__fd *f = cu__fd_enter(fd, &error);
    if (f == NULL) {
        return error;
    }
    ssize_t result = perform_in(f, c, until);
    cu__fd_leave(f);
    return result;
}

/* ---- bytes ---- */

static ssize_t attempt_read(struct cu__fd *f, const struct cu__call *c)
{
    if (kind_of(f) == CU__FD_FOREIGN) {
        return or_error(preadv2(f->number, c->parts, c->count, -1, RWF_NOWAIT));
    }
    return or_error(c->count == 1 ? read(f->number, c->parts->iov_base, c->parts->iov_len)
                                  : readv(f->number, c->parts, c->count));
}

static ssize_t block_read(int fd, const struct cu__call *c)
{
    return or_error(readv(fd, c->parts, c->count));
}

static ssize_t attempt_write(struct cu__fd *f, const struct cu__call *c)
{
    if (kind_of(f) == CU__FD_FOREIGN) {
        return or_error(pwritev2(f->number, c->parts, c->count, -1, RWF_NOWAIT));
    }
    if (kind_of(f) == CU__FD_OUR_SOCKET) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)c->parts,
                                 .msg_iovlen = (size_t)c->count};
        return or_error(c->count == 1
                            ? send(f->number, c->parts->iov_base, c->parts->iov_len, MSG_NOSIGNAL)
                            : sendmsg(f->number, &message, MSG_NOSIGNAL));
    }
    return or_error(c->count == 1 ? write(f->number, c->parts->iov_base, c->parts->iov_len)
                                  : writev(f->number, c->parts, c->count));
}

static ssize_t block_write(int fd, const struct cu__call *c)
{
    return or_error(writev(fd, c->parts, c->count));
}

static bool total_of(const struct iovec *parts, int count, size_t *total)
{
    *total = 0;
    if (count < 0 || count > IOV_MAX) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (__builtin_add_overflow(*total, parts[i].iov_len, total) || *total > SSIZE_MAX) {
            return false;
        }
    }
    return true;
}

/* An ordinary file's attempt gives what is in memory; the rest is read as a blocking call does. */
static ssize_t read_rest(struct cu__fd *f, struct cu__call *c, size_t done, size_t total)
{
    struct stat st;
    if (kind_of(f) != CU__FD_FOREIGN || done == 0 || done >= total || c->count != 1 ||
        fstat(f->number, &st) || !S_ISREG(st.st_mode)) {
        return (ssize_t)done;
    }
    struct iovec rest = {(char *)c->parts->iov_base + done, total - done};
    c->parts = &rest;
    ssize_t n = block(f, c);
    return (ssize_t)done + (n > 0 ? n : 0);
}

ssize_t cu__readv_until(int fd, const struct iovec *parts, int count, const struct cu__until *until)
{
    int error;
    size_t total;
    if (!total_of(parts, count, &total)) {
        return -EINVAL;
    }
    struct cu__fd *f = cu__fd_enter(fd, &error);
    if (f == NULL) {
        return error;
    }
    struct cu__call c = {.way = CU__FD_READ,
                         .attempt = attempt_read,
                         .block = block_read,
                         .parts = parts,
                         .count = count};
    ssize_t result = perform_in(f, &c, until);
    if (result > 0 && (size_t)result < total) {
        result = read_rest(f, &c, (size_t)result, total);
    }
    cu__fd_leave(f);
    return result;
}

/* Writes part of one part, or all that follow whole ones, until all is written. */
ssize_t cu__writev_until(int fd, const struct iovec *parts, int count,
                         const struct cu__until *until)
{
    int error, part = 0;
    size_t total, done = 0, into = 0; /* into the part */
    if (!total_of(parts, count, &total)) {
        return -EINVAL;
    }
    struct cu__fd *f = cu__fd_enter(fd, &error);
    if (f == NULL) {
        return error;
    }
    ssize_t n;
    do {
        struct iovec rest = {.iov_len = 0};
        struct cu__call c = {.way = CU__FD_WRITE,
                             .attempt = attempt_write,
                             .block = block_write,
                             .parts = parts + part,
                             .count = count - part};
        if (into) {
            rest = (struct iovec){(char *)parts[part].iov_base + into, parts[part].iov_len - into};
            c.parts = &rest;
            c.count = 1;
        }
        n = perform_in(f, &c, until);
        done += n > 0 ? (size_t)n : 0;
        into += n > 0 ? (size_t)n : 0;
        while (part < count && into >= parts[part].iov_len) {
            into -= parts[part++].iov_len;
        }
    } while (n > 0 && done < total);
    cu__fd_leave(f);
    return done ? (ssize_t)done : n;
}

static const struct cu__until for_ever;

ssize_t cu_readv(int fd, const struct iovec *parts, int count)
{
    return cu__readv_until(fd, parts, count, &for_ever);
}

ssize_t cu_read(int fd, void *buffer, size_t size)
{
    struct iovec part = {buffer, size};
    return cu__readv_until(fd, &part, 1, &for_ever);
}

ssize_t cu_read_full(int fd, void *buffer, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = cu_read(fd, (char *)buffer + done, size - done);
        if (n <= 0) {
            return done ? (ssize_t)done : n;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t cu_writev(int fd, const struct iovec *parts, int count)
{
    return cu__writev_until(fd, parts, count, &for_ever);
}

ssize_t cu_write(int fd, const void *buffer, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)buffer, size};
    return cu__writev_until(fd, &part, 1, &for_ever);
}

ssize_t cu_read_ctx(cu_ctx *ctx, int fd, void *buffer, size_t size)
{
    struct iovec part = {buffer, size};
    return cu__readv_until(fd, &part, 1, &(struct cu__until){.ctx = ctx});
}

ssize_t cu_readv_ctx(cu_ctx *ctx, int fd, const struct iovec *parts, int count)
{
    return cu__readv_until(fd, parts, count, &(struct cu__until){.ctx = ctx});
}

ssize_t cu_write_ctx(cu_ctx *ctx, int fd, const void *buffer, size_t size)
{
    struct iovec part = {(void *)(uintptr_t)buffer, size};
    return cu__writev_until(fd, &part, 1, &(struct cu__until){.ctx = ctx});
}

ssize_t cu_writev_ctx(cu_ctx *ctx, int fd, const struct iovec *parts, int count)
{
    return cu__writev_until(fd, parts, count, &(struct cu__until){.ctx = ctx});
}

/* ---- messages ---- */

static ssize_t attempt_recvmsg(struct cu__fd *f, const struct cu__call *c)
{
    return or_error(recvmsg(f->number, c->message, c->flags | MSG_DONTWAIT));
}

static ssize_t attempt_sendmsg(struct cu__fd *f, const struct cu__call *c)
{
    return or_error(sendmsg(f->number, c->message, c->flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t cu__recvmsg_until(int fd, struct msghdr *message, int flags, const struct cu__until *until)
{
    struct cu__call c = {
        .way = CU__FD_READ, .attempt = attempt_recvmsg, .message = message, .flags = flags};
    return cu__perform(fd, &c, until);
}

ssize_t cu__sendmsg_until(int fd, const struct msghdr *message, int flags,
                          const struct cu__until *until)
{
    struct cu__call c = {.way = CU__FD_WRITE,
                         .attempt = attempt_sendmsg,
                         .message = (struct msghdr *)(uintptr_t)message,
                         .flags = flags};
    return cu__perform(fd, &c, until);
}

ssize_t cu_recvmsg(int fd, struct msghdr *message, int flags)
{
    return cu__recvmsg_until(fd, message, flags, &for_ever);
}

ssize_t cu_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return cu__sendmsg_until(fd, message, flags, &for_ever);
}

ssize_t cu_recvmsg_ctx(cu_ctx *ctx, int fd, struct msghdr *message, int flags)
{
    return cu__recvmsg_until(fd, message, flags, &(struct cu__until){.ctx = ctx});
}

ssize_t cu_sendmsg_ctx(cu_ctx *ctx, int fd, const struct msghdr *message, int flags)
{
    return cu__sendmsg_until(fd, message, flags, &(struct cu__until){.ctx = ctx});
}

ssize_t cu_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                    socklen_t *length)
{
    struct iovec part = {buffer, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (address) {
        message.msg_name = address;
        message.msg_namelen = *length;
    }
    ssize_t n = cu__recvmsg_until(fd, &message, flags, &for_ever);
    if (n >= 0 && address) {
        *length = message.msg_namelen;
    }
    return n;
}

ssize_t cu_sendto(int fd, const void *buffer, size_t size, int flags,
                  const struct sockaddr *address, socklen_t length)
{
    struct iovec part = {(void *)(uintptr_t)buffer, size};
    struct msghdr message = {.msg_name = (void *)(uintptr_t)address,
                             .msg_namelen = address ? length : 0,
                             .msg_iov = &part,
                             .msg_iovlen = 1};
    return cu__sendmsg_until(fd, &message, flags, &for_ever);
}

/* ---- connections ---- */

static ssize_t block_accept(int fd, const struct cu__call *c)
{
    return or_error(accept4(fd, c->address, c->length, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

static ssize_t attempt_accept(struct cu__fd *f, const struct cu__call *c)
{
    if (kind_of(f) == CU__FD_FOREIGN) {
        return -EOPNOTSUPP; /* nothing says "do not wait" to accept4 */
    }
    return block_accept(f->number, c);
}

/* A new descriptor becomes ours. */
static int own(int fd, enum cu__fd_kind kind)
{
    int error = fd < 0 ? fd : cu__fd_own(fd, kind);
    if (error && fd >= 0) {
        close(fd);
    }
    return error ? error : fd;
}

int cu__accept_until(int fd, struct sockaddr *address, socklen_t *length,
                     const struct cu__until *until)
{
    struct cu__call c = {.way = CU__FD_READ,
                         .attempt = attempt_accept,
                         .block = block_accept,
                         .address = address,
                         .length = length};
    ssize_t result;
    do {
        result = cu__perform(fd, &c, until); /* a connection that was gone already is not news */
    } while (result == -ECONNABORTED || result == -EPROTO);
    return own((int)result, CU__FD_OUR_SOCKET);
}

int cu_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    return cu__accept_until(fd, address, length, &for_ever);
}

int cu_accept_ctx(cu_ctx *ctx, int fd, struct sockaddr *address, socklen_t *length)
{
    return cu__accept_until(fd, address, length, &(struct cu__until){.ctx = ctx});
}

static ssize_t block_connect(int fd, const struct cu__call *c)
{
    return or_error(connect(fd, c->address, c->address_length));
}

/* How a connection that was begun has ended. */
static int outcome(int fd)
{
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length)) {
        return -errno;
    }
    return -error;
}

/* EINPROGRESS: ask again when it can be written to. */
static ssize_t attempt_connect(struct cu__fd *f, const struct cu__call *c)
{
    if (kind_of(f) == CU__FD_FOREIGN) {
        return -EOPNOTSUPP;
    }
    if (connect(f->number, c->address, c->address_length) == 0 || errno == EISCONN) {
        return 0;
    }
    if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) {
        int error = outcome(f->number);
        return error ? error : -EAGAIN;
    }
    return -errno;
}

/* The backlog of a listening unix socket is full, which is not an event: naps, until this call may
 * wait no longer. */
static int nap(struct cu__fd *f, const struct cu__until *until)
{
    struct cu__until brief = *until;
    int64_t at_ns = cu_now() + UNIX_RETRY_NS;
    bool is_brief = until->deadline_ns == 0 || at_ns < until->deadline_ns;
    brief.deadline_ns = is_brief ? at_ns : until->deadline_ns;
    int error = cu__fd_wait(f, CU__FD_WRITE, &brief);
    return error == -ETIMEDOUT && is_brief ? 0 : error;
}

static ssize_t connect_unix(struct cu__fd *f, const struct cu__call *c,
                            const struct cu__until *until)
{
    for (;;) {
        ssize_t result = until->ctx ? cu_ctx_err(until->ctx) : 0;
        result = result ? result : cu__fd_attempt(f, CU__FD_WRITE);
        result = result ? result : attempt(f, c);
        if (result != -EAGAIN) {
            return result;
        }
        result = nap(f, until);
        if (result) {
            return result;
        }
    }
}

int cu__connect_until(int fd, const struct sockaddr *address, socklen_t length,
                      const struct cu__until *until)
{
    int error;
    struct cu__fd *f = cu__fd_enter(fd, &error);
    struct cu__call c = {.way = CU__FD_WRITE,
                         .attempt = attempt_connect,
                         .block = block_connect,
                         .address = (struct sockaddr *)(uintptr_t)address,
                         .address_length = length};
    if (f == NULL) {
        return error;
    }
    ssize_t result;
    if (kind_of(f) == CU__FD_FOREIGN) {
        result = block(f, &c);
    } else if (address->sa_family == AF_UNIX) {
        result = connect_unix(f, &c, until);
    } else {
        result = perform_in(f, &c, until);
    }
    cu__fd_leave(f);
    return (int)result;
}

int cu_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return cu__connect_until(fd, address, length, &for_ever);
}

int cu_connect_ctx(cu_ctx *ctx, int fd, const struct sockaddr *address, socklen_t length)
{
    return cu__connect_until(fd, address, length, &(struct cu__until){.ctx = ctx});
}

/* ---- making ---- */

int cu_socket(int domain, int type, int protocol)
{
    return own((int)or_error(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)),
               CU__FD_OUR_SOCKET);
}

/* Both become ours, or both are closed. */
static int own_both(int fds[2], enum cu__fd_kind kind)
{
    int first = own(fds[0], kind), second = own(fds[1], kind);
    if (first >= 0 && second >= 0) {
        return 0;
    }
    if (first >= 0) {
        cu_close(first);
    }
    if (second >= 0) {
        cu_close(second);
    }
    return first < 0 ? first : second;
}

int cu_socketpair(int domain, int type, int protocol, int fds[2])
{
    if (socketpair(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol, fds)) {
        return -errno;
    }
    return own_both(fds, CU__FD_OUR_SOCKET);
}

int cu_pipe(int fds[2])
{
    return pipe2(fds, O_CLOEXEC | O_NONBLOCK) ? -errno : own_both(fds, CU__FD_STREAM);
}

int cu_fd_own(int fd)
{
    struct stat st;
    if (fstat(fd, &st)) {
        return -errno;
    }
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode)) {
        return -EPERM;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
        return -errno;
    }
    return cu__fd_own(fd, S_ISSOCK(st.st_mode) ? CU__FD_OUR_SOCKET : CU__FD_STREAM);
}
