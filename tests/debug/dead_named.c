/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program with all the libraries that ends in a deadlock, dumps many coroutines, or
 * overflows a stack.
 */
#include <copper/copper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static cu_chan *jobs;

__attribute__((noinline)) static void wait_for_jobs(void)
{
    cu_recv(jobs, NULL);
    __asm__ volatile("");
}

static void worker(void *unused)
{
    (void)unused;
    wait_for_jobs();
    __asm__ volatile("");
}

static int app(void *unused)
{
    (void)unused;
    jobs = cu_chan_new(0, 0);
    cu_go(worker, NULL);
    wait_for_jobs();
    return 0;
}

static int dump_many(void *unused)
{
    (void)unused;
    jobs = cu_chan_new(0, 0);
    for (int i = 0; i < 2000; i++) {
        cu_go(worker, NULL);
    }
    if (cu_quiesce(0, 20 * COPPER_SEC)) {
        return 1;
    }
    int64_t begin_ns = cu_now();
    if (cu_dump(STDOUT_FILENO) != 2001) {
        return 2;
    }
    fprintf(stderr, "%lld us each\n", (long long)((cu_now() - begin_ns) / COPPER_US / 2001));
    return 0;
}

/* What it touches first lies below the stack. */
__attribute__((noinline)) static int recurse(int depth)
{
    volatile char frame[1000];
    memset((void *)frame, depth, sizeof(frame));
    return depth ? recurse(depth - 1) + frame[1] : 0;
}

static void descend(void *unused)
{
    (void)unused;
    printf("%d\n", recurse(100000));
}

static int overflow(void *unused)
{
    (void)unused;
    cu_go(descend, NULL);
    cu_sleep(60 * COPPER_SEC);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "overflow") == 0) {
        return cu_run(overflow, NULL);
    }
    return cu_run(argc > 1 ? dump_many : app, NULL);
}
