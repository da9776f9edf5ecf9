/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the life of the worker threads (M): as many as there are P are started all at once with
 * the first coroutine; sysmon adds more when some are stuck, and those that are not needed for long
 * end.
 *
 * Signals: a worker blocks everything that the program might have meant for its own threads. Left
 * open are those by which profilers sample what workers run (SIGPROF, SIGVTALRM where the program has
 * that for itself, SIGURG of perf events), and the synchronous ones, which belong to the instruction
 * that raised them.
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
#include "preempt.h"
#include "procs.h"
#include "registry.h"
#include "replay.h"
#include "report.h"
#include "schedule.h"
#include "service.h"
#include "stack.h"
#include "sysmon.h"
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

bool cu__worker_gate(void)
{
    uint32_t gate;
    while ((gate = load_acquire(&starter.gate)) == GATE_CLOSED) {
        cu__futex_wait(&starter.gate, GATE_CLOSED, COPPER_NO_DEADLINE);
    }
    return gate == GATE_RUN;
}

static void begin(struct cu__m *m)
{
    char name[16];
    snprintf(name, sizeof(name), "copper-%u", m->index);
    pthread_setname_np(pthread_self(), name);
    store_relaxed(&m->tid, (int32_t)syscall(SYS_gettid));
    add_seq(&cu__sched.workers_count, 1);
    m->errno_address = &errno;
    describe_own_stack(m);
    cu__m_set(m);
    cu__preempt_begin(m);
    if (EVENT_ON(WORKER_STARTED)) {
        cu__emit_worker_started(cu_now(), m->tid);
    }
    if (m->p && EVENT_ON(P_STARTED)) {
        cu__emit_p_started(cu_now(), (int)m->p->index, m->tid);
    }
}

/* The last words of a worker; m is somebody else's afterwards. */
static void end(struct cu__m *m)
{
    struct cu__sched *s = &cu__sched;
    if (EVENT_ON(WORKER_STOPPED)) {
        cu__emit_worker_stopped(cu_now(), m->tid);
    }
    cu__m_set(NULL);
    cu__preempt_end(m);
    store_relaxed(&m->tid, 0);
    sub_seq(&s->workers_count, 1);
    cu__lock_take(&s->lock);
    m->next = s->unused_ms;
    s->unused_ms = m;
    store_relaxed(&s->threads, s->threads - 1);
    cu__lock_drop(&s->lock);
}

bool cu_worker_thread_is(int32_t tid)
{
    const struct cu__sched *s = &cu__sched;
    for (uint32_t i = 0, n = load_acquire(&s->ms_used); i < n; i++) {
        if (load_relaxed(&s->ms[i].tid) == tid) {
            return true;
        }
    }
    return false;
}

static void *work(void *arg)
{
    struct cu__m *m = arg;
    if (!cu__worker_gate()) {
        return NULL;
    }
    void *fault_stack = cu__fault_stack_install();
    begin(m);
    for (struct cu__g *g; (g = cu__find_work(m)) != NULL;) {
        cu__run(m, g);
    }
    end(m);
    cu__fault_stack_remove(fault_stack);
    return NULL;
}

/* A control block for one more worker; NULL: there are as many as may be. */
static struct cu__m *take_unused(struct cu__sched *s)
{
    cu__lock_take(&s->lock);
    struct cu__m *m = NULL;
    if (s->threads < s->threads_max) {
        m = s->unused_ms;
        if (m) {
            s->unused_ms = m->next;
        } else {
            m = &s->ms[s->ms_used];
            m->index = s->ms_used;
            store_release(&s->ms_used, s->ms_used + 1);
        }
        store_relaxed(&s->threads, s->threads + 1);
        m->is_starting = true;
        store_seq(&s->starting_count, s->starting_count + 1);
    }
    cu__lock_drop(&s->lock);
    return m;
}

static void give_unused(struct cu__sched *s, struct cu__m *m)
{
    cu__lock_take(&s->lock);
    m->next = s->unused_ms;
    s->unused_ms = m;
    store_relaxed(&s->threads, s->threads - 1);
    m->is_starting = false;
    store_seq(&s->starting_count, s->starting_count - 1);
    cu__lock_drop(&s->lock);
}

static int worker_attributes(pthread_attr_t *attr)
{
    sigset_t mask;
    sigfillset(&mask);
    static const int left_open[] = {SIGPROF, SIGVTALRM, SIGURG,  SIGSEGV, SIGBUS,
                                    SIGFPE,  SIGILL,    SIGTRAP, SIGSYS,  SIGABRT};
    for (size_t i = 0; i < ARRAY_LEN(left_open); i++) {
        sigdelset(&mask, left_open[i]);
    }
    int error = pthread_attr_init(attr);
    if (error == 0) {
        pthread_attr_setsigmask_np(attr, &mask);
    }
    return error;
}

int cu__worker_add(void)
{
    struct cu__sched *s = &cu__sched;
    pthread_attr_t attr;
    int error = worker_attributes(&attr);
    if (error) {
        return -error;
    }
    struct cu__m *m = take_unused(s);
    if (m == NULL) {
        pthread_attr_destroy(&attr);
        return -EAGAIN;
    }
    store_relaxed(&m->p, NULL);
    store_relaxed(&m->wake, 0);
    store_relaxed(&m->inside, 1);
    m->is_spinning = m->must_end = false;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&m->thread, &attr, work, m);
    pthread_attr_destroy(&attr);
    if (error) {
        give_unused(s, m);
    }
    return -error;
}

static int start_threads(struct cu__sched *s)
{
    pthread_attr_t attr;
    uint32_t started = 0;
    int error = worker_attributes(&attr);
    if (error) {
        return -error;
    }
    pthread_sigmask(SIG_SETMASK, NULL, &starter.mask);
    store_seq(&starter.gate, GATE_CLOSED);
    for (; started < s->procs && !error; started++) {
        struct cu__m *m = &s->ms[started];
        m->index = started;
        m->inside = 1;
        m->p = &s->ps[started];
        m->p->owner = (uintptr_t)m;
        error = pthread_create(&m->thread, &attr, work, m);
    }
    started -= error != 0;
    pthread_attr_destroy(&attr);
    s->threads = started;
    store_release(&s->ms_used, started); /* before any of them tells tools of something */
    if (!error) {
        error = -cu__sysmon_start();
    }
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
    uint32_t procs = cu__replay_is_on() ? 1 : cu__procs_wanted();
    s->threads_max = cu__config_threads();
    if (s->threads_max < procs) {
        s->threads_max = procs;
    }
    s->is_handoff_on = cu__config_handoff() && !cu__replay_is_on();
    s->ms = calloc(s->threads_max, sizeof(*s->ms));
    int error = s->ms ? cu__procs_prepare(procs) : -ENOMEM;
    if (error) {
        return error;
    }
    cu__registry_limit(cu__config_coroutines());
    cu__claims_prepare();
    cu__events_start();
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
    cu__sysmon_after_fork();
    cu__procs_after_fork();
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
    cu__procs_lock();
    error = prepare(s);
    if (error == 0) {
        error = start_threads(s);
    }
    if (error) {
        cu__procs_discard();
        cu__events_hold();
        store_relaxed(&s->ms_used, 0);
        free(s->ms);
        s->ms = NULL;
        cu__events_release();
        cu__procs_unlock();
        goto out;
    }
    store_release(&s->is_started, 1);
    cu__procs_unlock();
    cu__watch_start();
out:
    cu__lock_drop(&starter.lock);
    return error;
}

int cu__start(void)
{
    return likely(load_acquire(&cu__sched.is_started)) ? 0 : start_slowly();
}
