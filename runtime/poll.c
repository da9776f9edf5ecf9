/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_poll: waiting for one descriptor of several.
 *
 * Design: a coroutine can be in one descriptor's list at a time. For one descriptor and one
 * direction that is enough. For more, the descriptors are put into an epoll instance made for this
 * call, and the coroutine waits for that one to become readable: the kernel is the one that waits
 * for several, and duplicates, other processes' descriptors and numbers that are reused are its
 * business. The answer itself always comes from poll(2).
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "io_int.h"
#include "schedule.h"

static ssize_t attempt_poll(struct cu__fd *f, const struct cu__call *c)
{
    (void)f;
    int n = poll(c->poll, (nfds_t)c->count, 0);
    return n < 0 ? -errno : n > 0 ? n : -EAGAIN;
}

/* The one direction that tells all that is asked for; false: there is none. */
static bool direction_of(const struct pollfd *p, enum cu__fd_way *way)
{
    short writes = p->events & (POLLOUT | POLLWRNORM | POLLWRBAND);
    *way = writes ? CU__FD_WRITE : CU__FD_READ;
    return p->fd >= 0 && (p->events & POLLPRI) == 0 && (writes == 0 || writes == p->events);
}

/* Adds p's descriptor to an instance, with everything that is asked of it in the whole list. */
static int add(int epoll, const struct pollfd *p, const struct pollfd *fds, nfds_t count)
{
    struct epoll_event event = {.events = 0};
    for (nfds_t i = 0; i < count; i++) {
        if (fds[i].fd == p->fd) {
            event.events |= (uint32_t)(uint16_t)fds[i].events; /* the same bits in both calls */
        }
    }
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &event) == 0 || errno == EEXIST) {
        return 0;
    }
    return -errno;
}

/* A descriptor that is readable when one of these is ready; or -errno. */
static int gather(const struct pollfd *fds, nfds_t count)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), error = 0;
    if (epoll < 0) {
        return -errno;
    }
    for (nfds_t i = 0; i < count && error == 0; i++) {
        if (fds[i].fd >= 0) {
            error = add(epoll, &fds[i], fds, count);
        }
    }
    error = error ? error : cu__fd_own(epoll, CU__FD_STREAM);
    if (error) {
        close(epoll);
    }
    return error ? error : epoll;
}

static int poll_several(struct pollfd *fds, nfds_t count, const struct cu__until *until)
{
    struct cu__call c = {
        .way = CU__FD_READ, .attempt = attempt_poll, .poll = fds, .count = (int)count};
    ssize_t n = cu_ctx_err(until->ctx);
    n = n ? n : attempt_poll(NULL, &c);
    if (n != -EAGAIN || (until->deadline_ns && cu_now() >= until->deadline_ns)) {
        return n == -EAGAIN ? 0 : (int)n;
    }
    int epoll = gather(fds, count);
    if (epoll < 0) {
        return epoll;
    }
    n = cu__perform(epoll, &c, until);
    cu_close(epoll);
    return (int)n;
}

int cu__poll_until(struct pollfd *fds, nfds_t count, const struct cu__until *until)
{
    enum cu__fd_way way;
    int n;
    if (count > INT32_MAX) {
        return -EINVAL;
    }
    if (count == 1 && direction_of(fds, &way)) {
        struct cu__call c = {.way = way, .attempt = attempt_poll, .poll = fds, .count = 1};
        n = (int)cu__perform(fds->fd, &c, until);
    } else {
        n = poll_several(fds, count, until);
    }
    return n == -ETIMEDOUT ? cu_ctx_err(until->ctx) : n;
}

int cu_poll_ctx(cu_ctx *ctx, struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
    struct cu__until until = {ctx, 0};
    if (timeout_ns >= 0) {
        until.deadline_ns = cu__deadline(timeout_ns);
    }
    return cu__poll_until(fds, count, &until);
}

int cu_poll(struct pollfd *fds, nfds_t count, int64_t timeout_ns)
{
    return cu_poll_ctx(NULL, fds, count, timeout_ns);
}
