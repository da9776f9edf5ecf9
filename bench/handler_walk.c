/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what one walk costs inside a signal handler, beside libunwind's cached fast trace.
 *
 * A signal is raised at a known depth; its handler walks the stack many times with each walker in
 * turn, several rounds interleaved, and the medians are compared. Ours starts at the interrupted
 * registers, as the profiler does; libunwind's (unw_backtrace) can only start at the handler itself
 * and so crosses the signal frame on top. Tables and caches of both are warm.
 *
 *     handler_walk [ROUNDS]
 */
#define UNW_LOCAL_ONLY
#include <copper/stacks.h>

#include <libunwind.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WALKS_PER_ROUND 2000
#define ROUNDS_MAX      1001
#define FRAMES_MAX      128

static int rounds = 101;
static uint64_t stack_hi;
static double ours_ns[ROUNDS_MAX], theirs_ns[ROUNDS_MAX];
static unsigned ours_frames, theirs_frames;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_ours(const void *context)
{
    cu_frame frames[FRAMES_MAX];
    struct cu_walk w = {.frames = frames, .max = FRAMES_MAX};
    double start = now_ns();
    for (int i = 0; i < WALKS_PER_ROUND; i++) {
        cu_regs_from_context_sig(&w.regs, context);
        w.lo = w.regs.sp;
        w.hi = stack_hi;
        w.n = 0;
        w.is_call_site = false;
        cu_stack_walk_sig(&w);
    }
    double spent = now_ns() - start;
    if (w.end != COPPER_WALK_ROOT) {
        fprintf(stderr, "our walk did not reach the root: end %d after %u frames\n", w.end, w.n);
        exit(1);
    }
    ours_frames = w.n;
    return spent / WALKS_PER_ROUND;
}

static double time_theirs(void)
{
    void *frames[FRAMES_MAX];
    int n = 0;
    double start = now_ns();
    for (int i = 0; i < WALKS_PER_ROUND; i++)
        n = unw_backtrace(frames, FRAMES_MAX);
    double spent = now_ns() - start;
    theirs_frames = n > 0 ? (unsigned)n : 0;
    return spent / WALKS_PER_ROUND;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    for (int i = 0; i < rounds; i++) {
        ours_ns[i] = time_ours(context);
        theirs_ns[i] = time_theirs();
    }
}

static __attribute__((noinline)) int descend(int depth)
{
    if (depth == 0)
        raise(SIGUSR1);
    int below = depth > 0 ? descend(depth - 1) : 0;
    __asm__ volatile("" : "+r"(below)); /* no tail call */
    return below + 1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, (size_t)rounds, sizeof *v, compare);
    return v[rounds / 2];
}

/* raise, start_thread and clone3 are frames too */
static void measure(int frames)
{
    descend(frames - 7);
    double ours = median(ours_ns), theirs = median(theirs_ns);
    printf("handler_walk %2u frames: ours %7.1f ns (%4.2f a frame)   libunwind %7.1f ns, %u frames "
           "(%4.2f a frame)   ratio %.2f\n",
           ours_frames, ours, ours / ours_frames, theirs, theirs_frames, theirs / theirs_frames,
           ours / theirs);
}

static void *run(void *unused)
{
    pthread_attr_t attributes;
    void *lo;
    size_t n;
    (void)unused;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return NULL;
    pthread_attr_getstack(&attributes, &lo, &n);
    pthread_attr_destroy(&attributes);
    stack_hi = (uint64_t)(uintptr_t)lo + n;
    measure(20);
    measure(60);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    pthread_t thread;
    if (argc > 1)
        rounds = atoi(argv[1]);
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "handler_walk: rounds must be 1 to %d\n", ROUNDS_MAX);
        return 1;
    }
    if (cu_stacks_prepare() != 0 || sigaction(SIGUSR1, &action, NULL) != 0 ||
        pthread_create(&thread, NULL, run, NULL) != 0)
        return 1;
    pthread_join(thread, NULL);
    return 0;
}
