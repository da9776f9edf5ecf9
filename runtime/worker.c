/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the life of the worker threads (M): started all at once with the first coroutine, as
 * many as there are P; each then runs the loop below until the process ends.
 *
 * Signals: a worker blocks everything that the program might have meant for its own threads. Left
 * open are SIGPROF, by which profilers sample what workers run, and the synchronous ones, which
 * belong to the instruction that raised them.
 *
 * fork: the child has one thread and none of the coroutines. Everything here starts afresh with its
 * next coroutine.
 */
#include "worker.h"

#include <copper/go.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch.h"
#include "barrier.h"
#include "clock.h"
#include "cycles.h"
#include "deadlock.h"
#include "events.h"
#include "fd.h"
#include "futex.h"
#include "netpoll.h"
#include "notify.h"
#include "registry.h"
#include "replay.h"
#include "report.h"
#include "schedule.h"
#include "service.h"
#include "stack.h"
#include "tls.h"
#include "watch.h"

static struct {
    struct cu__lock lock; /* held while starting */
    uint32_t gate;        /* any: atomic; workers wait on it until the outcome is known */
    bool is_atfork_set;   /* lock */
    sigset_t mask;        /* lock; of the thread that started the workers */
} starter;

enum { GATE_CLOSED = 0, GATE_RUN = 1, GATE_GIVE_UP = 2 };

static void describe_own_stack(struct cu__m *m)
{
    if (COPPER_WITH_ASAN || cu__valgrind_is_here()) {
        pthread_attr_t attr;
        void *lo = NULL;
        size_t size = 0;
        if (pthread_getattr_np(pthread_self(), &attr) == 0) {
            pthread_attr_getstack(&attr, &lo, &size);
            pthread_attr_destroy(&attr);
        }
        cu__valgrind_stack(lo, (const char *)lo + size);
#if COPPER_WITH_ASAN
        m->context.stack_lo = lo;
        m->context.stack_size = size;
#endif
    }
#if COPPER_WITH_TSAN
    m->context.fiber = __tsan_get_current_fiber();
#endif
    (void)m;
}

static void *work(void *arg)
{
    struct cu__m *m = arg;
    char name[16];
    uint32_t gate;
    while ((gate = load_acquire(&starter.gate)) == GATE_CLOSED) {
        cu__futex_wait(&starter.gate, GATE_CLOSED, COPPER_NO_DEADLINE);
    }
    if (gate == GATE_GIVE_UP) {
        return NULL;
    }
    snprintf(name, sizeof(name), "copper-%u", m->index);
    pthread_setname_np(pthread_self(), name);
    store_relaxed(&m->tid, (int32_t)syscall(SYS_gettid));
    m->errno_address = &errno;
    describe_own_stack(m);
    cu__fault_stack_install();
    cu__m_set(m);
    add_seq(&cu__sched.threads, 1);
    if (EVENT_ON(WORKER_STARTED)) {
        cu__emit_worker_started(m->tid);
    }
    if (EVENT_ON(P_STARTED)) {
        cu__emit_p_started((int)m->p->index, m->tid);
    }
    for (;;) {
        cu__run(m, cu__find_work(m));
    }
    return NULL;
}

static int start_threads(struct cu__sched *s)
{
    pthread_attr_t attr;
    sigset_t mask;
    uint32_t started = 0;
    sigfillset(&mask);
    static const int left_open[] = {SIGPROF, SIGSEGV, SIGBUS, SIGFPE,
                                    SIGILL,  SIGTRAP, SIGSYS, SIGABRT};
    for (size_t i = 0; i < ARRAY_LEN(left_open); i++) {
        sigdelset(&mask, left_open[i]);
    }
    int error = pthread_attr_init(&attr);
    if (error) {
        return -error;
    }
    pthread_attr_setsigmask_np(&attr, &mask);
    pthread_sigmask(SIG_SETMASK, NULL, &starter.mask);
    store_seq(&starter.gate, GATE_CLOSED);
    for (; started < s->procs && !error; started++) {
        struct cu__m *m = &s->ms[started];
        m->index = started;
        m->p = &s->ps[started];
        m->p->owner = m;
        error = pthread_create(&m->thread, &attr, work, m);
    }
    started -= error != 0;
    pthread_attr_destroy(&attr);
    store_seq(&starter.gate, error ? GATE_GIVE_UP : GATE_RUN);
    cu__futex_wake(&starter.gate, INT32_MAX);
    for (uint32_t i = 0; i < started; i++) {
        if (error) {
            pthread_join(s->ms[i].thread, NULL);
        } else {
            pthread_detach(s->ms[i].thread);
        }
    }
    return -error;
}

static int prepare(struct cu__sched *s)
{
    cu__replay_configure();
    s->procs = cu__replay_is_on() ? 1 : cu__config_procs();
    s->ps = aligned_alloc(64, s->procs * sizeof(*s->ps));
    s->ms = calloc(s->procs, sizeof(*s->ms));
    if (s->ps == NULL || s->ms == NULL) {
        return -ENOMEM;
    }
    memset(s->ps, 0, s->procs * sizeof(*s->ps));
    for (uint32_t i = 0; i < s->procs; i++) {
        s->ps[i].index = i;
        s->ps[i].random = 0x9E3779B97F4A7C15u * (i + 1) ^ cu__replay.random;
        s->ps[i].timers.next_ns = COPPER_NO_WAKE;
    }
    cu__registry_limit(cu__config_coroutines());
    cu__claims_prepare();
    return 0;
}

/* The child: no worker, no coroutine, every lock free. What the parent's coroutines had is left
 * where it is: the child may be running on one of their stacks. */
static void after_fork(void)
{
    memset(&cu__sched, 0, sizeof(cu__sched));
    starter.lock.word = 0;
    if (cu__m()) {
        /* no worker any more, and what it may exec must not be deaf */
        pthread_sigmask(SIG_SETMASK, &starter.mask, NULL);
        cu__m_set(NULL);
    }
    cu__lock_after_fork();
    cu__registry_after_fork();
    cu__stack_after_fork();
    cu__events_after_fork();
    cu__scope_after_fork();
    cu__inspect_after_fork();
    cu__service_after_fork();
    cu__watch_after_fork();
    cu__deadlock_after_fork();
    cu__netpoll_after_fork();
    cu__notify_after_fork();
    cu__fd_after_fork();
}

static noinline int start_slowly(void)
{
    struct cu__sched *s = &cu__sched;
    int error = 0;
    cu__lock_take(&starter.lock);
    if (load_acquire(&s->is_started)) {
        goto out;
    }
    if (!starter.is_atfork_set) {
        error = -pthread_atfork(NULL, NULL, after_fork);
        if (error) {
            goto out;
        }
        starter.is_atfork_set = true;
        cu__stack_configure();
        cu__fault_install();
    }
    error = prepare(s);
    if (error == 0) {
        error = start_threads(s);
    }
    if (error) {
        free(s->ps);
        free(s->ms);
        s->ps = NULL;
        s->ms = NULL;
        goto out;
    }
    store_release(&s->is_started, 1);
    cu__watch_start();
out:
    cu__lock_drop(&starter.lock);
    return error;
}

int cu__start(void)
{
    return likely(load_acquire(&cu__sched.is_started)) ? 0 : start_slowly();
}

int cu_maxprocs(void)
{
    return load_acquire(&cu__sched.is_started) ? (int)cu__sched.procs : (int)cu__config_procs();
}
