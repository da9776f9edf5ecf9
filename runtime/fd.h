/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the runtime knows of each descriptor: who is inside a call on it, who waits for it,
 * and until when.
 */
#ifndef COPPER_RUNTIME_FD_H
#define COPPER_RUNTIME_FD_H

#include "types.h"

struct cu_ctx;

enum cu__fd_way { CU__FD_READ = 0, CU__FD_WRITE = 1 };

/* Whose it is, and by which calls it is read and written. */
enum cu__fd_kind {
    CU__FD_FOREIGN,   /* opened by others: never changed; what it is may change any time */
    CU__FD_STREAM,    /* ours, nonblocking: a pipe, an eventfd, a terminal */
    CU__FD_OUR_SOCKET /* ours, nonblocking: a socket */
};

/* One for each number, for ever. */
struct cu__fd {
    uint32_t inside;     /* any: atomic; calls under way, and CLOSING */
    uint32_t blocking;   /* any: atomic; of these: in a call that may take for ever */
    uint32_t ready;      /* any: atomic; bit 1 << way: an event came that nobody waited for */
    uint32_t generation; /* writer: who closes; the number's how-many-th descriptor */
    struct cu__lock lock;
    int number;                    /* constant */
    uint8_t kind;                  /* any: atomic; enum cu__fd_kind */
    bool is_watched;               /* any: atomic; ours, and the poller knows it */
    struct cu__waiters waiters[2]; /* lock; by way */
    struct cu__waiters closers;    /* lock; until it is closed */
    struct cu__waiters late;       /* lock; who came while close(2) ran */
    int64_t deadlines_ns[2];       /* any: atomic; by way; 0: none */
};

/* How long a call may wait. */
struct cu__until {
    struct cu_ctx *ctx;  /* NULL: no context */
    int64_t deadline_ns; /* 0: none but the descriptor's own */
};

/* A call on fd begins, and ends. Between the two the number does not change its meaning. The result
 * is NULL with *error = -EBADF (closed, closing or no number) or -ENOMEM. Waits while close(2) of
 * this number runs. */
struct cu__fd *cu__fd_enter(int fd, int *error);
void cu__fd_leave(struct cu__fd *f);

/* Before an attempt in one direction: 0, or -ETIMEDOUT when the deadline has passed already. What
 * becomes ready after this is noticed by cu__fd_wait. */
int cu__fd_attempt(struct cu__fd *f, enum cu__fd_way way);
/* After the attempt met EAGAIN. 0: try again. -ETIMEDOUT; -EBADF: closed meanwhile; -EPERM: an
 * ordinary file, which nobody can wait for; or the poller's error. Parks, or blocks a
 * plain thread. */
int cu__fd_wait(struct cu__fd *f, enum cu__fd_way way, const struct cu__until *until);

/* A descriptor that was just made, nonblocking, is ours. 0 or -ENOMEM. */
int cu__fd_own(int fd, enum cu__fd_kind kind);
/* From the poller. */
void cu__fd_event(int fd, uint32_t generation, uint32_t events);
/* Everybody's wait ends with -EBADF: the poller is gone. */
void cu__fd_expel_all(void);
void cu__fd_after_fork(void);

#endif
