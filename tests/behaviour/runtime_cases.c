/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: programs that behave, or misbehave, in one way each: the first argument says which.
 * runtime_cases.py knows how each must end and what it must say.
 */
#include <copper/chan.h>
#include <copper/errgroup.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/pool.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/timer.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include "cases.h"

/* ---- faults ---- */

__attribute__((noinline)) static uint64_t recurse(uint64_t depth)
{
    volatile char frame[1000];
    frame[0] = (char)depth;
    return depth > 1000000 ? 0 : recurse(depth + 1) + (uint64_t)frame[0];
}

static void overflow_body(void *unused)
{
    (void)unused;
    cu_name_set("deep");
    printf("%llu\n", (unsigned long long)recurse(0));
}

static int run_overflow(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_wg_go(&wg, overflow_body, NULL);
    cu_wg_wait(&wg);
    return 0;
}

static int overflow(void)
{
    return cu_run(run_overflow, NULL);
}

static void say_printed(int fd, const struct cu_saved_regs *regs, uint64_t lo, uint64_t hi)
{
    check(regs->pc != 0 && regs->sp < hi && regs->sp + 65536 >= lo);
    check(write(fd, "PRINTED\n", 8) == 8);
}

static int overflow_printer(void)
{
    cu_report_set_printer(say_printed);
    return cu_run(run_overflow, NULL);
}

/* Overflows by no more than a few frames, so that nothing but the canary is hurt, then parks. */
static void overflow_a_little(void *unused)
{
    uint64_t lo;
    struct cu_here here;
    (void)unused;
    cu_inspect_here(&here);
    lo = here.stack_lo;
    memset((void *)(uintptr_t)lo, 1, 64);
    cu_yield();
    cu_sleep(COPPER_MS);
}

static int run_canary(void *unused)
{
    (void)unused;
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    check(strcmp(stats.guard_mode, "canary") == 0);
    cu_go(overflow_a_little, NULL);
    cu_sleep(100 * COPPER_MS);
    return 0;
}

/* From here on the given system call fails with EINVAL when its third argument is `argument`. */
static void forbid(uint32_t number, uint32_t argument)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, argument, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    filter_calls(code, sizeof(code) / sizeof(code[0]));
}

static int overflow_mprotect(void)
{
    forbid(SYS_madvise, 102);
    return cu_run(run_overflow, NULL);
}

static int overflow_canary(void)
{
    forbid(SYS_madvise, 102);
    forbid(SYS_mprotect, 0);
    return cu_run(run_canary, NULL);
}

static int guard_canary(void)
{
    return cu_run(run_canary, NULL);
}

__attribute__((no_sanitize("undefined"))) static int run_null(void *unused)
{
    (void)unused;
    volatile int *nowhere = NULL;
    return *nowhere;
}

static int null_dereference(void)
{
    return cu_run(run_null, NULL);
}

static void exit_42(int signal, siginfo_t *info, void *context)
{
    (void)context;
    _exit(signal == SIGSEGV && info->si_addr == NULL ? 42 : 1);
}

static int chained_handler(void)
{
    struct sigaction action = {.sa_sigaction = exit_42, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    return cu_run(run_null, NULL);
}

/* ---- misuse ---- */

static int run_close_twice(void *unused)
{
    (void)unused;
    cu_chan *c = cu_chan_new(4, 3);
    cu_chan_name(c, "jobs");
    cu_chan_close(c);
    cu_chan_close(c);
    return 0;
}

static int close_twice(void)
{
    return cu_run(run_close_twice, NULL);
}

static int close_null(void)
{
    cu_chan_close(NULL);
    return 0;
}

static int close_timer(void)
{
    cu_chan_close(cu_after(COPPER_SEC));
    return 0;
}

static int run_send_to_ticker(void *unused)
{
    (void)unused;
    cu_send(cu_ticker_chan(cu_ticker_new(COPPER_SEC)), &(int64_t){1});
    return 0;
}

static int send_to_ticker(void)
{
    return cu_run(run_send_to_ticker, NULL);
}

static int ticker_of_zero(void)
{
    cu_ticker_new(0);
    return 0;
}

static int wg_negative(void)
{
    cu_wg wg = {0};
    cu_wg_done(&wg);
    return 0;
}

static int unlock_unlocked(void)
{
    cu_mutex mu = {0};
    cu_mutex_unlock(&mu);
    return 0;
}

static int runlock_unlocked(void)
{
    cu_rwmutex rw = {0};
    cu_rwmutex_lock(&rw);
    cu_rwmutex_runlock(&rw);
    return 0;
}

static int wunlock_rlocked(void)
{
    cu_rwmutex rw = {0};
    cu_rwmutex_rlock(&rw);
    cu_rwmutex_unlock(&rw);
    return 0;
}

static int sem_over_limit(void)
{
    cu_sem sem = COPPER_SEM_INIT(2);
    cu_sem_acquire(&sem, 1);
    cu_sem_release(&sem, 2);
    return 0;
}

static void once_again(void *once)
{
    cu_once_do(once, once_again, once);
}

static int once_in_itself(void)
{
    cu_once once = {0};
    cu_once_do(&once, once_again, &once);
    return 0;
}

static void free_own_pool(void *pool)
{
    cu_pool_free(pool);
}

static int pool_frees_itself(void)
{
    cu_pool *pool = cu_pool_new(1, 0);
    cu_pool_submit(pool, free_own_pool, pool);
    cu_pool_drain(pool);
    return 0;
}

static int sleep_a_while(void *unused)
{
    (void)unused;
    cu_sleep(COPPER_SEC);
    return 0;
}

static int limit_of_running(void)
{
    cu_group group = {0};
    cu_group_go(&group, sleep_a_while, NULL);
    cu_group_set_limit(&group, 3);
    return 0;
}

static int run_exit(void *unused)
{
    (void)unused;
    cu_exit();
}

static int exit_in_main(void)
{
    return cu_run(run_exit, NULL);
}

static int exit_in_thread(void)
{
    cu_exit();
}

static void receive_epipe(void *c)
{
    int value = 5;
    check(cu_recv(c, &value) == -EPIPE && value == 0);
}

static int run_last_reference(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_wg_go(&wg, receive_epipe, c);
    cu_wg_go(&wg, receive_epipe, c);
    cu_sleep(20 * COPPER_MS);
    cu_chan_unref(c);
    cu_wg_wait(&wg);
    return 0;
}

static int last_reference(void)
{
    return cu_run(run_last_reference, NULL);
}

/* ---- life of the process ---- */

static int return_7(void *unused)
{
    (void)unused;
    return 7;
}

static int exit_status(void)
{
    check(cu_run(return_7, NULL) == 7);
    return cu_run(return_7, NULL);
}

static int run_nested(void *unused)
{
    (void)unused;
    return cu_run(return_7, NULL) == -EDEADLK ? 0 : 1;
}

static int run_in_run(void)
{
    return cu_run(run_nested, NULL);
}

static void wait_for_ever(void *unused)
{
    (void)unused;
    cu_recv(NULL, NULL);
}

static void yield_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        cu_yield();
    }
}

static void answer(void *c)
{
    int value = 1;
    cu_send(c, &value);
}

/* A small program that uses most of the runtime. */
static int run_small(void *unused)
{
    (void)unused;
    int sum = 0, value;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    for (int i = 0; i < 20; i++) {
        check(cu_go(answer, c) > 0);
    }
    for (int i = 0; i < 20; i++) {
        check(cu_recv(c, &value) == 0);
        sum += value;
    }
    cu_sleep(COPPER_MS);
    cu_chan_unref(c);
    return sum;
}

static bool count_one(const struct cu_g_info *g, void *arg)
{
    (void)g;
    ++*(int64_t *)arg;
    return true;
}

static void wait_for_child(pid_t pid, int expected)
{
    int status;
    check(pid > 0 && waitpid(pid, &status, 0) == pid);
    check(WIFEXITED(status) && WEXITSTATUS(status) == expected);
}

static int run_background(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10; i++) {
        check(cu_go(wait_for_ever, NULL) > 0);
        check(i > 2 || cu_go(yield_for_ever, NULL) > 0);
    }
    return 0;
}

static int fork_in_thread(void)
{
    check(cu_run(run_background, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int64_t seen = 0;
            cu_inspect_each(count_one, &seen);
            check(seen == 0 && cu_self() == 0);
            check(cu_run(run_small, NULL) == 20);
            _exit(3);
        }
        wait_for_child(pid, 3);
    }
    return cu_run(run_small, NULL) == 20 ? 0 : 1;
}

static int run_fork(void *unused)
{
    (void)unused;
    cu_id before = cu_self();
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        check(!sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGCHLD));
        check(cu_self() == 0);
        check(cu_run(run_small, NULL) == 20);
        return 5; /* the main coroutine of the parent: ends the child with this status */
    }
    wait_for_child(pid, 5);
    check(cu_self() == before);
    return 0;
}

static int fork_in_coroutine(void)
{
    return cu_run(run_fork, NULL);
}

static int print_procs(void)
{
    printf("procs %d\n", cu_maxprocs());
    return cu_run(return_7, NULL) == 7 ? 0 : 1;
}

static int affinity(void)
{
    cpu_set_t set;
    check(sched_getaffinity(0, sizeof(set), &set) == 0);
    int kept = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set) && kept++) {
            CPU_CLR(i, &set);
        }
    }
    check(sched_setaffinity(0, sizeof(set), &set) == 0);
    return print_procs();
}

static int run_too_many(void *unused)
{
    (void)unused;
    cu_id id = 1;
    for (int i = 0; i < 2000 && id > 0; i++) {
        id = cu_go(wait_for_ever, NULL);
    }
    return id == -EAGAIN ? 0 : 1;
}

static int too_many(void)
{
    return cu_run(run_too_many, NULL);
}

static int run_no_space(void *unused)
{
    (void)unused;
    cu_id id = 1;
    int started = 0;
    for (; started < 1000000 && id > 0; started++) {
        id = cu_go(wait_for_ever, NULL);
    }
    check(id == -ENOMEM && started > 1000);
    cu_sleep(COPPER_MS); /* those that were promised a stack get it */
    return 0;
}

static int no_address_space(void)
{
    struct rlimit limit = {(rlim_t)2 << 30, (rlim_t)2 << 30};
    check(setrlimit(RLIMIT_AS, &limit) == 0);
    return cu_run(run_no_space, NULL);
}

static int run_masks(void *unused)
{
    (void)unused;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    check(sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGTERM) &&
          sigismember(&mask, SIGALRM));
    check(!sigismember(&mask, SIGPROF) && !sigismember(&mask, SIGSEGV));
    check(!sigismember(&mask, SIGVTALRM) && !sigismember(&mask, SIGURG));
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof(name));
    check(strncmp(name, "copper-", 7) == 0);
    return 0;
}

static int signal_masks(void)
{
    sigset_t prof;
    sigemptyset(&prof);
    sigaddset(&prof, SIGPROF);
    pthread_sigmask(SIG_BLOCK, &prof, NULL); /* what the starter blocks is not inherited */
    return cu_run(run_masks, NULL);
}

/* ---- tools ---- */

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    (void)context;
    return ++*(int *)arg > 100 ? _URC_NORMAL_STOP : _URC_NO_REASON;
}

static int run_unwind(void *unused)
{
    (void)unused;
    int frames = 0;
    check(_Unwind_Backtrace(count_frame, &frames) == _URC_END_OF_STACK);
    printf("frames %d\n", frames);
    check(frames >= 3 && frames < 12);
    return 0;
}

static int unwind_ends(void)
{
    return cu_run(run_unwind, NULL);
}

static uint32_t bad_samples, coroutine_samples; /* atomic */

/* Each coroutine's label says its id, so that a torn answer shows. */
static void sample_sig(int signal)
{
    struct cu_here here;
    (void)signal;
    cu_inspect_here(&here);
    if (here.kind != COPPER_HERE_COROUTINE) {
        return;
    }
    bool is_good = here.id > 0 && here.stack_lo < here.stack_hi;
    if (cu_labels_count(here.labels) == 1) {
        const char *digits = cu_labels_value(here.labels, 0);
        cu_id id = 0;
        while (*digits) {
            id = id * 10 + (*digits++ - '0');
        }
        is_good = is_good && id == here.id;
        __atomic_fetch_add(&coroutine_samples, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&bad_samples, !is_good, __ATOMIC_RELAXED);
}

static uint32_t stop; /* atomic */

static void spin_labelled(void *unused)
{
    (void)unused;
    char id[24];
    snprintf(id, sizeof(id), "%lld", (long long)cu_self());
    check(cu_label_set("id", id) == 0);
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        cu_yield();
    }
}

static int run_sampled(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    struct itimerval tick = {{0, 1000}, {0, 1000}}, none = {{0, 0}, {0, 0}};
    signal(SIGPROF, sample_sig);
    for (int i = 0; i < 10; i++) {
        cu_wg_go(&wg, spin_labelled, NULL);
    }
    setitimer(ITIMER_PROF, &tick, NULL);
    do {
        cu_sleep(COPPER_SEC);
    } while (__atomic_load_n(&coroutine_samples, __ATOMIC_RELAXED) <=
             20); /* on a crowded machine */
    setitimer(ITIMER_PROF, &none, NULL);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    cu_wg_wait(&wg);
    printf("samples %u, bad %u\n", coroutine_samples, bad_samples);
    check(coroutine_samples > 20 && bad_samples == 0);
    return 0;
}

static int here_in_handler(void)
{
    return cu_run(run_sampled, NULL);
}

static int try_procs(void *unused)
{
    (void)unused;
    check(cu_maxprocs() == 1 && cu_set_maxprocs(0) == 1 && cu_set_maxprocs(1) == 1);
    check(cu_set_maxprocs(2) == -EBUSY && cu_maxprocs() == 1);
    return 0;
}

static int procs_in_replay(void)
{
    return cu_run(try_procs, NULL);
}

struct census {
    int64_t parked, with_regs;
};

static bool take_census(const struct cu_g_info *g, void *arg)
{
    struct census *census = arg;
    census->parked += g->state == COPPER_G_WAITING && g->reason == COPPER_WAIT_CHAN_RECV;
    census->with_regs += g->has_regs && g->stack_lo < g->regs.sp && g->regs.sp < g->stack_hi;
    return true;
}

static void park_at(void *gate)
{
    cu_recv(gate, NULL);
}

static int run_many(void *unused)
{
    (void)unused;
    int64_t many = 100000;
    struct census census = {0, 0};
    struct cu_runtime_stats stats;
    cu_wg wg = {0};
    cu_chan *gate = cu_chan_new(0, 0);
    for (int64_t i = 0; i < many; i++) {
        check(cu_wg_go(&wg, park_at, gate) > 0);
    }
    check(cu_quiesce(0, 30 * COPPER_SEC) == 0);
    cu_inspect_each(take_census, &census);
    cu_runtime_stats_read(&stats);
    printf("parked %lld, with registers %lld, guards %s\n", (long long)census.parked,
           (long long)census.with_regs, stats.guard_mode);
    check(census.parked == many && census.with_regs >= many);
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    check(cu_quiesce(0, 30 * COPPER_SEC) == 0);
    cu_runtime_stats_read(&stats);
    check(stats.live == 1);
    cu_chan_unref(gate);
    return 0;
}

static void *do_nothing(void *arg)
{
    return arg;
}

static void park_at_chan(void *gate)
{
    char value;
    cu_recv(gate, &value);
}

/* More stacks than there can be guards by mprotect: the program can still map and start threads. */
static int run_mappings(void *unused)
{
    (void)unused;
    cu_chan *gate = cu_chan_new(1, 0);
    for (int i = 0; i < 40000; i++) {
        check(cu_go(park_at_chan, gate) > 0);
    }
    check(cu_quiesce(0, 60 * COPPER_SEC) == 0);
    struct cu_runtime_stats stats = {.size = sizeof(stats)};
    cu_runtime_stats_read(&stats);
    printf("guard %s\n", stats.guard_mode);
    for (int i = 0; i < 2000; i++) { /* neighbours that cannot be joined */
        check(mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
              MAP_FAILED);
    }
    pthread_t thread;
    check(pthread_create(&thread, NULL, do_nothing, NULL) == 0);
    pthread_join(thread, NULL);
    cu_chan_close(gate);
    return 0;
}

static int guard_leaves_mappings(void)
{
    return cu_run(run_mappings, NULL);
}

static int parked_100k(void)
{
    return cu_run(run_many, NULL);
}

/* ---- plain threads ---- */

struct shared {
    cu_chan *there, *back;
    cu_mutex mutex;
    cu_wg wg;
    int64_t count; /* guarded by mutex */
};

static void echo(void *arg)
{
    struct shared *s = arg;
    int value;
    while (cu_recv(s->there, &value) == 0) {
        cu_mutex_lock(&s->mutex);
        s->count++;
        cu_mutex_unlock(&s->mutex);
        check(cu_send(s->back, &value) == 0);
    }
}

static void *talk(void *arg)
{
    struct shared *s = arg;
    for (int i = 0, value; i < 2000; i++) {
        check(cu_send(s->there, &i) == 0 && cu_recv(s->back, &value) == 0);
        cu_mutex_lock(&s->mutex);
        s->count++;
        cu_mutex_unlock(&s->mutex);
    }
    return NULL;
}

static int plain_threads(void)
{
    struct shared s = {cu_chan_new(sizeof(int), 0), cu_chan_new(sizeof(int), 0), {{0}}, {{0}}, 0};
    pthread_t threads[3];
    check(cu_wg_go(&s.wg, echo, &s) > 0 && cu_wg_go(&s.wg, echo, &s) > 0); /* starts the runtime */
    for (int i = 0; i < 3; i++) {
        check(pthread_create(&threads[i], NULL, talk, &s) == 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    cu_chan_close(s.there);
    cu_wg_wait(&s.wg);
    check(s.count == 2 * 3 * 2000);
    check(cu_quiesce(0, COPPER_SEC) == 0);
    cu_chan_unref(s.there);
    cu_chan_unref(s.back);
    return 0;
}

static const struct test_case cases[] = {
    {"overflow", overflow},
    {"overflow_printer", overflow_printer},
    {"overflow_mprotect", overflow_mprotect},
    {"overflow_canary", overflow_canary},
    {"guard_madvise", overflow},
    {"guard_mprotect", overflow},
    {"guard_canary", guard_canary},
    {"guard_leaves_mappings", guard_leaves_mappings},
    {"guard_unknown", print_procs},
    {"null_dereference", null_dereference},
    {"chained_handler", chained_handler},
    {"close_twice", close_twice},
    {"close_null", close_null},
    {"close_timer", close_timer},
    {"send_to_ticker", send_to_ticker},
    {"ticker_of_zero", ticker_of_zero},
    {"wg_negative", wg_negative},
    {"unlock_unlocked", unlock_unlocked},
    {"runlock_unlocked", runlock_unlocked},
    {"wunlock_rlocked", wunlock_rlocked},
    {"sem_over_limit", sem_over_limit},
    {"once_in_itself", once_in_itself},
    {"pool_frees_itself", pool_frees_itself},
    {"limit_of_running", limit_of_running},
    {"exit_in_main", exit_in_main},
    {"exit_in_thread", exit_in_thread},
    {"last_reference", last_reference},
    {"exit_status", exit_status},
    {"run_in_run", run_in_run},
    {"fork_in_thread", fork_in_thread},
    {"fork_in_coroutine", fork_in_coroutine},
    {"print_procs", print_procs},
    {"affinity", affinity},
    {"too_many", too_many},
    {"no_address_space", no_address_space},
    {"signal_masks", signal_masks},
    {"unwind_ends", unwind_ends},
    {"here_in_handler", here_in_handler},
    {"procs_in_replay", procs_in_replay},
    {"parked_100k", parked_100k},
    {"plain_threads", plain_threads},
};

int main(int argc, char **argv)
{
    return run_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
