/* SPDX-License-Identifier: Apache-2.0
 *
 * No coroutines at all: plain threads that burn CPU in three functions, 60:30:10, in a program that
 * serves its profiles.
 *
 *     examples/profile_me [SECONDS [ADDRESS]]      then: go tool pprof -top the line it prints
 */
#include <copper/profiler.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 2

static time_t end;

static unsigned burn(unsigned seed, long rounds)
{
    for (long i = 0; i < rounds; i++) {
        seed = seed * 1664525u + 1013904223u;
        __asm__ volatile("" : "+r"(seed)); /* keep the loop */
    }
    return seed;
}

/* Each does something with what it gets back, so that it stays on the stack. */
static __attribute__((noinline)) unsigned sixty(unsigned seed)
{
    return burn(seed, 600000) ^ 60;
}
static __attribute__((noinline)) unsigned thirty(unsigned seed)
{
    return burn(seed, 300000) ^ 30;
}
static __attribute__((noinline)) unsigned ten(unsigned seed)
{
    return burn(seed, 100000) ^ 10;
}

static void *work(void *sum)
{
    unsigned seed = 1;
    while (time(NULL) < end)
        seed = ten(thirty(sixty(seed)));
    *(unsigned *)sum = seed;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *address = argc > 2 ? argv[2] : "127.0.0.1:0";
    pthread_t threads[THREADS];
    unsigned sums[THREADS];
    end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 60);
    int err = cu_pprof_serve(address);
    if (err < 0) {
        fprintf(stderr, "profile_me: %s: %s\n", address, strerror(-err));
        return 1;
    }
    printf("http://%s/debug/pprof/profile?seconds=5\n", cu_pprof_address());
    fflush(stdout);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &sums[i]) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
