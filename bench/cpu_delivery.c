/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the delivery of one CPU sample costs in all: kernel, handler, return, and what the
 * handler does to the caches of the program. Calibrated by an A/B loop: a fixed amount of work is
 * timed by the thread's own clock with the sampler on and off, in turn, over many rounds; the
 * difference is shared out over the samples that were taken.
 *
 *     cpu_delivery [ROUNDS] [DEPTH] [HZ]
 *
 * The medians of the rounds are compared: single rounds are at the mercy of the machine.
 */
#include <copper/pprof.h>
#include <copper/profiler.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COPPER_WORK_UNITS 60000 /* some 200 ms */

static volatile uint64_t sink;

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((noinline)) static uint64_t work(int depth)
{
    if (depth > 0) {
        return work(depth - 1) + (sink & 1);
    }
    uint64_t x = sink | 1;
    for (int i = 0; i < COPPER_WORK_UNITS * 1000; i++) {
        x = x * 6364136223846793005u + 1;
        __asm__ volatile("" : "+r"(x));
    }
    return x;
}

static int64_t timed(int depth)
{
    int64_t began = thread_ns();
    sink = work(depth);
    return thread_ns() - began;
}

struct profile {
    int hz;
    double seconds;
    char path[64];
};

static void *take_profile(void *arg)
{
    struct profile *p = arg;
    int err = cu_profile_cpu_file(p->path, p->seconds, p->hz);
    if (err) {
        fprintf(stderr, "cpu_delivery: %s\n", strerror(-err));
        exit(1);
    }
    return NULL;
}

/* Signals delivered, from the profile's own account of its cost. */
static double signals_of(const char *path)
{
    struct cu_pprof *p;
    char error[256];
    unsigned long long n = 0;
    if (cu_pprof_read_file(path, &p, error, sizeof error) != 0) {
        fprintf(stderr, "cpu_delivery: %s\n", error);
        exit(1);
    }
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        if (sscanf(cu_pprof_comment_at(p, i), "# cost: %llu signals", &n) == 1) {
            printf("the sampler itself says: %s\n", cu_pprof_comment_at(p, i));
        }
    }
    cu_pprof_free(p);
    return (double)n;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t median(int64_t *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return values[n / 2];
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 15;
    int depth = argc > 2 ? atoi(argv[2]) : 20;
    struct profile profile = {.hz = argc > 3 ? atoi(argv[3]) : 250};
    if (rounds < 3 || depth < 0 || profile.hz < 1) {
        fprintf(stderr, "cpu_delivery [ROUNDS] [DEPTH] [HZ]\n");
        return 2;
    }
    snprintf(profile.path, sizeof profile.path, "/tmp/copper_cpu_delivery.%d", (int)getpid());
    int64_t *on = calloc((size_t)rounds, sizeof *on), *off = calloc((size_t)rounds, sizeof *off);
    double samples = 0;
    for (int i = 0; i < rounds; i++) {
        off[i] = timed(depth);
        /* the window covers the work and ends some time after it */
        profile.seconds = 0.3 + 4 * (double)off[i] / 1e9;
        pthread_t thread;
        pthread_create(&thread, NULL, take_profile, &profile);
        usleep(150000); /* timers are there */
        on[i] = timed(depth);
        pthread_join(thread, NULL);
        samples += signals_of(profile.path);
    }
    unlink(profile.path);
    int64_t a = median(off, rounds), b = median(on, rounds);
    double each = (double)(b - a) / (samples / rounds);
    printf("work %.3f ms without, %.3f ms with the sampler; %.0f samples a round\n",
           (double)a / 1e6, (double)b / 1e6, samples / rounds);
    printf("%-24s %10.0f ns\n", "cpu_delivery", each);
    printf("%-24s %10.4f %% of a CPU at 100 Hz\n", "cpu_delivery", each * 100 / 1e7);
    free(on);
    free(off);
    return 0;
}
