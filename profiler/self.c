/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the profiler says of itself: threads of its own, and what it costs.
 *
 * Concurrency: the list of own threads is a small array of atomic ids; a thread enters itself and is
 * taken out by a thread-specific destructor when it ends.
 */
#include "budget.h"
#include "cpu_int.h"
#include "heap_weak.h"
#include "runtime_weak.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COPPER_OWN_THREADS_MAX 64

static _Atomic int32_t own_threads[COPPER_OWN_THREADS_MAX];
static pthread_key_t own_key;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;
static bool has_key;
static _Atomic int64_t ended_ns; /* CPU time of own threads that ended */

int64_t cu__clock_ns(clockid_t clock)
{
    struct timespec t;
    /* the system call: the C library refuses clocks of threads that it did not make up itself */
    return syscall(SYS_clock_gettime, clock, &t) == 0 ? t.tv_sec * 1000000000 + t.tv_nsec : 0;
}

int64_t cu__now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void leave(void *place)
{
    atomic_fetch_add_explicit(&ended_ns, cu__clock_ns(CLOCK_THREAD_CPUTIME_ID),
                              memory_order_relaxed);
    atomic_store_explicit((_Atomic int32_t *)place, 0, memory_order_release);
}

static void make_key(void)
{
    has_key = pthread_key_create(&own_key, leave) == 0;
}

void cu__own_thread_begin(const char *name)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL);
    if (cu__has_heap()) {
        cu_heap_thread_is_tool();
    }
    int32_t tid = (int32_t)syscall(SYS_gettid);
    pthread_once(&own_once, make_key);
    for (int i = 0; i < COPPER_OWN_THREADS_MAX && has_key; i++) {
        int32_t expected = 0;
        if (atomic_compare_exchange_strong_explicit(&own_threads[i], &expected, tid,
                                                    memory_order_acq_rel,
                                                    memory_order_relaxed)) {
            pthread_setspecific(own_key, (void *)&own_threads[i]);
            break;
        }
    }
    if (cu_service_thread_begin) {
        cu_service_thread_begin(); /* it wakes no coroutine of the program */
    }
    cu__timer_disarm(tid); /* it was taken for one of the program's until now */
}

bool cu__is_own_thread(int32_t tid)
{
    for (int i = 0; i < COPPER_OWN_THREADS_MAX; i++) {
        if (atomic_load_explicit(&own_threads[i], memory_order_acquire) == tid) {
            return true;
        }
    }
    return (cu__has_heap() && cu_heap_helper() == tid) ||
           (cu_service_thread_is && cu_service_thread_is(tid));
}

int64_t cu__own_threads_ns(void)
{
    int64_t sum = atomic_load_explicit(&ended_ns, memory_order_relaxed);
    for (int i = 0; i < COPPER_OWN_THREADS_MAX; i++) {
        int32_t tid = atomic_load_explicit(&own_threads[i], memory_order_acquire);
        sum += tid ? cu__clock_ns(cu__thread_clock(tid)) : 0;
    }
    int32_t helper = cu__has_heap() ? cu_heap_helper() : 0;
    return sum + (helper ? cu__clock_ns(cu__thread_clock(helper)) : 0);
}

void cu__own_threads_forget(void)
{
    for (int i = 0; i < COPPER_OWN_THREADS_MAX; i++) {
        atomic_store_explicit(&own_threads[i], 0, memory_order_relaxed);
    }
    atomic_store_explicit(&ended_ns, 0, memory_order_relaxed);
}

int cu__own_thread_start(void *(*start)(void *), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_t attributes;
    int err = pthread_attr_init(&attributes);
    if (err) {
        return -err;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the new thread inherits it */
    pthread_t thread;
    err = pthread_create(&thread, &attributes, start, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return -err;
}

static void report_costs(void (*line)(void *ctx, const char *text), void *ctx)
{
    double program = (double)(cu__clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cu__own_threads_ns());
    char text[256];
    int n = snprintf(text, sizeof text, "budget: %.3g %% of the program's CPU time; spent since start:",
                     100 * cu__budget());
    for (int kind = 0; kind < COPPER_COST_KINDS; kind++) {
        double share = program > 0 ? (double)cu__cost_ns((enum cu__cost)kind) / program : 0;
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %s %.3f %%", kind ? "," : "",
                      cu__cost_text((enum cu__cost)kind), 100 * share);
    }
    line(ctx, text);
}

void cu__self_report(void (*line)(void *ctx, const char *text), void *ctx)
{
    struct cu__sampler_totals totals;
    struct cu_stacks_stats stacks;
    cu__sampler_totals(&totals);
    cu_stacks_stats_read(&stacks);
    const struct cu__run_counts *c = &totals.counts;
    char text[256];
    if (totals.hz > 0) {
        snprintf(text, sizeof text, "cpu sampler: %d Hz, %u windows open, %u threads", totals.hz,
                 totals.open_runs, c->timers.armed);
    } else {
        snprintf(text, sizeof text, "cpu sampler: off");
    }
    line(ctx, text);
    if (cu__perf_threads() > 0 || cu__perf_refusal()) {
        snprintf(text, sizeof text, "above the kernel's tick: %u threads by perf events%s%s",
                 cu__perf_threads(), cu__perf_refusal() ? ", others not: " : "",
                 cu__perf_refusal() ? cu__perf_refusal() : "");
        line(ctx, text);
    }
    report_costs(line, ctx);
    double mean = c->timers.delivered
                      ? (double)c->timers.handler_ns / (double)c->timers.delivered
                      : 0;
    snprintf(text, sizeof text,
             "cpu samples since start: %llu, %.0f ns each in the handler, %llu dropped, %llu cut",
             (unsigned long long)c->timers.delivered, mean,
             (unsigned long long)c->timers.dropped, (unsigned long long)c->cut);
    line(ctx, text);
    snprintf(text, sizeof text, "collector: %.3f s of CPU; %u stacks in %llu KiB",
             (double)c->collector_ns / 1e9, totals.table_stacks,
             (unsigned long long)(totals.table_bytes >> 10));
    line(ctx, text);
    snprintf(text, sizeof text,
             "unwind tables: %llu modules, %llu rows in %llu KiB, prepared in %.1f ms, %llu walks "
             "finished off copies",
             (unsigned long long)stacks.modules, (unsigned long long)stacks.rows,
             (unsigned long long)(stacks.table_bytes >> 10), (double)stacks.prepare_ns / 1e6,
             (unsigned long long)stacks.misses_unwound);
    line(ctx, text);
}
