/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: one P, and no more threads to be had while coroutines keep those that there are: what
 * waits goes on in the end, nothing is lost, and the runtime says who it was. threads_cases.py sets
 * the limits and knows what must be said.
 *
 * The coroutines that keep threads are let go by the main thread, which is none of the runtime's,
 * once the runtime has missed a thread; in "retried" by coroutines, which need one more thread.
 */
#include <copper/blocking.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"

#define WAITERS 50

static struct {
    cu_wg keepers, waiters;
    bool may_go; /* atomic */
    int ran;     /* atomic */
    int fds[2];
} t;

static void compute(void *unused)
{
    (void)unused;
    cu_name_set("spinner");
    while (!__atomic_load_n(&t.may_go, __ATOMIC_ACQUIRE)) {
    }
}

static void read_byte(void *unused)
{
    char byte;
    (void)unused;
    check(read(t.fds[0], &byte, 1) == 1);
}

static void block(void *unused)
{
    cu_name_set("reader");
    read_byte(unused);
}

static void block_announced(void *unused)
{
    cu_name_set("reader");
    cu_blocking(read_byte, unused);
}

static void wait(void *unused)
{
    (void)unused;
    cu_sleep(COPPER_MS);
    cu_yield();
    __atomic_fetch_add(&t.ran, 1, __ATOMIC_RELAXED);
}

static void write_byte(void *unused)
{
    (void)unused;
    check(write(t.fds[1], "x", 1) == 1);
}

static void spawn_waiters(void)
{
    for (int i = 0; i < WAITERS; i++) {
        check(cu_wg_go(&t.waiters, wait, NULL) > 0);
    }
}

/* `count` coroutines keep threads until one more was wanted. */
static int keep(void (*keeper)(void *), int count)
{
    struct cu_runtime_stats stats = {.threads_refused = 0};
    check(pipe(t.fds) == 0);
    for (int i = 0; i < count; i++) {
        check(cu_wg_go(&t.keepers, keeper, NULL) > 0);
    }
    spawn_waiters();
    while (stats.threads_refused == 0) {
        usleep(1000);
        cu_runtime_stats_read(&stats);
    }
    usleep(50000); /* for that long more are wanted: counted once all the same */
    cu_runtime_stats_read(&stats);
    check(stats.threads_refused == 1);
    __atomic_store_n(&t.may_go, true, __ATOMIC_RELEASE);
    for (int i = 0; i < count; i++) {
        write_byte(NULL);
    }
    cu_wg_wait(&t.keepers);
    cu_wg_wait(&t.waiters);
    check(t.ran == WAITERS);
    printf("all went on\n");
    return 0;
}

/* Who reads waits for who writes, and that needs another thread. */
static int retry(void)
{
    check(pipe(t.fds) == 0);
    for (int i = 0; i < 3; i++) {
        check(cu_wg_go(&t.keepers, block, NULL) > 0);
        check(cu_wg_go(&t.keepers, write_byte, NULL) > 0);
    }
    spawn_waiters();
    cu_wg_wait(&t.keepers);
    cu_wg_wait(&t.waiters);
    check(t.ran == WAITERS);
    printf("all went on\n");
    return 0;
}

static void stay(void *end)
{
    cu_wg_wait(end);
}

/* All are asleep but this thread, while one more is being made that is not needed any longer. */
static int come_late(void)
{
    cu_wg end = {0};
    cu_wg_add(&end, 1);
    check(pipe(t.fds) == 0);
    check(cu_wg_go(&t.waiters, stay, &end) > 0);
    check(cu_wg_go(&t.keepers, block, NULL) > 0);
    spawn_waiters();
    usleep(100000);
    write_byte(NULL);
    usleep(500000);
    cu_wg_done(&end);
    cu_wg_wait(&t.keepers);
    cu_wg_wait(&t.waiters);
    check(t.ran == WAITERS);
    printf("all went on\n");
    return 0;
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "";
    int count = argc > 2 ? atoi(argv[2]) : 1;
    return strcmp(which, "compute") == 0    ? keep(compute, count)
           : strcmp(which, "block") == 0    ? keep(block, count)
           : strcmp(which, "announce") == 0 ? keep(block_announced, count)
           : strcmp(which, "retry") == 0    ? retry()
           : strcmp(which, "late") == 0     ? come_late()
                                            : 98;
}
