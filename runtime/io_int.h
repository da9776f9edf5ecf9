/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the calls of io.c with what can end a wait, for poll.c and net.c.
 */
#ifndef COPPER_RUNTIME_IO_INT_H
#define COPPER_RUNTIME_IO_INT_H

#include <copper/io.h>

#include "fd.h"

/* One system call on a descriptor: see io.c. Results are -errno. */
struct cu__call {
    enum cu__fd_way way;
    ssize_t (*attempt)(struct cu__fd *f, const struct cu__call *c);
    ssize_t (*block)(int fd, const struct cu__call *c); /* NULL: there is no such form */
    const struct iovec *parts;
    int count;
    int flags;
    struct msghdr *message;
    struct sockaddr *address;
    socklen_t *length;        /* in and out */
    socklen_t address_length; /* in */
    struct pollfd *poll;
};

ssize_t cu__perform(int fd, const struct cu__call *c, const struct cu__until *until);

ssize_t cu__readv_until(int fd, const struct iovec *parts, int count,
                        const struct cu__until *until);
ssize_t cu__writev_until(int fd, const struct iovec *parts, int count,
                         const struct cu__until *until);
ssize_t cu__recvmsg_until(int fd, struct msghdr *message, int flags, const struct cu__until *until);
ssize_t cu__sendmsg_until(int fd, const struct msghdr *message, int flags,
                          const struct cu__until *until);
int cu__accept_until(int fd, struct sockaddr *address, socklen_t *length,
                     const struct cu__until *until);
int cu__connect_until(int fd, const struct sockaddr *address, socklen_t length,
                      const struct cu__until *until);
/* net.c */
int cu__dial_until(const char *network, const char *address, const struct cu__until *until);

int cu__poll_until(struct pollfd *fds, nfds_t count, const struct cu__until *until);

#endif
