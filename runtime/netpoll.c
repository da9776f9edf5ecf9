/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see netpoll.h.
 *
 * Design: one epoll instance. Descriptors are entered once, edge-triggered and for both directions,
 * so that a wait costs no system call of its own besides the failed attempt before it. An event
 * carries the descriptor's number and generation; fd.c knows who waits.
 *
 * Who looks: a worker that runs out of work, before it steals, and while it spins; the keeper,
 * which sleeps here (find_work.c); workers that never run out of work, and sysmon, now and then.
 *
 * The keeper is woken through an eventfd. That one is level-triggered and read by the keeper alone:
 * another worker's look may see it first, and must leave it there.
 *
 * Failures: epoll_create1 and eventfd fail with who waits first, as its error. When the descriptors
 * of the poller are closed under it (a daemon that closes everything), it says so once and all
 * waits end with -EBADF: what is registered where cannot be known any more. A sleep in a closed
 * instance cannot be broken; so no sleep is longer than PATIENCE_NS.
 *
 * fork: the child shares the parent's instance, so it closes its descriptors of it and makes a
 * poller of its own when it needs one.
 */
#include "netpoll.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "fd.h"
#include "futex.h"
#include "lock.h"
#include "report.h"
#include "sanitize.h"
#include "schedule.h"

#define LOOK_EVERY_NS (200 * COPPER_US)
#define PATIENCE_NS   (5 * COPPER_SEC)
#define EVENTS        (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

/* Numbers of descriptors are below 2^31: these are none. */
#define TAG_BREAK  UINT64_MAX
#define TAG_SOURCE (UINT64_MAX - 1)

struct cu__netpoll cu__netpoll;

static struct {
    struct cu__lock lock; /* held while starting */
    int epoll, breaker;   /* constant once is_on */
    bool is_broken;       /* any: atomic */
    void (*told)(void);   /* any: atomic; of the one source */
    bool lacks_pwait2;    /* any: atomic; the kernel does, or a sandbox forbids it */
} poller;

static uint64_t tag_of(int fd, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint32_t)fd;
}

static int control(int operation, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};
    return epoll_ctl(poller.epoll, operation, fd, &event) == 0 ? 0 : -errno;
}

/* Called with the lock. */
static int make(void)
{
    poller.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (poller.epoll < 0) {
        return -errno;
    }
    poller.breaker = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error =
        poller.breaker < 0 ? -errno : control(EPOLL_CTL_ADD, poller.breaker, EPOLLIN, TAG_BREAK);
    if (error) {
        close(poller.epoll);
        if (poller.breaker >= 0) {
            close(poller.breaker);
        }
    }
    return error;
}

static noinline int start_slowly(void)
{
    int error = cu__start();
    if (error) {
        return error;
    }
    cu__lock_take(&poller.lock);
    bool is_new = !cu__netpoll_is_on();
    if (is_new) {
        error = make();
        store_seq(&cu__netpoll.is_on, error == 0);
    }
    cu__lock_drop(&poller.lock);
    if (is_new && error == 0) {
        cu__wake_keeper(INT64_MIN); /* it must sleep elsewhere now */
        cu__wake_one();             /* if there was none */
    }
    return error;
}

int cu__netpoll_start(void)
{
    if (unlikely(load_relaxed(&poller.is_broken))) {
        return -EBADF;
    }
    return likely(cu__netpoll_is_on()) ? 0 : start_slowly();
}

int cu__netpoll_watch(int fd, uint32_t generation, bool again)
{
    uint64_t tag = tag_of(fd, generation);
    int error = cu__netpoll_start();
    if (error) {
        return error;
    }
    error = again ? control(EPOLL_CTL_MOD, fd, EVENTS, tag) : -ENOENT;
    if (error == -ENOENT) {
        error = control(EPOLL_CTL_ADD, fd, EVENTS, tag);
    }
    if (error == -EEXIST) {
        error =
            control(EPOLL_CTL_MOD, fd, EVENTS, tag); /* somebody was faster, or it is an old one */
    }
    return error;
}

void cu__netpoll_forget(int fd)
{
    control(EPOLL_CTL_DEL, fd, 0, 0);
}

int cu__netpoll_watch_source(int fd, void (*told)(void))
{
    int error = cu__netpoll_start();
    if (error == 0) {
        store_release(&poller.told, told);
        error = control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, TAG_SOURCE);
    }
    return error;
}

static noinline void break_down(int error)
{
    if (!__atomic_exchange_n(&poller.is_broken, true, __ATOMIC_SEQ_CST)) {
        store_seq(&cu__netpoll.is_on, 0);
        cu__complain(
            "the poller's descriptor %d was closed by somebody else (errno %d): coroutines "
            "can no longer wait for I/O; leave descriptors alone that are not yours",
            poller.epoll, error);
        cu__fd_expel_all();
    }
}

static int wait_ms(struct cu__polled *out, int64_t ns)
{
    int64_t ms = ns < 0 ? -1 : ns / COPPER_MS + (ns % COPPER_MS != 0);
    return epoll_wait(poller.epoll, out->events, COPPER_POLL_BATCH,
                      ms > INT32_MAX ? INT32_MAX : (int)ms);
}

/* For ns; negative: for ever. */
static int wait_for(struct cu__polled *out, int64_t ns)
{
    if (ns <= 0 || load_relaxed(&poller.lacks_pwait2)) {
        return wait_ms(out, ns);
    }
    struct timespec t = {.tv_sec = ns / COPPER_SEC, .tv_nsec = ns % COPPER_SEC};
    long n = syscall(SYS_epoll_pwait2, poller.epoll, out->events, COPPER_POLL_BATCH, &t, NULL, 0);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) {
        store_relaxed(&poller.lacks_pwait2, true);
        return wait_ms(out, ns);
    }
    return (int)n;
}

static void get_events(struct cu__polled *out, int64_t ns)
{
    int saved = errno;
    int n = wait_for(out, ns);
    out->count = n < 0 ? 0 : n;
    if (unlikely(n < 0 && errno != EINTR)) {
        break_down(errno);
    }
    cu__tsan_take_signals();
    errno = saved;
}

/* The keeper's nudge is no news for anybody else. */
static void drain_breaker(struct cu__polled *polled)
{
    for (int i = 0; i < polled->count; i++) {
        if (polled->events[i].data.u64 == TAG_BREAK) {
            uint64_t count;
            int saved = errno;
            if (read(poller.breaker, &count, sizeof(count)) < 0 && errno != EAGAIN) {
                break_down(errno);
            }
            errno = saved;
            polled->events[i] = polled->events[--polled->count];
            return;
        }
    }
}

void cu__netpoll_wait(struct cu__polled *out, int64_t deadline_ns)
{
    int64_t ns = PATIENCE_NS;
    if (deadline_ns != COPPER_NO_DEADLINE) {
        ns = deadline_ns - cu_now();
        ns = ns < 0 ? 0 : ns < PATIENCE_NS ? ns : PATIENCE_NS;
    }
    get_events(out, ns);
    drain_breaker(out);
}

void cu__netpoll_break(void)
{
    uint64_t one = 1;
    int saved = errno;
    if (write(poller.breaker, &one, sizeof(one)) < 0 && errno != EAGAIN) {
        break_down(errno);
    }
    errno = saved;
}

void cu__netpoll_deliver(const struct cu__polled *polled)
{
    for (int i = 0; i < polled->count; i++) {
        const struct epoll_event *event = &polled->events[i];
        if (event->data.u64 == TAG_SOURCE) {
            load_acquire (&poller.told)();
        } else if (event->data.u64 != TAG_BREAK) {
            cu__fd_event((int)(uint32_t)event->data.u64, (uint32_t)(event->data.u64 >> 32),
                         event->events);
        }
    }
}

noinline void cu__netpoll_look(void)
{
    struct cu__polled polled;
    get_events(&polled, 0);
    cu__netpoll_deliver(&polled);
}

void cu__netpoll_look_sometimes(int64_t now_ns)
{
    if (cu__netpoll_is_on() && cu__netpoll_is_awaited() &&
        now_ns - load_relaxed(&cu__netpoll.looked_ns) >= LOOK_EVERY_NS) {
        store_relaxed(&cu__netpoll.looked_ns, now_ns);
        cu__netpoll_look();
    }
}

void cu__netpoll_after_fork(void)
{
    if (cu__netpoll_is_on()) {
        close(poller.epoll);
        close(poller.breaker);
    }
    poller.lock.word = 0;
    poller.is_broken = false;
    cu__netpoll = (struct cu__netpoll){0};
}
