/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the poller: learns from epoll which descriptors became ready, and wakes who waits for
 * them. Part of looking for work (find_work.c): there is no thread for it.
 */
#ifndef COPPER_RUNTIME_NETPOLL_H
#define COPPER_RUNTIME_NETPOLL_H

#include <copper/time.h>
#include <sys/epoll.h>

#include "base.h"

#define COPPER_POLL_BATCH   64               /* events taken at once */
#define COPPER_ATTEND_NS    (50 * COPPER_US) /* a look so soon after another ... */
#define COPPER_ATTEND_MAX   32u
#define COPPER_ATTEND_LOOKS 2u /* ... so often in turn lets expect more */

/* What one look brought: to be delivered by a worker that has a P. */
struct cu__polled {
    int count;
    struct epoll_event events[COPPER_POLL_BATCH];
};

/* Counters that many change: each has its line. */
struct cu__netpoll {
    uint32_t is_on;                 /* any: atomic; from the first descriptor on */
    uint32_t sources;               /* any: atomic; signals that are delivered through the poller */
    int64_t looked_ns;              /* any: atomic; the last look that did not wait */
    int64_t attended_ns;            /* any: atomic; the last by a worker that had run out of work */
    const void *attended_by;        /* any: atomic; which one that was */
    uint32_t attended_count;        /* any: atomic; how many found something soon after another */
    uint32_t waiting cache_aligned; /* any: atomic; coroutines and threads that wait for I/O */
    uint32_t daemons;               /* any: atomic; of these: daemons, which nobody awaits */
};
extern hidden struct cu__netpoll cu__netpoll;

static inline bool cu__netpoll_is_on(void)
{
    return load_seq(&cu__netpoll.is_on) != 0;
}

/* True while an event of the kernel can make a coroutine ready. */
static inline bool cu__netpoll_is_awaited(void)
{
    return load_relaxed(&cu__netpoll.waiting) != 0 || load_relaxed(&cu__netpoll.sources) != 0;
}

/* A worker ran out of work, and has looked. While that finds something again and again, it attends
 * to the poller. Several may write at once, and one be lost. */
static inline void cu__netpoll_attend(const void *worker, int64_t now_ns, bool has_found)
{
    bool is_soon = now_ns - load_relaxed(&cu__netpoll.attended_ns) < COPPER_ATTEND_NS;
    uint32_t count = load_relaxed(&cu__netpoll.attended_count);
    count = !is_soon || !has_found ? count / 2 : count < COPPER_ATTEND_MAX ? count + 1 : count;
    store_relaxed(&cu__netpoll.attended_count, count);
    store_relaxed(&cu__netpoll.attended_by, worker);
    store_relaxed(&cu__netpoll.attended_ns, now_ns);
}

/* A guess: some worker will look again in a moment, as it did just now and many times before. */
static inline bool cu__netpoll_is_attended(int64_t now_ns)
{
    return load_relaxed(&cu__netpoll.attended_count) >= COPPER_ATTEND_LOOKS &&
           now_ns - load_relaxed(&cu__netpoll.attended_ns) < COPPER_ATTEND_NS;
}

/* True while such an event can change what is being waited for to end (scope.c). */
static inline bool cu__netpoll_can_wake(void)
{
    return load_seq(&cu__netpoll.waiting) != load_seq(&cu__netpoll.daemons);
}

/* Makes the poller; cheap when it is there. 0; -EMFILE, -ENFILE, -ENOMEM, -EBADF: see
 * cu__netpoll_wait. */
int cu__netpoll_start(void);
/* From now on events of fd are told to cu__fd_event(fd, generation, ...). `again`: it may be known
 * already, and its state of now is told in any case. 0; -EPERM: a file that is always ready;
 * -ENOSPC: /proc/sys/fs/epoll/max_user_watches; -ENOMEM; -EBADF. */
int cu__netpoll_watch(int fd, uint32_t generation, bool again);
void cu__netpoll_forget(int fd);
/* The other way to be told: `told` is called, on the scheduler's path, after fd became readable. */
int cu__netpoll_watch_source(int fd, void (*told)(void));

/* Waits for events until deadline_ns, COPPER_NO_DEADLINE or cu__netpoll_break. By the keeper only.
 * If somebody closed the poller's descriptor, everybody who waits gets -EBADF, as does who comes
 * later. */
void cu__netpoll_wait(struct cu__polled *out, int64_t deadline_ns);
void cu__netpoll_break(void);
void cu__netpoll_deliver(const struct cu__polled *polled);
/* Looks without waiting, and delivers. Any thread of ours, best with a P. */
void cu__netpoll_look(void);
/* The same, by workers that are never idle: unless somebody looked a moment ago. */
void cu__netpoll_look_sometimes(int64_t now_ns);

void cu__netpoll_after_fork(void);

#endif
