/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/io.h: reading and writing that parks coroutines instead of blocking threads.
 *
 * The calls are the system's, with its parameters and meaning, as they are on a blocking
 * descriptor; an error is the result, as -errno. A coroutine that has to wait for a socket, pipe,
 * eventfd or terminal parks, and costs no thread; ordinary files, which cannot be waited for, are
 * read and written as announced blocking calls (copper/blocking.h).
 *
 * Whose a descriptor is:
 *
 *     ours      made by cu_socket, cu_accept, cu_pipe, copper/net.h, or given to us by cu_fd_own
 *     foreign   everything else
 *
 * One of ours is nonblocking, and has to be closed with cu_close. A foreign one is never changed,
 * because another process may share it (standard input, an inherited socket): each attempt says by
 * itself that it does not want to wait (RWF_NOWAIT, MSG_DONTWAIT). It costs one more system call
 * for each wait, and may be closed with cu_close or close(2); only cu_close wakes who waits for it.
 *
 * Closing: cu_close ends the calls that wait on the descriptor with -EBADF, and returns when they
 * have let go of it, so that no call ever meets another file under its number.
 *
 * Deadlines, in ns on the cu_now() clock: cu_fd_deadline, for all calls on a descriptor, as Go's
 * SetDeadline; a context for one call (the _ctx twins).
 *
 * Errors of all waiting calls besides the system's: -ETIMEDOUT: a deadline has passed; -EBADF:
 * closed meanwhile, or no descriptor; -ENOMEM; -EMFILE, -ENFILE: the poller could not be made;
 * -ENOSPC: /proc/sys/fs/epoll/max_user_watches is used up. -EINTR only from ordinary files.
 *
 * All may be called from coroutines, where they park, and from plain threads, which they block; not
 * from signal handlers. Any number of callers may use a descriptor at once, with the kernel's
 * guarantees about what they get. A call that need not wait costs about 10 ns more than the bare
 * one.
 */
#ifndef COPPER_IO_H
#define COPPER_IO_H

#include <copper/context.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* read(2): some bytes, at least one; 0 at the end. */
ssize_t cu_read(int fd, void *buffer, size_t size);
ssize_t cu_readv(int fd, const struct iovec *parts, int count);
/* As read, until all `size` bytes are there or the end comes: how many; an error only if none. */
ssize_t cu_read_full(int fd, void *buffer, size_t size);

/* write(2): everything, however often it has to wait. Less only when an error, a deadline or a
 * cu_close cut it short: the next call says which. A broken connection is -EPIPE; SIGPIPE is raised
 * only where a plain thread writes to something that is not a socket of ours. */
ssize_t cu_write(int fd, const void *buffer, size_t size);
ssize_t cu_writev(int fd, const struct iovec *parts, int count);

/* The same, also ended by a context (NULL: none): -ECANCELED, or -ETIMEDOUT by its deadline. One
 * that is done already wins over a descriptor that is ready. So do the _ctx twins below. */
ssize_t cu_read_ctx(cu_ctx *ctx, int fd, void *buffer, size_t size);
ssize_t cu_readv_ctx(cu_ctx *ctx, int fd, const struct iovec *parts, int count);
ssize_t cu_write_ctx(cu_ctx *ctx, int fd, const void *buffer, size_t size);
ssize_t cu_writev_ctx(cu_ctx *ctx, int fd, const struct iovec *parts, int count);

/* Messages of sockets. The flags are the system's. */
ssize_t cu_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t cu_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t cu_recvmsg_ctx(cu_ctx *ctx, int fd, struct msghdr *message, int flags);
ssize_t cu_sendmsg_ctx(cu_ctx *ctx, int fd, const struct msghdr *message, int flags);
/* address may be NULL. recvfrom: *length is the room at `address`, and what was used of it. */
ssize_t cu_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                    socklen_t *length);
ssize_t cu_sendto(int fd, const void *buffer, size_t size, int flags,
                  const struct sockaddr *address, socklen_t length);

/* The next connection: a descriptor of ours, close-on-exec. address may be NULL. On a foreign
 * listening socket the thread may be kept, should another process take the connection first. */
int cu_accept(int fd, struct sockaddr *address, socklen_t *length);
int cu_accept_ctx(cu_ctx *ctx, int fd, struct sockaddr *address, socklen_t *length);
/* Connects; on a foreign socket an announced blocking call, which no deadline ends. A socket whose
 * cu_connect ended early is to be closed: the kernel may still connect it. */
int cu_connect(int fd, const struct sockaddr *address, socklen_t length);
int cu_connect_ctx(cu_ctx *ctx, int fd, const struct sockaddr *address, socklen_t length);

/* poll(2) with a time in ns; negative: for ever. How many are ready; 0: none in time. A descriptor
 * that is closed meanwhile may go unnoticed where several are waited for. One descriptor costs no
 * more than a read; for more, each call that waits makes and closes an epoll instance. */
int cu_poll(struct pollfd *fds, nfds_t count, int64_t timeout_ns);
/* The same, also ended by ctx. timeout_ns and a deadline of ctx may differ: 0 by the one,
 * -ETIMEDOUT by the other. */
int cu_poll_ctx(cu_ctx *ctx, struct pollfd *fds, nfds_t count, int64_t timeout_ns);

/* Ends what waits on the descriptor, and closes it: see above. -EBADF: not open, or being closed.
 * While a call on an ordinary file or a foreign terminal holds it in the kernel, it returns at
 * once, and the descriptor is closed when that call is over. After an error it is closed all the
 * same. */
int cu_close(int fd);

/* All calls in these directions, also those that wait now, end with -ETIMEDOUT at deadline_ns, and
 * so does every later one until the deadline is changed; 0: no deadline. -EPERM: an ordinary file,
 * or what else cannot be waited for. */
enum { COPPER_READ = 1, COPPER_WRITE = 2 };
int cu_fd_deadline(int fd, int directions, int64_t deadline_ns);

/* Makes a descriptor ours: sets O_NONBLOCK, which all see that share the open file. 0; -EPERM: an
 * ordinary file. From then on it is closed with cu_close only. */
int cu_fd_own(int fd);

/* socket(2), socketpair(2), pipe(2): descriptors of ours, close-on-exec. */
int cu_socket(int domain, int type, int protocol);
int cu_socketpair(int domain, int type, int protocol, int fds[2]);
int cu_pipe(int fds[2]);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
