/* SPDX-License-Identifier: Apache-2.0
 *
 * Ends in the way its first argument names, having left what its name says; the second argument is
 * the status it ends with (default 0). at_exit.py looks at its status and at what it printed.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/leakcheck.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/timer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a stranded coroutine holds is lost on purpose here. */
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
    return "detect_leaks=0";
}

#define HUNDRED_THOUSAND 100000

static int status;
static cu_chan *jobs;
static cu_mutex mu;
static cu_wg never;

static void worker(void *c)
{
    while (cu_recv(c, NULL) == 0)
        ;
}

static void strand_workers(int n)
{
    jobs = cu_chan_new(sizeof(int), 0);
    cu_chan_name(jobs, "jobs");
    for (int i = 0; i < n; i++)
        cu_go(worker, jobs);
}

static int app_clean(void *unused)
{
    (void)unused;
    strand_workers(10);
    cu_chan_close(jobs);
    return status;
}

static int app_workers(void *unused)
{
    (void)unused;
    strand_workers(3);
    return status;
}

static int app_hundred_thousand(void *unused)
{
    (void)unused;
    strand_workers(HUNDRED_THOUSAND);
    cu_quiesce(0, 60 * COPPER_SEC); /* on a busy machine this may take longer than an exit waits */
    return status;
}

static void lock_it(void *unused)
{
    (void)unused;
    cu_mutex_lock(&mu);
}

static void wait_for_it(void *unused)
{
    (void)unused;
    cu_wg_wait(&never);
}

static int app_three_kinds(void *unused)
{
    (void)unused;
    strand_workers(4);
    cu_mutex_lock(&mu);
    cu_wg_add(&never, 1);
    for (int i = 0; i < 2; i++)
        cu_go(lock_it, NULL);
    cu_go(wait_for_it, NULL);
    return status;
}

static int app_daemon(void *unused)
{
    (void)unused;
    const struct cu_go_options options = {COPPER_GO_OPTIONS, .daemon = true};
    cu_go_with(worker, cu_chan_new(0, 0), &options);
    return status;
}

static void sleep_long(void *unused)
{
    (void)unused;
    cu_sleep(3600 * COPPER_SEC);
}

static int app_sleeping(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++)
        cu_go(sleep_long, NULL);
    cu_sleep(10 * COPPER_MS);
    return status;
}

/* A ticker wakes who waits for it; a timer that was stopped does not. */
static int app_ticker(void *unused)
{
    (void)unused;
    cu_go(worker, cu_ticker_chan(cu_ticker_new(3600 * COPPER_SEC)));
    cu_sleep(10 * COPPER_MS);
    return status;
}

static int app_stopped_timer(void *unused)
{
    (void)unused;
    cu_timer *t = cu_timer_new(3600 * COPPER_SEC);
    cu_go(worker, cu_timer_chan(t));
    cu_sleep(10 * COPPER_MS);
    cu_timer_stop(t);
    return status;
}

static int app_exit_in_coroutine(void *unused)
{
    (void)unused;
    strand_workers(3);
    printf("printed without a newline"); /* must not be lost */
    exit(status);
}

static int app_underscore_exit(void *unused)
{
    (void)unused;
    strand_workers(3);
    _exit(status);
}

static int app_stdio(void *unused)
{
    (void)unused;
    FILE *f = fopen("stdio.out", "w");
    if (f == NULL)
        return 99;
    strand_workers(1);
    fputs("buffered", f); /* never closed: exit must flush it */
    printf("printed without a newline");
    return status;
}

static int app_fork(void *unused)
{
    (void)unused;
    strand_workers(3);
    cu_sleep(5 * COPPER_MS);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        exit(0); /* has no coroutines: clean */
    int child_status = -1;
    if (child < 0 || waitpid(child, &child_status, 0) != child)
        return 99;
    return child_status == 0 ? 0 : 98;
}

/* Stranded only for as long as it takes main to return: somebody is about to wake them. */
static void wake_slowly(void *c)
{
    for (int i = 0; i < 10; i++) {
        for (volatile int n = 0; n < 1000000; n++)
            ;
        cu_send(c, NULL);
    }
}

static void receive_one(void *c)
{
    cu_recv(c, NULL);
}

static int app_settles(void *unused)
{
    (void)unused;
    cu_chan *c = cu_chan_new(0, 0);
    for (int i = 0; i < 10; i++)
        cu_go(receive_one, c);
    cu_go(wake_slowly, c);
    return status;
}

/* No cu_run: coroutines started by a plain thread. */
static int plain(void)
{
    strand_workers(3);
    return status;
}

static int asked_for(void)
{
    if (cu_leak_check_at_exit() < 0)
        return 99;
    return plain();
}

static const struct {
    const char *name;
    int (*app)(void *);
    int (*plain)(void);
} kinds[] = {
    {"clean", app_clean, NULL},
    {"workers", app_workers, NULL},
    {"hundred-thousand", app_hundred_thousand, NULL},
    {"three-kinds", app_three_kinds, NULL},
    {"daemon", app_daemon, NULL},
    {"sleeping", app_sleeping, NULL},
    {"ticker", app_ticker, NULL},
    {"stopped-timer", app_stopped_timer, NULL},
    {"exit-in-coroutine", app_exit_in_coroutine, NULL},
    {"_exit", app_underscore_exit, NULL},
    {"stdio", app_stdio, NULL},
    {"fork", app_fork, NULL},
    {"settles", app_settles, NULL},
    {"plain", NULL, plain},
    {"asked-for", NULL, asked_for},
};

int main(int argc, char **argv)
{
    status = argc > 2 ? atoi(argv[2]) : 0;
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[1], kinds[i].name) == 0)
            return kinds[i].app != NULL ? cu_run(kinds[i].app, NULL) : kinds[i].plain();
    fprintf(stderr, "usage: %s KIND [STATUS]\n", argv[0]);
    return 2;
}
