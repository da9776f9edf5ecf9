/* SPDX-License-Identifier: Apache-2.0
 *
 * A coroutine program to be profiled: http_coroutines [PARKED [SECONDS]]. Prints the address it is
 * served at, then: a source and two workers that burn CPU pass numbers on to a sink, PARKED
 * coroutines wait at one place for ever, one holds a mutex, one blocks in the kernel, one has made a
 * thread, which waits. Ends after SECONDS, or when its standard input does. Numbers are as in the
 * locale of the environment.
 */
#include "http_burn.h"

#include <copper/chan.h>
#include <copper/go.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static cu_chan *numbers, *results, *never;
static cu_mutex held;

static void source(void *arg)
{
    (void)arg;
    for (uint64_t i = 0;; i++) {
        cu_send(numbers, &i);
    }
}

static void worker(void *arg)
{
    uint64_t n;
    cu_label_set("stage", arg);
    while (cu_recv(numbers, &n) == 0) {
        for (int i = 0; i < 40; i++) {
            burn_once();
        }
        cu_sleep(3 * COPPER_MS); /* leaves some of the machine to the tests */
        cu_send(results, &n);
    }
}

static void drain(void *arg)
{
    uint64_t n;
    (void)arg;
    cu_label_set("quote", "a \"b\" \\ c");
    cu_label_set("id", "drain"); /* as the profiler calls what it knows itself */
    cu_label_set("age", "old");
    while (cu_recv(results, &n) == 0) {
    }
}

__attribute__((noinline)) static void wait_for_nothing(void)
{
    cu_recv(never, NULL);
    burn_sink++;
}

static void parked(void *arg)
{
    (void)arg;
    wait_for_nothing();
}

static void lock_held(void *arg)
{
    (void)arg;
    cu_mutex_lock(&held);
    cu_mutex_unlock(&held);
}

static void sleeper(void *arg)
{
    (void)arg;
    cu_name_set("the sleeper");
    cu_lock_thread();
    for (;;) {
        cu_sleep(3600 * COPPER_SEC);
    }
}

/* Not a call of ours: the coroutine stays on its thread, which waits in the kernel. */
static void block_in_kernel(void *arg)
{
    int fds[2];
    char byte;
    (void)arg;
    if (pipe(fds) == 0) {
        burn_sink += (uint64_t)read(fds[0], &byte, 1);
    }
}

/* Is called by the name of the worker that created it. */
static void *thread_of_coroutine(void *arg)
{
    poll(NULL, 0, -1);
    burn_sink++;
    return arg;
}

static void create_thread(void *arg)
{
    pthread_t thread;
    (void)arg;
    if (pthread_create(&thread, NULL, thread_of_coroutine, NULL) == 0) {
        pthread_detach(thread);
    }
}

static void start_coroutines(int nparked)
{
    numbers = cu_chan_new(sizeof(uint64_t), 0);
    results = cu_chan_new(sizeof(uint64_t), 4);
    never = cu_chan_new(1, 0);
    cu_chan_name(never, "never");
    cu_mutex_lock(&held);
    cu_go(lock_held, NULL);
    cu_go(create_thread, NULL);
    cu_go(sleeper, NULL);
    for (int i = 0; i < nparked; i++) {
        cu_go(parked, NULL);
    }
    usleep(200000);
    cu_go(block_in_kernel, NULL);
    usleep(50000);
    cu_go(source, NULL);
    cu_go(worker, "square");
    cu_go(worker, "cube");
    cu_go(drain, NULL);
}

int main(int argc, char **argv)
{
    int nparked = argc > 1 ? atoi(argv[1]) : 50, seconds = argc > 2 ? atoi(argv[2]) : 60;
    setlocale(LC_ALL, "");
    setenv("COPPER_MAXPROCS", "3", 0); /* one of them is held by block_in_kernel */
    start_coroutines(nparked);
    if (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&in, 1, seconds * 1000);
    return 0;
}
