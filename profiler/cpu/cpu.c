/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the CPU profile of one client: opens a window, waits, and turns what was counted into a
 * profile.
 *
 * Design. Weights in ns become counts of the client's own period by carrying the remainder from stack
 * to stack, started at random: the total is kept, no stack is favoured (cpu_int.h). Labels of a
 * sample: those of the coroutine or thread, then
 *
 *     stack    "cut"                     the stack does not reach the outermost frame
 *     running  "coroutine", "scheduler"  what the thread was doing, where there is a runtime
 *     thread   its name                  plain threads whose name is not the main thread's
 *
 * Each is there only when it says something; a label of the program with one of the last two names
 * wins over ours. What the profile cost and what it could not see is in its comments, which begin with
 * '#' so that reports do not print them in their headers. Rates above the kernel's tick: "# source:" says
 * whether perf events took the samples, and if not, why.
 *
 * Concurrency: any number at once; each window is its own.
 */
#include "cpu_int.h"
#include "encode.h"
#include "pages.h"
#include "recorded.h"
#include "waiting.h"

#include <copper/inspect.h>
#include <copper/profiler.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COPPER_OUR_LABELS   3
#define COPPER_SPANS_MIN    25   /* ticks that make a mean */
#define COPPER_TICKS_MIN    4    /* ticks that the rest of the CPU time is shared out among */
#define COPPER_TICKS_SHARE  0.03 /* of the window's CPU time, for ticks to be weighed by the rest of it */
#define COPPER_EDGE_MAX     1.25 /* see edge_factor */
#define COPPER_TICK_FACTOR  4    /* a tick weighs at most this many ticks, at least its inverse */

/* There when the process has the coroutine runtime. */
extern __typeof__(cu_labels_count) cu_labels_count __attribute__((weak));
extern __typeof__(cu_labels_key) cu_labels_key __attribute__((weak));
extern __typeof__(cu_labels_value) cu_labels_value __attribute__((weak));

static const size_t weights_bytes = sizeof(uint64_t) * COPPER_STACKS_MAX;

/* ---- labels ---------------------------------------------------------------------------------- */

struct labels {
    struct cu_pprof_label list[COPPER_LABELS_MAX + COPPER_OUR_LABELS];
    size_t n;
};

static bool has_label(const struct labels *l, const char *key)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->list[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

static void add_label(struct labels *l, const char *key, const char *value)
{
    if (!has_label(l, key) && l->n < sizeof l->list / sizeof *l->list) {
        l->list[l->n++] = (struct cu_pprof_label){.key = key, .str = value};
    }
}

/* The name that threads have when nobody named them: the main thread's. */
static void default_name(char name[COPPER_THREAD_NAME])
{
    name[0] = '\0';
    int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, name, COPPER_THREAD_NAME - 1) : 0;
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

static void labels_of(struct labels *l, const struct cu__stack *stack,
                      const struct cu__stack_table *table, const char *usual_name)
{
    l->n = 0;
    if (stack->is_cut) {
        add_label(l, "stack", "cut");
    }
    const struct cu_labels *set = stack->labels;
    for (size_t i = 0; set && cu_labels_count && i < cu_labels_count(set); i++) {
        add_label(l, cu_labels_key(set, i), cu_labels_value(set, i));
    }
    if (stack->here == COPPER_HERE_COROUTINE) {
        add_label(l, "running", "coroutine");
    } else if (stack->here == COPPER_HERE_SCHEDULER) {
        add_label(l, "running", "scheduler");
    } else if (stack->name && strcmp(table->names[stack->name], usual_name) != 0) {
        add_label(l, "thread", table->names[stack->name]);
    }
}

/* ---- encoding -------------------------------------------------------------------------------- */

struct sums {
    int64_t count, cut; /* in periods */
};

/* CPU time of the program's threads in the window that could be sampled. */
static int64_t program_ns(const struct cu__run *run)
{
    const struct cu__run_counts *a = &run->before, *b = &run->after;
    return (b->process_ns - a->process_ns) - (b->own_ns - a->own_ns) -
           (b->blocked_ns - a->blocked_ns);
}

static bool has_unsampled_threads(const struct cu__run *run)
{
    const struct cu__timer_stats *a = &run->before.timers, *b = &run->after.timers;
    return run->is_taken_over || a->refused != b->refused || a->no_slot != b->no_slot;
}

struct measured {
    double nticks, by_clock; /* samples by tick; ns of the others */
    double program;          /* ns that samples should stand for */
};

static void measure(struct measured *m, const struct cu__run *run)
{
    double lost = (double)(run->after.timers.dropped_ns - run->before.timers.dropped_ns) +
                  (double)run->refused_ns;
    *m = (struct measured){0, (double)run->user_ns, (double)program_ns(run) - lost};
    for (uint32_t i = 0; i < run->nstacks; i++) {
        m->nticks += (double)run->ticks[i];
        m->by_clock += (double)run->weights[i];
    }
}

/* What a sample by tick stands for in this window, ns: see cpu_int.h. */
static double tick_weight(const struct cu__run *run)
{
    double tick = (double)atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
    double mean = run->spans >= COPPER_SPANS_MIN ? (double)run->span_ns / (double)run->spans : tick;
    struct measured m;
    measure(&m, run);
    if (has_unsampled_threads(run) || m.nticks * tick < COPPER_TICKS_SHARE * m.program ||
        m.nticks < COPPER_TICKS_MIN) {
        return mean;
    }
    double weight = (m.program - m.by_clock) / m.nticks;
    double least = tick / COPPER_TICK_FACTOR, most = tick * COPPER_TICK_FACTOR;
    return weight < least ? least : weight > most ? most : weight;
}

/* By what all weights are multiplied. Threads with perf events are measured from tick to tick, so that a
 * short window misses what they used since the last: the kernel's clock for the process knows. */
static double edge_factor(const struct cu__run *run)
{
    struct measured m;
    measure(&m, run);
    double sum = m.by_clock + m.nticks * tick_weight(run);
    if (run->perf_threads == 0 || has_unsampled_threads(run) || sum <= 0) {
        return 1;
    }
    double factor = m.program / sum;
    return factor > 1 / COPPER_EDGE_MAX && factor < COPPER_EDGE_MAX ? factor : 1;
}

static int encode_stacks(struct cu__encoder *e, const struct cu__run *run, struct sums *sums)
{
    const struct cu__stack_table *table = run->stacks;
    uint64_t period = run->period_ns, tick = (uint64_t)tick_weight(run);
    double part = run->user_parts > 0 ? (double)run->user_ns / (double)run->user_parts : 0;
    double edge = edge_factor(run);
    uint64_t rest = (uint64_t)run->start_ns * UINT64_C(0x9e3779b97f4a7c15) % period;
    char usual_name[COPPER_THREAD_NAME];
    default_name(usual_name);
    for (uint32_t i = 0; i < run->nstacks; i++) {
        double exact = (double)(run->weights[i] + run->ticks[i] * tick) + (double)run->user[i] * part;
        rest += (uint64_t)(exact * edge);
        int64_t count = (int64_t)(rest / period);
        rest %= period;
        if (count == 0) {
            continue;
        }
        const struct cu__stack *stack = &table->stacks[i];
        struct labels labels;
        labels_of(&labels, stack, table, usual_name);
        int64_t values[] = {count, count * (int64_t)period};
        int err = cu__encoder_sample(e, table->frames + stack->first, stack->nframes, values,
                                     labels.list, labels.n);
        if (err) {
            return err;
        }
        sums->count += count;
        sums->cut += stack->is_cut ? count : 0;
    }
    return 0;
}

__attribute__((format(printf, 2, 3))) static void comment(struct cu_pprof *p, const char *format,
                                                          ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cu_pprof_comment(p, text);
}

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

static void comment_on_rate(struct cu_pprof *p, const struct cu__run *run, const struct sums *sums)
{
    int64_t program = program_ns(run);
    uint64_t delivered = run->after.timers.delivered - run->before.timers.delivered;
    double tick = (double)atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
    comment(p,
            "# rate: asked for %d Hz, sampler at %d to %d Hz, kernel tick %.0f Hz, delivered %.1f "
            "signals per CPU second; expiries missed in between are weighed in%s",
            run->hz ? run->hz : COPPER_CPU_HZ_DEFAULT, run->hz_min, run->hz_max, 1e9 / tick,
            program > 0 ? (double)delivered / seconds(program) : 0,
            !run->hz && run->hz_min < COPPER_CPU_HZ_DEFAULT ? "; lowered to stay within COPPER_BUDGET"
                                                            : "");
    comment(p, "# cpu time: %.3f s by the kernel's clocks for what could be sampled, %.3f s in samples; "
            "a tick weighs %.3f ms",
            seconds(program), seconds(sums->count * (int64_t)run->period_ns),
            tick_weight(run) / 1e6);
}

static void comment_on_source(struct cu_pprof *p, const struct cu__run *run)
{
    double tick = (double)atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
    if (run->perf_threads > 0) {
        comment(p,
                "# source: perf events on up to %u threads at user level, %.3f s; system calls at the "
                "kernel's tick",
                run->perf_threads, seconds((int64_t)run->user_ns));
    }
    if (run->perf_refusal) {
        comment(p, "# source: %s threads by timers at the kernel's tick of %.0f Hz: perf_event_open: %s",
                run->perf_threads > 0 ? "other" : "all", 1e9 / tick, run->perf_refusal);
    }
}

static void comment_on_cost(struct cu_pprof *p, const struct cu__run *run)
{
    uint64_t delivered = run->after.timers.delivered - run->before.timers.delivered;
    double handler = (double)(run->after.timers.handler_ns - run->before.timers.handler_ns);
    double delivery = (double)cu__signal_delivery_ns();
    double each = delivered ? handler / (double)delivered : 0;
    double wall = (double)(run->end_ns - run->start_ns);
    comment(p,
            "# cost: %llu signals of %.0f ns each (%.0f ns handler, %.0f ns delivery, calibrated): "
            "%.3f %% of a CPU; collector %.3f %%",
            (unsigned long long)delivered, each + delivery, each, delivery,
            100 * (handler + (double)delivered * delivery) / wall,
            100 * (double)(run->after.collector_ns - run->before.collector_ns) / wall);
}

static void comment_on_losses(struct cu_pprof *p, const struct cu__run *run,
                              const struct sums *sums, double unnamed)
{
    const struct cu__run_counts *a = &run->before, *b = &run->after;
    uint64_t dropped = b->timers.dropped - a->timers.dropped + run->refused;
    uint64_t dropped_ns = b->timers.dropped_ns - a->timers.dropped_ns + run->refused_ns;
    comment(p, "# incomplete: %llu ns dropped in %llu samples, %lld ns cut of %lld ns",
            (unsigned long long)dropped_ns, (unsigned long long)dropped,
            (long long)(sums->cut * (int64_t)run->period_ns),
            (long long)(sums->count * (int64_t)run->period_ns));
    comment(p, "# unnamed: %.2f %% of the time has a leaf that no symbol covers", 100 * unnamed);
    comment(p, "# table: %u stacks, %llu KiB", run->nstacks,
            (unsigned long long)(run->table_bytes >> 10));
    uint64_t refused = b->timers.refused - a->timers.refused;
    if (refused) {
        comment(p,
                "# not sampled: the limit of pending signals (ulimit -i) refused a timer %llu times",
                (unsigned long long)refused);
    }
    if (b->timers.no_slot != a->timers.no_slot) {
        comment(p, "# not sampled: more than %u threads at once", COPPER_SLOTS_MAX);
    }
}

static void comment_on_signal(struct cu_pprof *p, const struct cu__run *run)
{
    if (run->signal != SIGPROF) {
        comment(p, "# signal: %d (%s), since SIGPROF has a handler of the program", run->signal,
                strsignal(run->signal));
    }
    if (run->is_taken_over) {
        comment(p,
                "# signal: the program installed a handler of its own for signal %d; sampling "
                "stopped there",
                run->signal);
    }
    for (unsigned i = 0; i < run->nnotes; i++) {
        comment(p, "# not sampled: %s blocks signal %d", run->notes[i], run->signal);
    }
    if (run->nblocked > run->nnotes) {
        comment(p, "# not sampled: %u more threads that block it", run->nblocked - run->nnotes);
    }
}

static int encode(const struct cu__run *run, struct cu_pprof **out)
{
    struct cu__encoder *e = cu__encoder_new();
    if (!e) {
        return -ENOMEM;
    }
    struct cu_pprof *p = cu__encoder_profile(e);
    cu_pprof_sample_type(p, "samples", "count");
    cu_pprof_sample_type(p, "cpu", "nanoseconds");
    cu_pprof_period(p, "cpu", "nanoseconds", (int64_t)run->period_ns);
    cu_pprof_time(p, run->start_wall_ns, run->end_ns - run->start_ns);
    struct sums sums = {0, 0};
    int err = encode_stacks(e, run, &sums);
    double unnamed = cu__encoder_unnamed_share(e);
    p = cu__encoder_finish(e);
    if (err) {
        cu_pprof_free(p);
        return err;
    }
    comment_on_rate(p, run, &sums);
    comment_on_source(p, run);
    comment_on_cost(p, run);
    comment_on_losses(p, run, &sums, unnamed);
    comment_on_signal(p, run);
    *out = p;
    return 0;
}

/* ---- windows --------------------------------------------------------------------------------- */

struct cu__cpu_window {
    struct cu__run run;
    pid_t pid; /* that opened it: a forked child has neither threads nor timers of it */
};

int cu__cpu_open(int hz, struct cu__cpu_window **out, char error[COPPER_ERROR_MAX])
{
    if (hz < 0 || hz > COPPER_CPU_HZ_MAX) {
        snprintf(error, COPPER_ERROR_MAX, "hz=%d is not within 1 to %d", hz, COPPER_CPU_HZ_MAX);
        return -EINVAL;
    }
    struct cu__cpu_window *w = calloc(1, sizeof *w);
    uint64_t *weights = cu__pages_map(3 * weights_bytes);
    if (!w || !weights) {
        snprintf(error, COPPER_ERROR_MAX, "no memory for a profile");
        free(w);
        cu__pages_unmap(weights, 3 * weights_bytes);
        return -ENOMEM;
    }
    w->pid = getpid();
    w->run.hz = hz;
    w->run.period_ns = 1000000000u / (unsigned)(hz ? hz : COPPER_CPU_HZ_DEFAULT);
    w->run.weights = weights;
    w->run.ticks = weights + COPPER_STACKS_MAX;
    w->run.user = weights + 2 * COPPER_STACKS_MAX;
    int err = cu__run_open(&w->run, error);
    if (err) {
        cu__pages_unmap(weights, 3 * weights_bytes);
        free(w);
        return err;
    }
    *out = w;
    return 0;
}

int cu__cpu_close(struct cu__cpu_window *w, struct cu_pprof **out, char error[COPPER_ERROR_MAX])
{
    int err = 0;
    if (w->pid != getpid()) {
        err = -ESRCH;
    } else {
        cu__run_close(&w->run);
        err = out ? encode(&w->run, out) : 0;
        cu__run_release(&w->run);
    }
    if (err) {
        snprintf(error, COPPER_ERROR_MAX, "cannot build the profile: %s", strerror(-err));
    }
    cu__pages_unmap(w->run.weights, 3 * weights_bytes);
    free(w);
    return err;
}

int cu__cpu_profile(int64_t duration_ns, int hz, cu__is_gone_fn *is_gone, void *ctx,
                    struct cu_pprof **out, char error[COPPER_ERROR_MAX])
{
    struct cu__cpu_window *w;
    if (duration_ns <= 0 || duration_ns > (int64_t)COPPER_SECONDS_MAX * 1000000000) {
        snprintf(error, COPPER_ERROR_MAX, "a window of %.3f seconds is not within 0 to %d",
                 seconds(duration_ns), COPPER_SECONDS_MAX);
        return -EINVAL;
    }
    int err = cu__cpu_open(hz, &w, error);
    if (err) {
        return err;
    }
    cu__window_opened();
    if (cu__wait(duration_ns, is_gone, ctx)) {
        return cu__cpu_close(w, out, error);
    }
    cu__cpu_close(w, NULL, error);
    snprintf(error, COPPER_ERROR_MAX, "the client is gone");
    return -ECANCELED;
}
