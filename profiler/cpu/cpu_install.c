/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which signal the profile uses: one that nobody handles, with our handler (cpu_signal.c)
 * installed for it from then on; whose signals come there that are not ours; and what one costs.
 *
 * Concurrency: installing and measuring are the collector's; the rest from anywhere.
 *
 * Signal safety: cu__signal_forward_sig runs in the handler.
 */
#include "cpu_int.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COPPER_SIGNALS 65 /* signal numbers are below it */

static _Atomic int profiling_signal;
/* By signal: what was there before us. Written once, before our handler is installed for it. */
static struct sigaction old_actions[COPPER_SIGNALS];
static _Atomic uint64_t foreign_signals;

/* A signal that is not ours goes where it would have gone without us. */
void cu__signal_forward_sig(int number, siginfo_t *info, void *context)
{
    atomic_fetch_add_explicit(&foreign_signals, 1, memory_order_relaxed);
    const struct sigaction *old = &old_actions[number];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(number, info, context);
    } else if (number == COPPER_PERF_SIGNAL && old->sa_handler == SIG_DFL) {
        return; /* ignored by default */
    } else if (old->sa_handler == SIG_DFL) {
        /* the default ends the process: let the kernel do it, as soon as we return */
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
        syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), number);
    } else if (old->sa_handler != SIG_IGN) {
        old->sa_handler(number);
    }
}

/* SIGPROF first: event loops and tools expect it. Standard signals do not queue up. */
static const int candidates[] = {SIGPROF, SIGVTALRM, SIGSTKFLT, SIGPWR};
#define COPPER_REALTIME_TRIED 8 /* then this many from the upper end */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == cu__on_signal_sig;
}

static bool is_unused(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) &&
           (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN);
}

static bool try_signal(int number)
{
    struct sigaction have;
    if (sigaction(number, NULL, &have) != 0) {
        return false;
    }
    if (is_ours(&have)) {
        return true; /* from an earlier profile; what was before us is saved already */
    }
    if (!is_unused(&have)) {
        return false;
    }
    struct sigaction ours = {.sa_sigaction = cu__on_signal_sig,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&ours.sa_mask);
    old_actions[number] = have;
    return sigaction(number, &ours, NULL) == 0;
}

int cu__signal_install(void)
{
    cu__on_signal_prepare();
    int current = cu__signal_number();
    if (current && cu__signal_is_ours()) {
        return current;
    }
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates + COPPER_REALTIME_TRIED; i++) {
        size_t standard = sizeof candidates / sizeof *candidates;
        int number = i < standard ? candidates[i] : SIGRTMAX - (int)(i - standard);
        if (number != current && try_signal(number)) {
            atomic_store_explicit(&profiling_signal, number, memory_order_release);
            return number;
        }
    }
    return -EBUSY;
}

int cu__signal_number(void)
{
    return atomic_load_explicit(&profiling_signal, memory_order_acquire);
}

bool cu__signal_is_ours(void)
{
    struct sigaction have;
    return sigaction(cu__signal_number(), NULL, &have) == 0 && is_ours(&have);
}

bool cu__perf_signal_install(void)
{
    return try_signal(COPPER_PERF_SIGNAL);
}

bool cu__perf_signal_is_ours(void)
{
    struct sigaction have;
    return sigaction(COPPER_PERF_SIGNAL, NULL, &have) == 0 && is_ours(&have);
}

uint64_t cu__signal_foreign(void)
{
    return atomic_load_explicit(&foreign_signals, memory_order_relaxed);
}

/* ---- what a delivery costs ---- */

#define COPPER_PROBES 200

static int64_t probe_once(int number)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = number;
    info.si_code = SI_TIMER;
    info.si_value.sival_ptr = (void *)(uintptr_t)cu__cookie_of(COPPER_COOKIE_SLOT_PROBE, 0);
    int64_t began = cu__now_ns();
    syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)syscall(SYS_gettid), number, &info);
    return cu__now_ns() - began;
}

int64_t cu__signal_delivery_ns(void)
{
    static _Atomic int64_t measured;
    int64_t best = atomic_load_explicit(&measured, memory_order_relaxed);
    int number = cu__signal_number();
    if (best != 0 || number == 0 || !cu__signal_is_ours()) {
        return best;
    }
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, &old);
    uint32_t before = cu__on_signal_probes();
    static int64_t times[COPPER_PROBES]; /* the collector alone measures */
    for (int i = 0; i < COPPER_PROBES; i++) {
        times[i] = probe_once(number);
        best = best == 0 || times[i] < best ? times[i] : best;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    uint32_t arrived = cu__on_signal_probes() - before;
    /* the mean without the outliers that a busy machine adds */
    int64_t kept = 0, total = 0;
    for (int i = 0; i < COPPER_PROBES; i++) {
        if (times[i] < 4 * best) {
            kept++;
            total += times[i];
        }
    }
    int64_t mean = arrived == COPPER_PROBES && kept > 0 ? total / kept : 0;
    atomic_store_explicit(&measured, mean, memory_order_relaxed);
    return mean;
}
