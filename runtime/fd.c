/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see fd.h.
 *
 * Design: a record for each number, in chunks that stay for ever, so that an event that comes late
 * or a waker that is slow never meets freed memory. A call that finds its data at once touches one
 * word of it: it counts itself in `inside` and out again. The lock is for waiting only.
 *
 * A call under way keeps its number: cu_close marks the record CLOSING, which nobody enters any
 * more, and wakes who waits; the last one out closes. So a number is never given to a new file
 * while a call means the old one. The generation, which events carry, does the same for events.
 *
 * While close(2) runs (FINISHING), the kernel takes the number back, at a moment that nobody is
 * told, and may give it away again. Who makes a descriptor of ours then takes the record over, with
 * a new generation. A call cannot know whether it means the old file or a next one that is foreign:
 * it waits until close(2) has returned, and asks the kernel.
 *
 * No event is lost:
 *
 *        a call                             the poller
 *     1. clears `ready`                  1. learns that the kernel saw a change
 *     2. tries: EAGAIN                   2. takes the lock
 *     3. takes the lock                  3. somebody waits: takes all of them out
 *     4. `ready` is set: to 1.              else: sets `ready`
 *        else: waits in the list
 *
 * A change before the call's second step is seen by the attempt itself. One after it is told, and
 * by the lock it is told either before the fourth step, which then sees `ready`, or to the list.
 * All that wait are woken, because one change may be news for several of them, and each tries
 * again.
 *
 * Descriptors that are ours are told to the poller once. Foreign ones are told at each wait: their
 * number may mean another file since the last one, and the poller answers with the state of now.
 *
 * Concurrency: lock order: a descriptor's lock is taken like a channel's; none inside another.
 */
#include "fd.h"

#include <copper/blocking.h>
#include <copper/io.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "deadlock.h"
#include "netpoll.h"
#include "schedule.h"
#include "tls.h"

#define CHUNK  256u
#define CHUNKS 16384u /* 4 million numbers */

#define CLOSING   (1u << 31) /* in cu__fd.inside: nobody enters any more */
#define FINISHING (1u << 30) /* ... and somebody is in close(2) */

static struct cu__fd *chunks[CHUNKS]; /* any: atomic */

static struct cu__fd *find(int fd)
{
    if (fd < 0 || (uint32_t)fd >= CHUNK * CHUNKS) {
        return NULL;
    }
    struct cu__fd *chunk = load_acquire(&chunks[(uint32_t)fd / CHUNK]);
    return chunk ? &chunk[(uint32_t)fd % CHUNK] : NULL;
}

static noinline struct cu__fd *make(int fd, int *error)
{
    if (fd < 0 || (uint32_t)fd >= CHUNK * CHUNKS) {
        *error = -EBADF;
        return NULL;
    }
    struct cu__fd **place = &chunks[(uint32_t)fd / CHUNK], *none = NULL;
    struct cu__fd *chunk = calloc(CHUNK, sizeof(*chunk));
    if (chunk == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < CHUNK; i++) {
        chunk[i].number = (int)((uint32_t)fd / CHUNK * CHUNK + i);
    }
    if (!cas_seq(place, &none, chunk)) {
        free(chunk);
    }
    return find(fd);
}

static struct cu__fd *find_or_make(int fd, int *error)
{
    struct cu__fd *f = find(fd);
    return likely(f != NULL) ? f : make(fd, error);
}

/* ---- waking ---- */

/* Takes everybody out of a list; adds them to a chain that starts at *end. Called with the lock. */
static struct cu__waiter **take_all(struct cu__waiters *list, int result, struct cu__waiter **end)
{
    struct cu__waiter *w;
    while ((w = cu__waiters_pop(list))) {
        w->result = result;
        *end = w;
        end = &w->next;
    }
    *end = NULL;
    return end;
}

/* The same, with all who wait for the descriptor, in either direction. */
static struct cu__waiter **take_both(struct cu__fd *f, int result, struct cu__waiter **end)
{
    return take_all(&f->waiters[CU__FD_WRITE], result,
                    take_all(&f->waiters[CU__FD_READ], result, end));
}

static void wake_chain(struct cu__waiter *w)
{
    for (struct cu__waiter *next; w; w = next) {
        next = w->next;
        cu__wake(w);
    }
}

static void wake_all(struct cu__fd *f, int result)
{
    struct cu__waiter *chain;
    cu__lock_take(&f->lock);
    take_both(f, result, &chain);
    cu__lock_drop(&f->lock);
    wake_chain(chain);
}

void cu__fd_event(int fd, uint32_t generation, uint32_t events)
{
    struct cu__fd *f = find(fd);
    struct cu__waiter *chain = NULL, **end = &chain;
    bool is_due[2] = {(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
                      (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0};
    cu__lock_take(&f->lock);
    for (enum cu__fd_way way = CU__FD_READ; way <= CU__FD_WRITE; way++) {
        if (!is_due[way] || f->generation != generation) {
            continue;
        }
        if (f->waiters[way].first) {
            end = take_all(&f->waiters[way], 0, end);
        } else {
            __atomic_fetch_or(&f->ready, 1u << way, __ATOMIC_RELAXED);
        }
    }
    cu__lock_drop(&f->lock);
    wake_chain(chain);
}

static void for_each(void (*what)(struct cu__fd *f))
{
    for (uint32_t i = 0; i < CHUNKS; i++) {
        struct cu__fd *chunk = load_acquire(&chunks[i]);
        for (uint32_t j = 0; chunk && j < CHUNK; j++) {
            what(&chunk[j]);
        }
    }
}

static void expel(struct cu__fd *f)
{
    wake_all(f, -EBADF);
}

void cu__fd_expel_all(void)
{
    for_each(expel);
}

/* ---- calls ---- */

/* Waits in the list of those whom cu_close concerns; the lock is held, and given back. */
static int wait_among(struct cu__waiters *list, struct cu__fd *f)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {.reason = COPPER_WAIT_IO_WAIT, .kind = COPPER_OBJECT_FD, .object = f};
    cu__waiters_add(list, self);
    return cu__wait(self, &why, &f->lock);
}

static noinline void wait_for_close(struct cu__fd *f)
{
    cu__lock_take(&f->lock);
    if (load_relaxed(&f->inside) & FINISHING) {
        wait_among(&f->late, f);
    } else {
        cu__lock_drop(&f->lock);
    }
}

/* Counts itself in, unless the descriptor is being closed. */
static bool enter(struct cu__fd *f)
{
    for (;;) {
        uint32_t word = __atomic_fetch_add(&f->inside, 1, __ATOMIC_ACQUIRE);
        if (likely(!(word & CLOSING))) {
            return true;
        }
        cu__fd_leave(f);
        if (!(word & FINISHING)) {
            return false;
        }
        wait_for_close(f);
    }
}

struct cu__fd *cu__fd_enter(int fd, int *error)
{
    struct cu__fd *f = find_or_make(fd, error);
    if (f && unlikely(!enter(f))) {
        *error = -EBADF;
        return NULL;
    }
    return f;
}

/* Forgets what was known of the descriptor. Called with the lock. True: the poller knew it. */
static bool reset(struct cu__fd *f, enum cu__fd_kind kind)
{
    bool was_watched = load_relaxed(&f->is_watched);
    f->generation++;
    store_relaxed(&f->kind, (uint8_t)kind);
    store_relaxed(&f->is_watched, false);
    store_relaxed(&f->ready, 0);
    store_relaxed(&f->deadlines_ns[CU__FD_READ], 0);
    store_relaxed(&f->deadlines_ns[CU__FD_WRITE], 0);
    return was_watched;
}

/* The record is another file's, or nobody's: who came late tries anew. Called with the lock; adds
 * them to a chain that starts at *end. */
static void reopen(struct cu__fd *f, struct cu__waiter **end)
{
    __atomic_fetch_and(&f->inside, ~(CLOSING | FINISHING), __ATOMIC_RELEASE);
    take_all(&f->late, 0, end);
}

/* Closes; nobody is inside, and nobody comes in before close(2) is over or the number's next file
 * is ours. */
static noinline int finish(struct cu__fd *f)
{
    struct cu__waiter *late = NULL;
    cu__lock_take(&f->lock);
    struct cu__waiter *closer = cu__waiters_pop(&f->closers);
    bool was_watched = reset(f, CU__FD_FOREIGN);
    uint32_t generation = f->generation;
    cu__lock_drop(&f->lock);
    if (was_watched) {
        cu__netpoll_forget(f->number);
    }
    cu_syscall_enter();
    int result = close(f->number) == 0 || errno == EINTR ? 0 : -errno;
    cu_syscall_exit();
    cu__lock_take(&f->lock);
    if (f->generation == generation) {
        reopen(f, &late);
    }
    cu__lock_drop(&f->lock);
    wake_chain(late);
    if (closer) {
        closer->result = result;
        cu__wake(closer);
    }
    return result;
}

/* One of those who find nobody else inside of a closing descriptor. */
static bool may_finish(struct cu__fd *f)
{
    uint32_t word = CLOSING;
    return cas_seq(&f->inside, &word, CLOSING | FINISHING);
}

void cu__fd_leave(struct cu__fd *f)
{
    if (unlikely(__atomic_sub_fetch(&f->inside, 1, __ATOMIC_ACQ_REL) == CLOSING) && may_finish(f)) {
        finish(f);
    }
}

/* The poller is told of the descriptor. */
static int watch(struct cu__fd *f)
{
    bool is_known = load_relaxed(&f->is_watched);
    if (is_known && load_relaxed(&f->kind) != CU__FD_FOREIGN) {
        return cu__netpoll_start(); /* it is there, if it is not broken */
    }
    int error = cu__netpoll_watch(f->number, load_relaxed(&f->generation), is_known);
    store_relaxed(&f->is_watched, error == 0);
    return error;
}

int cu__fd_attempt(struct cu__fd *f, enum cu__fd_way way)
{
    int64_t deadline_ns = load_relaxed(&f->deadlines_ns[way]);
    if (unlikely(deadline_ns != 0) && cu_now() >= deadline_ns) {
        return -ETIMEDOUT;
    }
    if (load_relaxed(&f->ready) & 1u << way) {
        __atomic_fetch_and(&f->ready, ~(1u << way), __ATOMIC_SEQ_CST);
    }
    return 0;
}

static int64_t earlier(int64_t a_ns, int64_t b_ns)
{
    return a_ns == 0 || (b_ns != 0 && b_ns < a_ns) ? b_ns : a_ns;
}

/* Waits in the list; the lock is held, and given back. */
static int wait_in(struct cu__fd *f, enum cu__fd_way way, const struct cu__until *until)
{
    struct cu__waiter thread_one, *self = cu__waiter_init(&thread_one, NULL);
    struct cu__wait why = {.reason = COPPER_WAIT_IO_WAIT, .kind = COPPER_OBJECT_FD, .object = f};
    bool is_daemon = self->g && self->g->is_daemon;
    why.deadline_ns = earlier(until->deadline_ns, load_relaxed(&f->deadlines_ns[way]));
    add_seq(&cu__netpoll.waiting, 1);
    if (is_daemon) {
        add_seq(&cu__netpoll.daemons, 1);
    }
    if (self->g == NULL) {
        cu__deadlock_hold(); /* it will wake, and may wake others then */
    }
    cu__waiters_add(&f->waiters[way], self);
    int result = cu__wait_ctx(self, &why, &f->lock, &f->waiters[way], until->ctx);
    if (self->g == NULL) {
        cu__deadlock_release();
    }
    if (is_daemon) {
        sub_seq(&cu__netpoll.daemons, 1);
    }
    sub_seq(&cu__netpoll.waiting, 1);
    return result;
}

int cu__fd_wait(struct cu__fd *f, enum cu__fd_way way, const struct cu__until *until)
{
    int error = watch(f);
    if (unlikely(error)) {
        return error;
    }
    cu__lock_take(&f->lock);
    bool is_closing = load_relaxed(&f->inside) & CLOSING;
    bool is_ready = load_relaxed(&f->ready) & 1u << way;
    if (is_closing || is_ready) {
        __atomic_fetch_and(&f->ready, ~(1u << way), __ATOMIC_RELAXED);
        cu__lock_drop(&f->lock);
        return is_closing ? -EBADF : 0;
    }
    return wait_in(f, way, until);
}

/* ---- ownership, deadlines, closing ---- */

int cu__fd_own(int fd, enum cu__fd_kind kind)
{
    int error = 0;
    struct cu__fd *f = find_or_make(fd, &error);
    if (f) {
        struct cu__waiter *chain;
        cu__lock_take(&f->lock);
        /* who waits for a file that was closed behind our back */
        struct cu__waiter **end = take_both(f, -EBADF, &chain);
        reset(f, kind);
        if (load_relaxed(&f->inside) & FINISHING) {
            reopen(f, end);
        }
        cu__lock_drop(&f->lock);
        wake_chain(chain);
    }
    return error;
}

int cu_fd_deadline(int fd, int directions, int64_t deadline_ns)
{
    int error = 0;
    if (directions & ~(COPPER_READ | COPPER_WRITE) || directions == 0 || deadline_ns < 0) {
        return -EINVAL;
    }
    struct cu__fd *f = cu__fd_enter(fd, &error);
    if (f == NULL) {
        return error;
    }
    error = watch(f);
    if (error == 0) {
        struct cu__waiter *chain = NULL, **end = &chain;
        cu__lock_take(&f->lock);
        for (enum cu__fd_way way = CU__FD_READ; way <= CU__FD_WRITE; way++) {
            if (directions & (way == CU__FD_READ ? COPPER_READ : COPPER_WRITE)) {
                store_relaxed(&f->deadlines_ns[way], deadline_ns);
                /* each looks anew until when it may wait */
                end = take_all(&f->waiters[way], 0, end);
            }
        }
        cu__lock_drop(&f->lock);
        wake_chain(chain);
    }
    cu__fd_leave(f);
    return error;
}

int cu_close(int fd)
{
    int error = 0;
    struct cu__fd *f = cu__fd_enter(fd, &error);
    if (f == NULL) {
        return error == -ENOMEM && close(fd) ? -errno : error;
    }
    if (__atomic_fetch_or(&f->inside, CLOSING, __ATOMIC_SEQ_CST) & CLOSING) {
        cu__fd_leave(f);
        return -EBADF;
    }
    wake_all(f, -EBADF);
    cu__lock_take(&f->lock);
    bool is_last = sub_seq(&f->inside, 1) == (CLOSING | 1) && may_finish(f);
    if (is_last || load_seq(&f->blocking)) {
        cu__lock_drop(&f->lock);
        return is_last ? finish(f) : 0;
    }
    /* who was woken is on its way out */
    return wait_among(&f->closers, f);
}

/* The child has none of the calls that were under way. */
static void start_afresh(struct cu__fd *f)
{
    uint32_t word = load_relaxed(&f->inside);
    if ((word & CLOSING) && !(word & FINISHING)) {
        close(f->number);
        store_relaxed(&f->kind, CU__FD_FOREIGN);
    }
    f->lock.word = 0;
    f->inside = f->blocking = 0;
    memset(f->waiters, 0, sizeof(f->waiters));
    memset(&f->closers, 0, sizeof(f->closers));
    memset(&f->late, 0, sizeof(f->late));
    reset(f, f->kind);
}

void cu__fd_after_fork(void)
{
    for_each(start_afresh);
}
