/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: programs that are dead, or look as if they were, or are asked what they do: the first
 * argument says which. debug_cases.py knows how each must end and what it must say.
 */
#include <copper/copper.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"

static cu_chan *gate; /* nobody sends on it unless a case says so */

static void receive(void *arg)
{
    int value;
    (void)arg;
    cu_recv(gate, &value);
}

/* ---- dead ---- */

static int main_waits(void *unused)
{
    (void)unused;
    cu_label_set("stage", "waiting");
    cu_go(receive, NULL);
    int value;
    return cu_recv(gate, &value);
}

static int dead(void)
{
    cu_chan_name(gate, "gate");
    printf("said before\n"); /* still in the buffer when the process ends */
    return cu_run(main_waits, NULL);
}

/* No cu_run: the thread itself waits for a coroutine. */
static int dead_thread(void)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, receive, NULL);
    cu_wg_wait(&wg);
    return 0;
}

static int dead_without_coroutines(void)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, receive, NULL);
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    cu_wg_add(&wg, 1);
    cu_wg_wait(&wg);
    return 0;
}

/* The thread waits when all others have been idle, and looked at, for a while. */
static int dead_late(void)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, receive, NULL);
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    usleep(300000);
    cu_wg_add(&wg, 1);
    cu_wg_wait(&wg);
    return 0;
}

static void *sleep_a_little(void *arg)
{
    usleep(*(unsigned *)arg);
    return NULL;
}

/* A thread that could have helped ends without having done so. */
static int dead_when_thread_ends(void)
{
    static unsigned us = 300000;
    pthread_t thread;
    check(pthread_create(&thread, NULL, sleep_a_little, &us) == 0);
    check(pthread_detach(thread) == 0);
    return cu_run(main_waits, NULL);
}

static void *serve_tools(void *unused)
{
    check(cu_service_thread_begin() == 0 && cu_service_thread_is(gettid()));
    for (;;) {
        pause();
    }
    return unused;
}

static int dead_beside_service(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, serve_tools, NULL) == 0);
    return cu_run(main_waits, NULL);
}

/* ---- alive ---- */

static void *send_late(void *unused)
{
    int value = 1;
    usleep(400000);
    check(cu_send(gate, &value) == 0 && cu_send(gate, &value) == 0);
    return unused;
}

static int alive_by_thread(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, send_late, NULL) == 0);
    check(cu_run(main_waits, NULL) == 0);
    pthread_join(thread, NULL);
    return 0;
}

static void send_after_sleep(void *unused)
{
    int value = 1;
    (void)unused;
    cu_sleep(400 * COPPER_MS);
    cu_send(gate, &value);
    cu_send(gate, &value);
}

static int run_sleeper(void *unused)
{
    cu_go(send_after_sleep, NULL);
    return main_waits(unused);
}

static int alive_by_sleep(void)
{
    return cu_run(run_sleeper, NULL);
}

static void compute(void *unused)
{
    int value = 1;
    (void)unused;
    for (int64_t until = cu_now() + 400 * COPPER_MS; cu_now() < until;) {
    }
    cu_send(gate, &value);
    cu_send(gate, &value);
}

static int run_hog(void *unused)
{
    cu_go(compute, NULL);
    return main_waits(unused);
}

static int alive_by_running(void)
{
    return cu_run(run_hog, NULL);
}

static int return_at_once(void *unused)
{
    (void)unused;
    cu_go_with(receive, NULL, &(struct cu_go_options){COPPER_GO_OPTIONS, .daemon = true});
    return 0;
}

/* Only a daemon waits, and the main thread does what it wants. */
static int alive_daemons(void)
{
    check(cu_run(return_at_once, NULL) == 0);
    usleep(300000);
    return 0;
}

static int wait_for_signal(void *unused)
{
    (void)unused;
    int number = 0;
    cu_chan *signals = cu_chan_new(sizeof(int), 1);
    check(cu_signal_notify(signals, (const int[]){SIGUSR1}, 1) == 0);
    check(cu_recv(signals, &number) == 0 && number == SIGUSR1);
    return 0;
}

/* From outside of the process: nobody in it could. */
static int alive_by_signal(void)
{
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        usleep(500000);
        _exit(kill(parent, SIGUSR1) == 0 ? 0 : 1);
    }
    check(child > 0);
    return cu_run(wait_for_signal, NULL);
}

static int read_pipe(void *fd)
{
    char byte;
    return cu_read((int)(intptr_t)fd, &byte, 1) == 1 ? 0 : 1;
}

/* The writer is another process. */
static int alive_by_pipe(void)
{
    int fds[2];
    check(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(500000);
        _exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
    }
    check(child > 0);
    return cu_run(read_pipe, (void *)(intptr_t)fds[0]);
}

static void block(void *unused)
{
    (void)unused;
    usleep(500000);
}

static void send_after_call(void *unused)
{
    (void)unused;
    int value = 1;
    cu_blocking(block, NULL);
    cu_send(gate, &value);
    cu_send(gate, &value);
}

static int run_call(void *unused)
{
    cu_go(send_after_call, NULL);
    return main_waits(unused);
}

static int alive_by_call(void)
{
    return cu_run(run_call, NULL);
}

/* Goes idle and on again, as fast as it can, with a thread on the other side. */
static int alive_ping(void)
{
    cu_wg wg = {0};
    for (int64_t i = 0, until = cu_now() + 500 * COPPER_MS; cu_now() < until; i++) {
        int value = 1;
        cu_wg_go(&wg, receive, NULL);
        check(cu_send(gate, &value) == 0);
        cu_wg_wait(&wg);
    }
    return 0;
}

/* ---- dumps ---- */

static void grandchild(void *arg)
{
    receive(arg);
}

static void child(void *arg)
{
    cu_name_set("child \"one\"");
    cu_go(grandchild, arg);
}

static int run_family(void *unused)
{
    (void)unused;
    cu_label_set("stage", "parse");
    cu_go(child, NULL);
    while (cu_quiesce(0, 10 * COPPER_SEC) != 0) {
    }
    check(cu_dump(STDOUT_FILENO) == 2);
    return 0;
}

static int dump(void)
{
    return cu_run(run_family, NULL);
}

static int run_until_told(void *unused)
{
    (void)unused;
    cu_go(receive, NULL);
    check(cu_quiesce(0, 10 * COPPER_SEC) == 0);
    printf("ready\n");
    fflush(stdout);
    cu_sleep(60 * COPPER_SEC);
    return 0;
}

/* Told from outside: SIGQUIT, then SIGTERM. */
static void end_well(int number)
{
    (void)number;
    _exit(7);
}

static int dump_quit(void)
{
    signal(SIGTERM, end_well);
    return cu_run(run_until_told, NULL);
}

/* ---- last words ---- */

static void print_slowly(int fd, const struct cu_saved_regs *regs, uint64_t lo, uint64_t hi)
{
    (void)regs, (void)lo, (void)hi;
    usleep(300000);
    check(write(fd, "PRINTED\n", 8) == 8);
}

static void misuse(void *unlocked)
{
    cu_mutex_unlock(unlocked);
}

static int run_beside_misuse(void *unused)
{
    static cu_mutex unlocked;
    (void)unused;
    cu_go(misuse, &unlocked);
    cu_sleep(100 * COPPER_MS);
    return 0;
}

static int misuse_as_main_ends(void)
{
    cu_report_set_printer(print_slowly);
    return cu_run(run_beside_misuse, NULL);
}

/* ---- origins ---- */

static void nest(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    if (depth > 0) {
        cu_go(nest, (void *)(depth - 1));
    }
    receive(NULL);
}

static bool count_depth(const struct cu_g_info *g, void *arg)
{
    uint32_t *deepest = arg;
    if (!g->is_main) {
        check(g->origin && g->origin->site == g->site && g->origin->entry == g->entry);
        *deepest = g->origin->depth > *deepest ? g->origin->depth : *deepest;
    }
    return true;
}

static int run_nest(void *unused)
{
    uint32_t deepest = 0;
    (void)unused;
    cu_go(nest, (void *)100);
    check(cu_quiesce(0, 10 * COPPER_SEC) == 0);
    check(cu_inspect_each(count_depth, &deepest) == 102);
    check(deepest == 3); /* main, the first nest, and all that one nest spawned of another */
    return 0;
}

static int origins_repeat(void)
{
    return cu_run(run_nest, NULL);
}

/* ---- cycles ---- */

static cu_mutex locks[3];
static cu_wg circle;

/* Takes the lock of its number, then the next one. */
static void take_two(void *arg)
{
    uintptr_t i = (uintptr_t)arg;
    cu_mutex_lock(&locks[i]);
    cu_sleep(20 * COPPER_MS);
    cu_mutex_lock(&locks[(i + 1) % 3]);
    cu_mutex_unlock(&locks[(i + 1) % 3]);
    cu_mutex_unlock(&locks[i]);
}

static int run_locks(void *count)
{
    for (uintptr_t i = 0; i < (uintptr_t)count; i++) {
        cu_go(take_two, (void *)i);
    }
    for (int i = 0; i < 4; i++) {
        cu_sleep(60 * COPPER_MS);
        int found = cu_deadlocks_check(STDOUT_FILENO);
        printf("found %d\n", found);
        fflush(stdout);
    }
    return 0;
}

static int cycle_of_locks(void)
{
    return cu_run(run_locks, (void *)3);
}

/* Two of three: the third lock is free, so they end. */
static int no_cycle_of_locks(void)
{
    return cu_run(run_locks, (void *)2);
}

static void want_lock(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[0]);
}

static void join_with_lock(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[0]);
    cu_wg_go(&circle, want_lock, NULL);
    cu_wg_wait(&circle);
}

static void end_with_lock(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[1]);
}

static void want_ended(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[1]);
}

static void lose_with_lock(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[2]);
    cu_recv(NULL, NULL);
}

static void want_lost(void *unused)
{
    (void)unused;
    cu_mutex_lock(&locks[2]);
}

static int run_three(void *unused)
{
    (void)unused;
    cu_go(join_with_lock, NULL);
    cu_go(end_with_lock, NULL);
    cu_go(lose_with_lock, NULL);
    cu_sleep(20 * COPPER_MS);
    cu_go(want_ended, NULL);
    cu_go(want_lost, NULL);
    cu_sleep(100 * COPPER_MS);
    int found = cu_deadlocks_check(STDOUT_FILENO);
    check(cu_deadlocks_check(STDOUT_FILENO) == 0);
    printf("found %d\n", found);
    return 0;
}

static int cycles_of_other_kinds(void)
{
    return cu_run(run_three, NULL);
}

static void churn(void *arg)
{
    uintptr_t i = (uintptr_t)arg;
    for (;;) { /* in one order, so never in a circle */
        cu_mutex_lock(&locks[i % 2]);
        cu_mutex_lock(&locks[2]);
        cu_yield();
        cu_mutex_unlock(&locks[2]);
        cu_mutex_unlock(&locks[i % 2]);
    }
}

static void hold_long(void *unused)
{
    (void)unused;
    for (;;) {
        cu_mutex_lock(&locks[2]);
        cu_sleep(70 * COPPER_MS);
        cu_mutex_unlock(&locks[2]);
        cu_yield();
    }
}

static int run_churn(void *unused)
{
    (void)unused;
    for (uintptr_t i = 0; i < 40; i++) {
        cu_go(churn, (void *)i);
    }
    cu_go(hold_long, NULL);
    for (int64_t until = cu_now() + 2 * COPPER_SEC; cu_now() < until;) {
        check(cu_deadlocks_check(STDOUT_FILENO) == 0);
        cu_sleep(COPPER_MS);
    }
    return 0;
}

static int no_cycle_in_churn(void)
{
    return cu_run(run_churn, NULL);
}

/* The watch thread says it while a sleeper keeps the program alive. */
static int run_watched(void *unused)
{
    (void)unused;
    for (uintptr_t i = 0; i < 3; i++) {
        cu_go(take_two, (void *)i);
    }
    for (int i = 0; i < 60; i++) {
        cu_sleep(50 * COPPER_MS);
    }
    return 0;
}

static int cycle_is_noticed(void)
{
    return cu_run(run_watched, NULL);
}

static const struct test_case cases[] = {
    {"dead", dead},
    {"dead_thread", dead_thread},
    {"dead_without_coroutines", dead_without_coroutines},
    {"dead_late", dead_late},
    {"dead_when_thread_ends", dead_when_thread_ends},
    {"dead_beside_service", dead_beside_service},
    {"alive_by_thread", alive_by_thread},
    {"alive_by_sleep", alive_by_sleep},
    {"alive_by_running", alive_by_running},
    {"alive_by_signal", alive_by_signal},
    {"alive_by_pipe", alive_by_pipe},
    {"alive_by_call", alive_by_call},
    {"alive_daemons", alive_daemons},
    {"alive_ping", alive_ping},
    {"dump", dump},
    {"dump_quit", dump_quit},
    {"misuse_as_main_ends", misuse_as_main_ends},
    {"origins_repeat", origins_repeat},
    {"cycle_of_locks", cycle_of_locks},
    {"no_cycle_of_locks", no_cycle_of_locks},
    {"cycles_of_other_kinds", cycles_of_other_kinds},
    {"no_cycle_in_churn", no_cycle_in_churn},
    {"cycle_is_noticed", cycle_is_noticed},
};

int main(int argc, char **argv)
{
    gate = cu_chan_new(sizeof(int), 0);
    return run_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
