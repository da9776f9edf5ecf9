/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: programs to be profiled whose right answer is known. Takes a CPU profile of itself while it
 * works; the scripts beside it judge the profile against the kernel's clock for this process.
 *
 *     cpu_load MODE SECONDS HZ FILE
 *
 * one      one thread burns in three functions, 60:30:10 by the same unit of work
 * half     one thread burns half of its time in a function of its own and half in system calls; what
 *          each took by its clock is printed: "user NS, system NS" since the start
 * eight    eight threads burn
 * storm    threads are born, burn 1 to 30 ms of CPU and die
 * sleepy   four threads burn half a millisecond and sleep one
 * blocked  as `one`, beside a thread that blocks every signal and burns
 */
#include <copper/profiler.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static atomic_bool is_over;
static atomic_ulong sink;

/* The unit of work: some microseconds. */
#define BURN(name)                                                                                 \
    __attribute__((noinline)) static void name(int units)                                          \
    {                                                                                              \
        uint64_t x = (uint64_t)units | 1;                                                                     \
        for (int i = 0; i < units * 1000; i++) {                                                   \
            x = x * 6364136223846793005u + 1442695040888963407u;                                   \
            __asm__ volatile("# " #name : "+r"(x)); /* so that they are not folded into one */     \
        }                                                                                          \
        atomic_store_explicit(&sink, x, memory_order_relaxed);                                     \
    }
BURN(burn_sixty)
BURN(burn_thirty)
BURN(burn_ten)

static volatile int one = 1; /* no compiler makes a special version of a function for it */

static void burn_shares(void)
{
    burn_sixty(60 * one);
    burn_thirty(30 * one);
    burn_ten(10 * one);
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *burn_until_over(void *unused)
{
    while (!is_over) {
        burn_shares();
    }
    return unused;
}

__attribute__((noinline)) static void read_zeros(int fd, char *to, size_t n)
{
    for (int i = 0; i < 4; i++) {
        if (read(fd, to, n) < 0) {
            perror("read");
        }
    }
}

static atomic_long user_ns, system_ns;

static void *burn_half_until_over(void *unused)
{
    static char zeros[1 << 16];
    char *to = zeros;
    __asm__ volatile("" : "+r"(to)); /* as for `one` */
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    unsigned seed = 1;
    while (!is_over) {
        burn_sixty(rand_r(&seed) % 120 * one); /* random, not to keep step with the kernel's tick */
        int64_t between = now_ns(CLOCK_THREAD_CPUTIME_ID);
        while (now_ns(CLOCK_THREAD_CPUTIME_ID) - between < between - before) {
            read_zeros(fd, to, sizeof zeros * (size_t)one);
        }
        int64_t after = now_ns(CLOCK_THREAD_CPUTIME_ID);
        user_ns += between - before;
        system_ns += after - between;
        before = after;
    }
    close(fd);
    printf("user %ld, system %ld\n", (long)user_ns, (long)system_ns);
    return unused;
}

static void *burn_blocked(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_NAME, "deaf");
    return burn_until_over(unused);
}

static void *burn_shortly(void *ns)
{
    int64_t end = now_ns(CLOCK_THREAD_CPUTIME_ID) + (int64_t)(intptr_t)ns;
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
        burn_sixty(1);
    }
    return NULL;
}

static void *spawn_until_over(void *seed)
{
    unsigned state = (unsigned)(intptr_t)seed;
    while (!is_over) {
        pthread_t thread;
        int64_t ns = 1000000 + rand_r(&state) % 29000000;
        if (pthread_create(&thread, NULL, burn_shortly, (void *)(intptr_t)ns) == 0) {
            pthread_join(thread, NULL);
        }
    }
    return NULL;
}

static void *doze_until_over(void *unused)
{
    struct timespec nap = {0, 1000000};
    while (!is_over) {
        burn_shortly((void *)500000);
        nanosleep(&nap, NULL);
    }
    return unused;
}

static int start(pthread_t *threads, const char *mode)
{
    int n = 0;
    if (strcmp(mode, "one") == 0 || strcmp(mode, "blocked") == 0) {
        pthread_create(&threads[n++], NULL, burn_until_over, NULL);
    }
    if (strcmp(mode, "blocked") == 0) {
        pthread_create(&threads[n++], NULL, burn_blocked, NULL);
    }
    if (strcmp(mode, "half") == 0) {
        pthread_create(&threads[n++], NULL, burn_half_until_over, NULL);
    }
    while (strcmp(mode, "eight") == 0 && n < 8) {
        pthread_create(&threads[n++], NULL, burn_until_over, NULL);
    }
    while (strcmp(mode, "storm") == 0 && n < 4) {
        pthread_create(&threads[n], NULL, spawn_until_over, (void *)(intptr_t)(n + 1));
        n++;
    }
    while (strcmp(mode, "sleepy") == 0 && n < 4) {
        pthread_create(&threads[n++], NULL, doze_until_over, NULL);
    }
    return n;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "cpu_load MODE SECONDS HZ FILE\n");
        return 2;
    }
    pthread_t threads[8];
    int n = start(threads, argv[1]);
    if (n == 0) {
        fprintf(stderr, "cpu_load: no mode %s\n", argv[1]);
        return 2;
    }
    int err = cu_profile_cpu_file(argv[4], atof(argv[2]), atoi(argv[3]));
    is_over = true;
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    if (err) {
        fprintf(stderr, "cpu_load: %s\n", strerror(-err));
        return 1;
    }
    return 0;
}
