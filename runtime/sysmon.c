/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: sees to it that a P does not stay with a thread that makes no use of it, or too much.
 *
 * Design: a thread that looks at every P, each 20 us at first, and the longer there is nothing to
 * do the more rarely, down to each 4 ms; when all P have been idle for some looks it sleeps until
 * one is taken. A P whose tick moved since the last look is well. Otherwise the same coroutine is
 * still running there, and if something waits for a P:
 *
 *   in an announced system call            its P is taken
 *   its thread sleeps (state S or D) at    a blocking call that nobody announced: taken
 *     two looks and used no CPU between
 *   its thread used SLICE_NS of CPU        a hog: asked to give way (preempt.h), and taken
 *   its thread is runnable, used no CPU    starved by the kernel: left alone, and counted. More
 *                                          threads would only make it worse
 *
 * Times are the thread's own CPU clock: on a loaded machine wall time says nothing. All threads
 * beyond the first ones are made here, because making one takes a while, locks and stack, and must
 * not happen on some coroutine's path.
 *
 * Invariants: a P is taken only when somebody can run it at once (cu__has_heir), or when there are
 * to be fewer P.
 */
#include "sysmon.h"

#include <copper/inspect.h>
#include <copper/time.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "barrier.h"
#include "events.h"
#include "futex.h"
#include "netpoll.h"
#include "ownership.h"
#include "preempt.h"
#include "report.h"
#include "runq.h"
#include "schedule.h"
#include "supply.h"
#include "worker.h"

#define DELAY_MIN_NS (20 * COPPER_US)
#define DELAY_MAX_NS (4 * COPPER_MS)
#define BRISK_LOOKS  50u             /* so many without an event before the looks become rarer */
#define IDLE_LOOKS   20u             /* so many with all P idle before it sleeps */
#define CLOCK_GAP_NS (1 * COPPER_MS) /* between looks at a thread's clock and state */
#define SLICE_NS     (10 * COPPER_MS)
#define LATE_NS      (200 * COPPER_US) /* a timer so late has nobody who looks at it */

#define POLL_LATE_NS (2 * COPPER_MS) /* the same for the poller */

uint32_t cu__sysmon_sleeps;

/* What was seen of a P. */
struct view {
    struct cu__m *m;
    uint32_t tick, syscalls;
    int64_t since_ns;      /* when this coroutine was first seen */
    int64_t first_cpu_ns;  /* its thread's CPU clock then */
    int64_t looked_ns;     /* when the clock was last read */
    int64_t looked_cpu_ns; /* and what it was */
    uint32_t asleep_looks;
};

enum wish { WANTS_THREAD = 1, WANTS_HEIR = 2 };

static struct {
    uint32_t wake;   /* any: atomic; it sleeps on this word */
    uint32_t wishes; /* any: atomic; bits of enum wish */
    bool has_reported_cap, has_reported_hog, has_reported_clone;
    bool is_refused; /* a thread is wanted that could not be had */
    uint32_t quiet_looks, idle_looks;
    struct view views[COPPER_PROCS_MAX];
} sysmon;

void cu__sysmon_wake(void)
{
    if (__atomic_exchange_n(&sysmon.wake, 1, __ATOMIC_ACQ_REL) == 0) {
        cu__futex_wake(&sysmon.wake, 1);
    }
}

static void wish_for(enum wish wish)
{
    if (!(load_relaxed(&sysmon.wishes) & wish) &&
        !(__atomic_fetch_or(&sysmon.wishes, wish, __ATOMIC_SEQ_CST) & wish)) {
        cu__sysmon_wake();
    }
}

void cu__sysmon_want_thread(void)
{
    wish_for(WANTS_THREAD);
}

void cu__sysmon_want_heir(void)
{
    wish_for(WANTS_HEIR);
}

/* ---- what a thread is doing ---- */

static int64_t cpu_clock(const struct cu__m *m)
{
    /* the clock of another thread, as pthread_getcpuclockid makes it from the kernel's number */
    clockid_t id = (clockid_t)((~(unsigned)load_relaxed(&m->tid) << 3) | 6u);
    struct timespec t;
    return clock_gettime(id, &t) == 0 ? t.tv_sec * COPPER_SEC + t.tv_nsec : 0;
}

/* The state letter of /proc: R, S, D, ...; R when it cannot be read. */
static char thread_state(const struct cu__m *m)
{
    char path[48], text[128];
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", load_relaxed(&m->tid));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 'R';
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *end = strrchr(text, ')'); /* the name may hold anything */
    return end && end[1] == ' ' ? end[2] : 'R';
}

/* ---- threads ---- */

/* There may be no more threads: says who keeps one, `m` or another. */
static void report_cap(const struct cu__m *m, const char *does)
{
    struct cu__sched *s = &cu__sched;
    const struct cu__g *g = m ? load_relaxed(&m->g) : NULL;
    for (uint32_t i = 0; i < load_acquire(&s->ms_used) && g == NULL; i++) {
        g = load_relaxed(&s->ms[i].g);
    }
    if (g && !sysmon.has_reported_cap) {
        sysmon.has_reported_cap = true;
        cu__complain_of(g,
                        "%s while others wait, and there may be no more than %u threads; "
                        "see COPPER_MAXTHREADS",
                        does, s->threads_max);
    }
}

/* One is wanted because m (NULL: any of them) keeps its thread, as `does` says. */
static bool add_thread(const struct cu__m *m, const char *does)
{
    if (load_seq(&cu__sched.starting_count)) {
        return true; /* it is on its way */
    }
    int error = cu__worker_add();
    if (error == 0) {
        sysmon.is_refused = false;
        return true;
    }
    bump(&cu__sched.supply.refused, !sysmon.is_refused); /* not each attempt */
    sysmon.is_refused = true;
    if (error == -EAGAIN && load_relaxed(&cu__sched.threads) >= cu__sched.threads_max) {
        report_cap(m, does);
    } else if (!sysmon.has_reported_clone) {
        sysmon.has_reported_clone = true;
        cu__complain("cannot start another thread: %s; trying on", strerrordesc_np(-error));
    }
    return false;
}

static void grant(enum wish wish)
{
    __atomic_fetch_and(&sysmon.wishes, ~(uint32_t)wish, __ATOMIC_SEQ_CST);
}

/* True: something was done. */
static bool serve_wishes(int64_t now_ns)
{
    struct cu__sched *s = &cu__sched;
    uint32_t wishes = load_seq(&sysmon.wishes);
    bool has_done = false;
    if (wishes & WANTS_HEIR) {
        grant(WANTS_HEIR); /* also where it fails: who still wants it asks again */
        has_done = load_seq(&s->idle_ms_count) || !cu__work_waits(now_ns) ||
                   add_thread(NULL, "computes on or blocks its thread");
    }
    if (wishes & WANTS_THREAD) {
        bool is_needed =
            load_seq(&s->idle_count) && !load_seq(&s->idle_ms_count) && cu__somebody_is_needed();
        if (is_needed && !add_thread(NULL, "computes on or blocks its thread")) {
            return has_done; /* again at the next look */
        }
        sysmon.is_refused = false;
        grant(WANTS_THREAD);
        cu__see_to_work();
        has_done = true;
    }
    return has_done;
}

/* ---- taking a P ---- */

static void name_hog(const struct cu__m *m)
{
    const struct cu__g *g = load_relaxed(&m->g);
    if (g && !sysmon.has_reported_hog) {
        sysmon.has_reported_hog = true;
        cu__complain_of(g, "computes on while others wait, and its P cannot be taken: this kernel "
                           "has no membarrier");
    }
}

/* p, which coroutine g had on m, is ours. Books what it had of it. */
static void settle(struct cu__p *p, struct cu__m *m, cu_id g, enum cu_handoff_cause cause,
                   int64_t now_ns)
{
    add_relaxed(&cu__sched.supply.handoffs[cause], 1);
    cu__p_stops(p, now_ns);
    p->handed_ns = now_ns;
    if (EVENT_ON(HANDOFF)) {
        cu__emit_handoff(cu_now(), (int)p->index, g, load_relaxed(&m->tid), cause);
    }
}

/* True: something was done. */
static bool take(struct cu__p *p, struct view *v, enum cu_handoff_cause cause, int64_t now_ns)
{
    struct cu__m *m = v->m;
    if (cause != COPPER_HANDOFF_SYSCALL) {
        cu__preempt_ask(m,
                        v->tick); /* coming back from an announced call is a question of its own */
    }
    if (!cu__handoff_is_on()) {
        return false;
    }
    if (!cu__p_is_surplus(p) && !cu__has_heir()) { /* one more will be one at the next look */
        return add_thread(m, cause == COPPER_HANDOFF_HOG ? "computes on" : "blocks its thread");
    }
    sysmon.is_refused = false;
    if (!cu__own_apply(p, CU__OWN_MARK, m)) {
        return false;
    }
    bool has_barrier = cu__barrier_everywhere();
    if (!has_barrier || load_acquire(&m->inside) || load_relaxed(&p->tick) != v->tick) {
        cu__own_apply(p, CU__OWN_ABORT, m);
        if (!has_barrier && cause == COPPER_HANDOFF_HOG) {
            name_hog(m);
        }
        return has_barrier;
    }
    /* before it can find out and go on to another one */
    struct cu__g *g = load_relaxed(&m->g);
    cu_id id = g ? load_relaxed(&g->id) : 0;
    add_seq(&cu__sched.detached_count, 1);
    if (!cu__own_apply(p, CU__OWN_COMMIT, m)) {
        sub_seq(&cu__sched.detached_count, 1); /* it came back in the last moment */
        return true;
    }
    settle(p, m, id, cause, now_ns);
    v->m = NULL;
    cu__p_hand_on(p);
    return true;
}

static bool somebody_waits(int64_t now_ns)
{
    struct cu__sched *s = &cu__sched;
    return load_seq(&s->idle_count) == 0 &&
           (load_seq(&s->give_way) || cu__work_waits(now_ns - LATE_NS));
}

static bool is_wanted(const struct cu__p *p, int64_t now_ns)
{
    return cu__p_is_surplus(p) || somebody_waits(now_ns);
}

/* The same coroutine as before runs on p, in no announced call. Looks at its thread. */
static bool judge(struct cu__p *p, struct view *v, int64_t now_ns)
{
    int64_t cpu_ns = cpu_clock(v->m), moved_ns = cpu_ns - v->looked_cpu_ns;
    int64_t passed_ns = now_ns - v->looked_ns;
    v->looked_ns = now_ns;
    v->looked_cpu_ns = cpu_ns;
    if (!is_wanted(p, now_ns)) {
        v->asleep_looks = 0;
        return false;
    }
    if (cpu_ns - v->first_cpu_ns >= SLICE_NS) {
        return take(p, v, COPPER_HANDOFF_HOG, now_ns);
    }
    if (moved_ns * 4 >= passed_ns) {
        v->asleep_looks = 0;
        return false;
    }
    char state = thread_state(v->m);
    if (state == 'S' || state == 'D') {
        return ++v->asleep_looks >= 2 && take(p, v, COPPER_HANDOFF_BLOCKED, now_ns);
    }
    v->asleep_looks = 0;
    bump(&cu__sched.supply.starved, state == 'R');
    return false;
}

/* True: something was done. */
static bool look_at(struct cu__p *p, struct view *v, int64_t now_ns)
{
    struct cu__m *m = cu__owner(p);
    const struct cu__g *g = m ? load_relaxed(&m->g) : NULL;
    if (g == NULL) {
        v->m = NULL;
        return false;
    }
    uint32_t tick = load_relaxed(&p->tick), syscalls = load_acquire(&m->syscalls);
    bool may_read_clock = now_ns - v->looked_ns >= CLOCK_GAP_NS;
    if (v->m != m || v->tick != tick || v->syscalls != syscalls) {
        *v = (struct view){.m = m,
                           .tick = tick,
                           .syscalls = syscalls,
                           .since_ns = now_ns,
                           .looked_ns = v->looked_ns,
                           .first_cpu_ns = -1};
    } else if (cu__is_in_call(g, syscalls)) {
        return now_ns - v->since_ns >= DELAY_MIN_NS && is_wanted(p, now_ns) &&
               take(p, v, COPPER_HANDOFF_SYSCALL, now_ns);
    } else if (v->first_cpu_ns >= 0) {
        return may_read_clock && judge(p, v, now_ns);
    }
    if (may_read_clock) {
        v->first_cpu_ns = v->looked_cpu_ns = cpu_clock(m);
        v->looked_ns = now_ns;
    }
    return false;
}

/* ---- the loop ---- */

static bool all_is_idle(void)
{
    return load_seq(&cu__sched.idle_count) == load_seq(&cu__sched.alive_count) &&
           !load_seq(&sysmon.wishes);
}

static int64_t next_delay(bool has_done)
{
    sysmon.quiet_looks = has_done ? 0 : sysmon.quiet_looks + 1;
    sysmon.idle_looks = all_is_idle() ? sysmon.idle_looks + 1 : 0;
    if (sysmon.quiet_looks < BRISK_LOOKS) {
        return DELAY_MIN_NS;
    }
    uint32_t doublings = sysmon.quiet_looks - BRISK_LOOKS;
    int64_t delay_ns = DELAY_MIN_NS << (doublings < 10 ? doublings : 10);
    return delay_ns < DELAY_MAX_NS ? delay_ns : DELAY_MAX_NS;
}

/* Until a P is taken or a thread is wanted. */
static void sleep_long(void)
{
    store_seq(&cu__sysmon_sleeps, 1);
    while (all_is_idle() && load_acquire(&sysmon.wake) == 0) {
        cu__futex_wait(&sysmon.wake, 0, COPPER_NO_DEADLINE);
    }
    store_seq(&cu__sysmon_sleeps, 0);
    sysmon.idle_looks = sysmon.quiet_looks = 0;
}

static void *watch(void *unused)
{
    (void)unused;
    pthread_setname_np(pthread_self(), "copper-sysmon");
    cu_service_thread_begin(); /* wakes no coroutine: does not stand between them and a deadlock */
    if (!cu__worker_gate()) {
        return NULL;
    }
    for (;;) {
        int64_t now_ns = cu_now();
        bool has_done = serve_wishes(now_ns);
        if (load_relaxed(&cu__sched.idle_count) == 0) {
            cu__netpoll_look_sometimes(now_ns - POLL_LATE_NS); /* nobody does while all compute */
        }
        for (uint32_t i = 0; i < load_acquire(&cu__sched.ps_seen); i++) {
            has_done |= look_at(&cu__sched.ps[i], &sysmon.views[i], now_ns);
        }
        int64_t delay_ns = next_delay(has_done);
        if (sysmon.idle_looks >= IDLE_LOOKS) {
            sleep_long();
        } else {
            cu__futex_wait(&sysmon.wake, 0, cu_now() + delay_ns);
        }
        store_seq(&sysmon.wake, 0);
    }
    return NULL;
}

int cu__sysmon_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t mask;
    sigfillset(&mask);
    int error = pthread_attr_init(&attr);
    if (error) {
        return -error;
    }
    pthread_attr_setsigmask_np(&attr, &mask);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attr, watch, NULL);
    pthread_attr_destroy(&attr);
    return -error;
}

void cu__sysmon_after_fork(void)
{
    cu__sysmon_sleeps = 0;
    memset(&sysmon, 0, sizeof(sysmon));
}
