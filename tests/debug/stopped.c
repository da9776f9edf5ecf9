/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a program for debuggers to look at: coroutines that wait in known ways, one that runs.
 */
#include <copper/copper.h>
#include <stdlib.h>
#include <unistd.h>

static cu_chan *jobs;
volatile int is_told;    /* by the debugger */
volatile int locked_tid; /* the thread of `locked` */

__attribute__((noinline)) static void wait_deeply(int depth)
{
    volatile int here = depth;
    if (depth > 0) {
        wait_deeply(depth - 1);
    } else {
        cu_recv(jobs, NULL);
    }
    here++;
}

static void worker(void *arg)
{
    cu_name_set(arg);
    wait_deeply(3);
}

static void sleeper(void *arg)
{
    (void)arg;
    cu_sleep(1000 * COPPER_SEC);
}

static void ticking(void *ticker)
{
    cu_recv(cu_ticker_chan(ticker), NULL);
}

static void locked(void *arg)
{
    (void)arg;
    cu_lock_thread();
    locked_tid = gettid();
    cu_recv(jobs, NULL);
    cu_unlock_thread();
}

static void never_runs(void *arg)
{
    (void)arg;
}

__attribute__((noinline)) static void stop_here(void)
{
    __asm__ volatile("");
}

static int app(void *arg)
{
    jobs = cu_chan_new(0, 0);
    cu_go(worker, "first");
    cu_go(worker, "second");
    cu_go(sleeper, NULL);
    cu_go(locked, NULL);
    cu_go(ticking, cu_ticker_new(1000 * COPPER_SEC));
    if (cu_quiesce(0, 100 * COPPER_MS) == 0) {
        return 1; /* the sleeper keeps that from coming true */
    }
    cu_go(never_runs, NULL);
    stop_here();
    if (arg) {
        abort();
    }
    while (!is_told) {
    }
    return 0;
}

/* With an argument it crashes by itself. */
int main(int argc, char **argv)
{
    return cu_run(app, argc > 1 ? argv[1] : NULL);
}
