/* SPDX-License-Identifier: Apache-2.0
 *
 * A program with threads and no coroutines, to be profiled: http_threads [SECONDS]. Serves where
 * COPPER_HTTP says, else on a free port, and prints the address. Two threads burn CPU, one waits on
 * a condition, one in read; the main thread waits for its standard input to end. Without the
 * profiler in its link (HTTP_UNLINKED) it only does the work.
 */
#include "http_burn.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef HTTP_UNLINKED
#include <copper/profiler.h>
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void *burner(void *arg)
{
    for (;;) {
        for (int i = 0; i < 40; i++) {
            burn_once();
        }
        usleep(3000);
    }
    return arg;
}

__attribute__((noinline)) static void wait_on_condition(void)
{
    pthread_mutex_lock(&lock);
    for (;;) {
        pthread_cond_wait(&never, &lock);
    }
}

static void *waiter(void *arg)
{
    wait_on_condition();
    return arg;
}

__attribute__((noinline)) static long read_nothing(int fd)
{
    char byte;
    long n = read(fd, &byte, 1);
    return n + burn_seed;
}

static void *reader(void *arg)
{
    burn_sink += (uint64_t)read_nothing(*(int *)arg);
    return arg;
}

int main(int argc, char **argv)
{
    static int fds[2];
    pthread_t t;
    if (pipe(fds) != 0) {
        return 1;
    }
    pthread_create(&t, NULL, burner, NULL);
    pthread_create(&t, NULL, burner, NULL);
    pthread_create(&t, NULL, waiter, NULL);
    pthread_create(&t, NULL, reader, &fds[0]);
#ifndef HTTP_UNLINKED
    if (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    printf("%s\n", cu_pprof_address());
#else
    printf("ready\n");
#endif
    fflush(stdout);
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&in, 1, (argc > 1 ? atoi(argv[1]) : 60) * 1000);
    return 0;
}
