/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: copper/signal.h: signals as values of channels.
 *
 * Design: the handler notes the signal in a mask and writes to an eventfd; the poller finds that
 * and has a worker send to the channels, without waiting. No thread and no coroutine is needed for
 * it. A signal that comes twice before it is sent is one bit.
 *
 * Concurrency: notified.lock guards the list and what is installed; it is held while sending, so
 * that nothing is sent after cu_signal_stop. It comes before the lock of a channel.
 *
 * Signal safety: the handler is an atomic or, one write(2), and the program's own handler.
 */
#include "notify.h"

#include <copper/signal.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "chan.h"
#include "deadlock.h"
#include "lock.h"
#include "netpoll.h"

#define SIGNALS 64

/* One channel and what it wants. */
struct wanter {
    struct wanter *next;
    cu_chan *c;
    uint64_t mask; /* bit sig - 1 */
};

static struct {
    struct cu__lock lock;
    struct wanter *first;               /* lock */
    uint64_t installed;                 /* lock; signals that have our handler */
    struct sigaction previous[SIGNALS]; /* lock; read by the handler while installed */
    int event_plus_1;                   /* any: atomic; 0: none */
    uint64_t pending;                   /* any: atomic */
} notified;

static uint64_t bit_of(int sig)
{
    return (uint64_t)1 << (sig - 1);
}

/* Lets the program have its signal, too. */
static void pass_on_sig(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *before = &notified.previous[sig - 1];
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(sig, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(sig);
    }
}

static void note_sig(int sig, siginfo_t *info, void *context)
{
    int saved = errno, event = load_acquire(&notified.event_plus_1) - 1;
    uint64_t one = 1;
    __atomic_fetch_or(&notified.pending, bit_of(sig), __ATOMIC_SEQ_CST);
    if (event >= 0 && write(event, &one, sizeof(one)) < 0) {
        /* full: it is readable in any case */
    }
    errno = saved;
    pass_on_sig(sig, info, context);
}

/* Called with the lock, before the list changes: a signal is for those who wanted it when it came.
 */
static void send_pending(void)
{
    uint64_t pending = __atomic_exchange_n(&notified.pending, 0, __ATOMIC_SEQ_CST);
    for (int sig = 1; sig <= SIGNALS; sig++) {
        for (struct wanter *w = notified.first; w && (pending & bit_of(sig)); w = w->next) {
            if (w->mask & bit_of(sig)) {
                cu_try_send(w->c, &sig); /* no room, or closed: lost */
            }
        }
    }
}

/* On the scheduler's path, after the eventfd was written to. */
static void deliver(void)
{
    cu__lock_take(&notified.lock);
    send_pending();
    cu__lock_drop(&notified.lock);
}

/* ---- installing; called with the lock ---- */

static int install(int sig)
{
    struct sigaction ours = {.sa_sigaction = note_sig,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct sigaction *previous = &notified.previous[sig - 1];
    sigemptyset(&ours.sa_mask);
    if (sigaction(sig, NULL, previous)) {
        return -errno;
    }
    ours.sa_mask = previous->sa_mask; /* the program's handler counts on it */
    return sigaction(sig, &ours, NULL) ? -errno : 0;
}

static void uninstall(int sig)
{
    struct sigaction now;
    if (sigaction(sig, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == note_sig) {
        sigaction(sig, &notified.previous[sig - 1], NULL);
    }
}

/* Installs what somebody wants, takes back what nobody does. */
static int adjust(void)
{
    uint64_t wanted = 0, before = notified.installed;
    int error = 0;
    for (struct wanter *w = notified.first; w; w = w->next) {
        wanted |= w->mask;
    }
    for (int sig = 1; sig <= SIGNALS; sig++) {
        bool is_wanted = wanted & bit_of(sig), is_installed = notified.installed & bit_of(sig);
        if (is_wanted && !is_installed && error == 0) {
            error = install(sig);
            notified.installed |= error ? 0 : bit_of(sig);
        } else if (!is_wanted && is_installed) {
            uninstall(sig);
            notified.installed &= ~bit_of(sig);
        }
    }
    if (!before != !notified.installed) {
        store_seq(&cu__netpoll.sources, notified.installed != 0);
        notified.installed ? cu__deadlock_hold() : cu__deadlock_release();
    }
    return error;
}

static struct wanter *find(const cu_chan *c)
{
    struct wanter *w = notified.first;
    while (w && w->c != c) {
        w = w->next;
    }
    return w;
}

/* Takes those out who want nothing; returns them, for `release` without the lock. */
static struct wanter *sift(void)
{
    struct wanter *out = NULL;
    for (struct wanter **link = &notified.first; *link;) {
        struct wanter *w = *link;
        if (w->mask == 0) {
            *link = w->next;
            w->next = out;
            out = w;
        } else {
            link = &w->next;
        }
    }
    return out;
}

static int make_event(void)
{
    if (notified.event_plus_1) {
        return 0;
    }
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) {
        return -errno;
    }
    int error = cu__netpoll_watch_source(event, deliver);
    if (error) {
        close(event);
        return error;
    }
    store_release(&notified.event_plus_1, event + 1);
    return 0;
}

/* ---- the calls ---- */

static void release(struct wanter *w)
{
    for (struct wanter *next; w; w = next) {
        next = w->next;
        cu_chan_unref(w->c);
        free(w);
    }
}

static bool can_be_had(int sig)
{
    static const int not [] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < ARRAY_LEN(not ); i++) {
        if (sig == not [i]) {
            return false;
        }
    }
    /* what lies between belongs to the C library */
    return sig >= 1 && sig <= SIGNALS && (sig < 32 || sig >= SIGRTMIN);
}

static int mask_of(const int *signals, size_t count, uint64_t *mask)
{
    *mask = 0;
    for (size_t i = 0; i < count; i++) {
        if (!can_be_had(signals[i])) {
            return -EINVAL;
        }
        *mask |= bit_of(signals[i]);
    }
    return 0;
}

int cu_signal_notify(cu_chan *c, const int *signals, size_t count)
{
    uint64_t mask;
    int error = c ? mask_of(signals, count, &mask) : -EINVAL;
    if (error || mask == 0 || cu__chan_value_size(c) != sizeof(int)) {
        return -EINVAL;
    }
    struct wanter *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL) {
        return -ENOMEM;
    }
    cu__lock_take(&notified.lock);
    send_pending();
    error = make_event();
    if (error == 0) {
        struct wanter *w = find(c);
        if (w == NULL) {
            w = fresh;
            *w = (struct wanter){notified.first, cu_chan_ref(c), 0};
            notified.first = w;
            fresh = NULL;
        }
        uint64_t before = w->mask;
        w->mask |= mask;
        error = adjust();
        if (error) {
            w->mask = before;
            adjust();
        }
    }
    struct wanter *out = sift();
    cu__lock_drop(&notified.lock);
    release(out);
    free(fresh);
    return error;
}

static void take_back(const cu_chan *c, uint64_t mask)
{
    cu__lock_take(&notified.lock);
    send_pending();
    for (struct wanter *w = notified.first; w; w = w->next) {
        if (c == NULL || w->c == c) {
            w->mask &= ~mask;
        }
    }
    adjust();
    struct wanter *out = sift();
    cu__lock_drop(&notified.lock);
    release(out);
}

void cu_signal_stop(cu_chan *c)
{
    if (c) {
        take_back(c, UINT64_MAX);
    }
}

int cu_signal_reset(const int *signals, size_t count)
{
    uint64_t mask = UINT64_MAX;
    int error = count ? mask_of(signals, count, &mask) : 0;
    if (error == 0) {
        take_back(NULL, mask);
    }
    return error;
}

/* The list's memory and the channels stay where they are: the child is to do as little as it can.
 */
void cu__notify_after_fork(void)
{
    for (int sig = 1; sig <= SIGNALS; sig++) {
        if (notified.installed & bit_of(sig)) {
            uninstall(sig);
        }
    }
    if (notified.event_plus_1) {
        close(notified.event_plus_1 - 1);
    }
    notified.event_plus_1 = 0;
    notified.installed = notified.pending = 0;
    notified.first = NULL;
    notified.lock.word = 0;
}
