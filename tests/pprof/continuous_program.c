/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that COPPER_CONTINUOUS records: continuous_program MODE.
 *
 *     work     burns half of a CPU and contends for a mutex until standard input ends
 *     short    ends at once
 *     fork     a child burns and exits, then the parent does
 *     strand   ends with a coroutine that waits for ever
 */
#include "http_burn.h"

#include <copper/chan.h>
#include <copper/go.h>
#include <copper/leakcheck.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A forked child cannot look for leaks: threads that it does not have may hold the sanitizer's
 * locks, and it would wait for them for ever. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

static cu_mutex mutex;

static void hold(void *unused)
{
    (void)unused;
    for (;;) {
        cu_mutex_lock(&mutex);
        cu_sleep(5 * COPPER_MS);
        cu_mutex_unlock(&mutex);
    }
}

__attribute__((noinline)) static void burn_for(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t end_ns = t.tv_sec * COPPER_SEC + t.tv_nsec + ms * COPPER_MS;
    do {
        burn_once();
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (t.tv_sec * COPPER_SEC + t.tv_nsec < end_ns);
    burn_sink++;
}

static int work(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    cu_go(hold, NULL);
    cu_go(hold, NULL);
    printf("%s\n", cu_pprof_address() ? cu_pprof_address() : "works");
    fflush(stdout);
    do {
        burn_for(10);
    } while (poll(&in, 1, 10) == 0 || read(STDIN_FILENO, &byte, 1) > 0);
    return 0;
}

static void strand(void *unused)
{
    (void)unused;
    cu_recv(cu_chan_new(sizeof(int), 0), &(int){0});
}

static int strand_one(void *unused)
{
    (void)unused;
    cu_go(strand, NULL);
    cu_sleep(COPPER_MS);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 2 ? argv[1] : "";
    if (strcmp(mode, "work") == 0) {
        return work();
    }
    if (strcmp(mode, "fork") == 0) {
        pid_t child = fork();
        burn_for(100);
        if (child == 0) {
            return 0;
        }
        waitpid(child, NULL, 0);
        return 0;
    }
    if (strcmp(mode, "strand") == 0 && cu_leak_check_at_exit() == 0) {
        return cu_run(strand_one, NULL);
    }
    return strcmp(mode, "short") == 0 ? 0 : 2;
}
