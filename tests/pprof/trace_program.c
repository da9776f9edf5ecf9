/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: programs whose traces are judged from outside.
 *
 *     trace_program WHAT FILE [NUMBER]
 *
 *     random     a random program (NUMBER is its seed), traced from before its first coroutine to
 *                after its last
 *     middle     the same, but traced twice from the middle, into FILE and FILE.2
 *     many       NUMBER coroutines that are parked when the trace begins
 *     hog        coroutines that run when the trace begins and do not stop for a while
 *     blocks     waits of known length; what the program measured is printed
 *     waits      waits, calls and delays, told to the block and schedule profiles too, which it
 *                serves until its input ends
 *     tasks      tasks, regions and logs, misused ones too
 *     procs      the number of P is changed, by a coroutine and by a thread that spawns meanwhile
 *     calls      parks, spawns and logs in the middle of announced calls
 *     skynet     a tree of NUMBER leaves, as fast as the machine can
 *     serve      serves until its input ends; coroutines work meanwhile. With a NUMBER random
 *                programs follow each other, and tell of regions, tasks and odd texts
 *     late       a hog delays another coroutine, with the flight recorder on
 *     kept       NUMBER coroutines under a flight recorder that is started, asked and stopped from
 * C
 *
 * A second table of hooks counts what happens; `random` prints it as "count NAME NUMBER".
 */
#include <copper/blocking.h>
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/io.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <copper/trace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *path;
static uint64_t number;

static void die(const char *what, int err)
{
    fprintf(stderr, "trace_program: %s: %s\n", what, strerror(-err));
    exit(1);
}

/* ---- counting -------------------------------------------------------------------------------- */

static _Atomic uint64_t created, ready, running, parked, yielded, exited, syscalls, returns,
    handoffs, preempted, parked_lost, exited_lost, returns_lost;

static void on_created(void *tool, int64_t now, cu_id g, cu_id parent, const struct cu_site *site)
{
    (void)tool, (void)now, (void)g, (void)parent, (void)site;
    created++;
}
static void on_ready(void *tool, int64_t now, cu_id g, cu_id by)
{
    (void)tool, (void)now, (void)g, (void)by;
    ready++;
}
static void on_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool, (void)now, (void)resume;
    running++;
}
static void on_parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                      const void *object, int64_t deadline_ns)
{
    (void)tool, (void)now, (void)g, (void)reason, (void)object, (void)deadline_ns;
    parked++;
    parked_lost += p < 0;
}
static void on_exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)g;
    exited++;
    exited_lost += p < 0;
}
static void on_syscall_end(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)now, (void)g;
    returns++;
    returns_lost += p < 0;
}
#define COUNT_G(name, counter)                                                                     \
    static void name(void *tool, int64_t now, cu_id g, int p)                                      \
    {                                                                                              \
        (void)tool, (void)now, (void)g, (void)p;                                                   \
        counter++;                                                                                 \
    }
COUNT_G(on_yielded, yielded)
COUNT_G(on_syscall_begin, syscalls)
COUNT_G(on_preempted, preempted)
static void on_handoff(void *tool, int64_t now, int p, cu_id g, int32_t tid,
                       enum cu_handoff_cause cause)
{
    (void)tool, (void)now, (void)p, (void)g, (void)tid, (void)cause;
    handoffs++;
}

static const struct cu_hooks counting = {.version = COPPER_HOOKS_VERSION,
                                         .size = sizeof(counting),
                                         .created = on_created,
                                         .ready = on_ready,
                                         .running = on_running,
                                         .parked = on_parked,
                                         .yielded = on_yielded,
                                         .exited = on_exited,
                                         .syscall_begin = on_syscall_begin,
                                         .syscall_end = on_syscall_end,
                                         .preempted = on_preempted,
                                         .handoff = on_handoff};

static void print_counts(void)
{
    struct cu_trace_stats stats;
    cu_trace_stats_read(&stats);
    printf("count created %lu\ncount ready %lu\ncount running %lu\ncount parked %lu\n"
           "count yielded %lu\ncount exited %lu\ncount syscalls %lu\ncount returns %lu\n"
           "count handoffs %lu\ncount preempted %lu\ncount parked_lost %lu\ncount exited_lost %lu\n"
           "count returns_lost %lu\n",
           created, ready, running, parked, yielded, exited, syscalls, returns, handoffs, preempted,
           parked_lost, exited_lost, returns_lost);
    printf("count mended %lu\ncount lost %lu\ncount dropped %lu\ncount generations %lu\n",
           stats.mended, stats.lost, stats.dropped, stats.generations);
}

/* ---- a random program ------------------------------------------------------------------------ */

#define CHANS   4
#define MUTEXES 3

static cu_chan *chans[CHANS];
static cu_mutex mutexes[MUTEXES];
static cu_wg all;
static bool is_talking;
static _Atomic int budget;

struct worker {
    uint64_t seed;
    int depth;
};

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *seed >> 33;
}

static __attribute__((noinline)) void burn(int64_t ns)
{
    for (int64_t until = cu_now() + ns; cu_now() < until;) {
    }
}

static void work(void *arg);

static void spawn(uint64_t seed, int depth)
{
    struct worker *w = malloc(sizeof(*w));
    *w = (struct worker){seed, depth};
    cu_wg_go(&all, work, w);
}

static void short_call(void *us)
{
    usleep((useconds_t)(uintptr_t)us);
}

static void talk_oddly(uint64_t which)
{
    uint64_t task = cu_trace_task_begin("odd \"task\"", 0);
    cu_trace_region_begin(task, which & 1 ? "outer\n" : "");
    cu_trace_region_begin(0, "inner\\");
    cu_trace_log(task, "text",
                 "no UTF-8: \xff\xc3( \xed\xa0\x80, UTF-8: \xc3\xa9 \xe2\x82\xac \x01");
    cu_yield();
    cu_trace_region_end(0, "inner\\");
    cu_trace_region_end(task, which & 1 ? "outer\n" : "");
    cu_trace_task_end(task);
}

static void step(struct worker *w)
{
    uint64_t what = draw(&w->seed) % 100, which = draw(&w->seed);
    cu_chan *c = chans[which % CHANS];
    uint64_t value = which;
    if (is_talking && which % 32 == 0) {
        talk_oddly(which / 32);
    }
    if (what < 25) {
        cu_try_send(c, &value);
    } else if (what < 45) {
        cu_try_recv(c, &value);
    } else if (what < 60) {
        cu_yield();
    } else if (what < 68) {
        cu_sleep((int64_t)(draw(&w->seed) % 200000));
    } else if (what < 80) {
        cu_mutex *mu = &mutexes[which % MUTEXES];
        cu_mutex_lock(mu);
        if (which & 64) {
            cu_yield();
        }
        cu_mutex_unlock(mu);
    } else if (what < 86 && w->depth < 4 && budget-- > 0) {
        spawn(draw(&w->seed), w->depth + 1);
    } else if (what < 90) {
        cu_label_set("kind", which & 1 ? "odd" : "even");
    } else if (what < 92) {
        cu_syscall_enter();
        usleep((useconds_t)(which % 100));
        cu_syscall_exit();
    } else if (what < 94) {
        cu_blocking(short_call, (void *)(uintptr_t)(which % 200));
    } else if (what < 96) {
        cu_chan *own = cu_chan_new(sizeof(value), 0);
        cu_chan_unref(own);
    } else if (which % 128 == 0) {
        burn(12 *
             COPPER_MS); /* beyond a slice: its P is taken, and what it does next it does without */
    } else if (which % 128 == 1) {
        usleep(4000); /* a call that nobody announced: the same */
    } else {
        burn((int64_t)(which % 2000));
    }
}

static void work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 60; i++) {
        step(w);
    }
    free(w);
}

static void ping(void *c)
{
    for (int i = 0; i < 20; i++) {
        cu_send(c, &i);
    }
}

static void *foreign(void *seed)
{
    uint64_t s = (uint64_t)(uintptr_t)seed;
    for (int i = 0; i < 10; i++) {
        spawn(draw(&s), 3);
        uint64_t value = 1;
        cu_try_send(chans[i % CHANS], &value);
        usleep((useconds_t)(draw(&s) % 300));
    }
    return NULL;
}

static int run_random(void *seed_of)
{
    uint64_t seed = *(uint64_t *)seed_of;
    pthread_t thread;
    budget = 200;
    for (int i = 0; i < CHANS; i++) {
        chans[i] = cu_chan_new(sizeof(uint64_t), (size_t)i);
    }
    pthread_create(&thread, NULL, foreign, (void *)(uintptr_t)seed);
    for (int i = 0; i < 10; i++) {
        spawn(draw(&seed), 0);
    }
    cu_wg pings = {0};
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_wg_go(&pings, ping, c);
    for (int i = 0, got; i < 20; i++) {
        cu_recv(c, &got);
    }
    cu_wg_wait(&pings);
    cu_chan_unref(c);
    pthread_join(thread, NULL);
    cu_wg_wait(&all);
    for (int i = 0; i < CHANS; i++) {
        cu_chan_unref(chans[i]);
    }
    return 0;
}

static void start_trace(const char *to, struct cu_trace **trace)
{
    int err = cu_trace_start_file(to, trace);
    if (err) {
        die("cu_trace_start_file", err);
    }
}

static void stop_trace(struct cu_trace *trace)
{
    int err = cu_trace_stop(trace);
    if (err) {
        die("cu_trace_stop", err);
    }
}

static int do_random(void)
{
    struct cu_trace *trace;
    start_trace(path, &trace);
    if (cu_hooks_attach(&counting, NULL) != 0) {
        die("cu_hooks_attach", -1);
    }
    uint64_t seed = number;
    cu_run(run_random, &seed);
    cu_quiesce(0, 5 * COPPER_SEC);
    usleep(20000); /* the last exits are told */
    cu_hooks_detach(&counting, NULL);
    stop_trace(trace);
    print_counts();
    return 0;
}

static void *take_from_the_middle(void *unused)
{
    (void)unused;
    struct cu_trace *first, *second;
    char other[512];
    snprintf(other, sizeof(other), "%s.2", path);
    usleep((useconds_t)(number % 3000));
    start_trace(path, &first);
    usleep(2000 + (useconds_t)(number % 7000));
    start_trace(other, &second);
    usleep(3000);
    stop_trace(first);
    usleep(3000);
    stop_trace(second);
    return NULL;
}

static int run_often(void *unused)
{
    (void)unused;
    for (uint64_t seed = number; seed < number + 6; seed++) {
        run_random(&seed);
    }
    return 0;
}

static int do_middle(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, take_from_the_middle, NULL);
    cu_run(run_often, NULL);
    pthread_join(thread, NULL);
    print_counts();
    return 0;
}

/* ---- known programs -------------------------------------------------------------------------- */

static _Atomic uint64_t waiting;

static void wait_for_close(void *c)
{
    int value;
    atomic_fetch_add(&waiting, 1);
    cu_recv(c, &value);
}

static int run_many(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_wg parked_ones = {0};
    for (uint64_t i = 0; i < number; i++) {
        cu_wg_go(&parked_ones, wait_for_close, c);
    }
    while (atomic_load(&waiting) < number) {
        cu_sleep(10 * COPPER_MS);
    }
    cu_sleep(50 * COPPER_MS); /* for the last ones to park */
    start_trace(path, &trace);
    cu_sleep(20 * COPPER_MS);
    cu_chan_close(c);
    cu_wg_wait(&parked_ones);
    stop_trace(trace);
    cu_chan_unref(c);
    print_counts();
    return 0;
}

static void hog(void *unused)
{
    (void)unused;
    burn(2500 * COPPER_MS);
}

static int run_hog(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    cu_wg hogs = {0};
    cu_wg_go(&hogs, hog, NULL);
    cu_sleep(20 * COPPER_MS);
    start_trace(path, &trace);
    cu_wg_wait(&hogs);
    stop_trace(trace);
    print_counts();
    return 0;
}

static void send_late(void *c)
{
    for (int i = 0; i < 10; i++) {
        cu_sleep(20 * COPPER_MS);
        cu_send(c, &i);
    }
}

static void hold(void *mu)
{
    for (int i = 0; i < 5; i++) {
        cu_mutex_lock(mu);
        cu_sleep(30 * COPPER_MS);
        cu_mutex_unlock(mu);
        cu_sleep(5 * COPPER_MS);
    }
}

static void nap(void *unused)
{
    (void)unused;
    cu_sleep(40 * COPPER_MS);
}

static int run_blocks(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    static cu_mutex mu;
    cu_chan *c = cu_chan_new(sizeof(int), 0);
    cu_wg helpers = {0};
    int64_t waited_ns = 0, since_ns;
    start_trace(path, &trace);
    cu_wg_go(&helpers, hold, &mu);
    cu_sleep(5 * COPPER_MS);
    for (int i = 0; i < 5; i++) {
        since_ns = cu_now();
        cu_mutex_lock(&mu);
        waited_ns += cu_now() - since_ns;
        cu_mutex_unlock(&mu);
        cu_sleep(10 * COPPER_MS);
    }
    cu_wg_go(&helpers, send_late, c);
    for (int i = 0, got; i < 10; i++) {
        since_ns = cu_now();
        cu_recv(c, &got);
        waited_ns += cu_now() - since_ns;
    }
    cu_wg_go(&helpers, nap, NULL);
    since_ns = cu_now();
    cu_wg_wait(&helpers);
    waited_ns += cu_now() - since_ns;
    stop_trace(trace);
    printf("waited %ld\n", waited_ns);
    cu_chan_unref(c);
    return 0;
}

/* ---- waits ----------------------------------------------------------------------------------- */

static cu_chan *gate, *numbers;
static cu_mutex waited_for;
static int wire[2];

/* Behind it all have run once in the trace: the tool leaves out what a coroutine waited before. */
static void pass_gate(void)
{
    cu_recv(gate, NULL);
    cu_sleep(2 * COPPER_MS);
}

static void hold_in_turn(void *unused)
{
    (void)unused;
    pass_gate();
    for (int i = 0; i < 6; i++) {
        cu_mutex_lock(&waited_for);
        cu_sleep(15 * COPPER_MS);
        cu_mutex_unlock(&waited_for);
        cu_yield();
    }
}

static void tell_numbers(void *unused)
{
    (void)unused;
    pass_gate();
    for (int i = 0; i < 10; i++) {
        cu_sleep(10 * COPPER_MS);
        cu_send(numbers, &i);
        cu_write(wire[1], "x", 1);
    }
}

static void take_numbers(void *unused)
{
    (void)unused;
    pass_gate();
    for (int i = 0, number_told; i < 10; i++) {
        cu_recv(numbers, &number_told);
    }
}

static void read_bytes(void *unused)
{
    char byte;
    (void)unused;
    pass_gate();
    for (int i = 0; i < 10; i++) {
        cu_read(wire[0], &byte, 1);
    }
}

static void make_calls(void *unused)
{
    (void)unused;
    pass_gate();
    for (int i = 0; i < 10; i++) {
        cu_syscall_enter();
        usleep(3000);
        cu_syscall_exit();
        cu_blocking(short_call, (void *)(uintptr_t)3000);
        cu_sleep(COPPER_MS);
    }
}

static void delay_others(void *unused)
{
    (void)unused;
    pass_gate();
    for (int i = 0; i < 10; i++) {
        burn(8 * COPPER_MS);
        cu_sleep(COPPER_MS);
    }
}

static int run_waits(void *unused)
{
    (void)unused;
    static void (*const workers[])(void *) = {hold_in_turn, hold_in_turn, tell_numbers,
                                              take_numbers, read_bytes,   make_calls,
                                              delay_others};
    struct cu_trace *trace;
    cu_wg wg = {0};
    gate = cu_chan_new(1, 0);
    numbers = cu_chan_new(sizeof(int), 0);
    if (pipe(wire) != 0 || (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0)) {
        return 1;
    }
    for (size_t i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
        cu_wg_go(&wg, workers[i], NULL);
    }
    cu_sleep(20 * COPPER_MS); /* all are at the gate, so that none is new in the trace */
    start_trace(path, &trace);
    if (cu_profile_block_rate(1) || cu_profile_schedule_rate(1)) {
        return 1;
    }
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    cu_profile_block_rate(0);
    cu_profile_schedule_rate(0);
    stop_trace(trace);
    cu_chan_unref(gate);
    cu_chan_unref(numbers);
    return 0;
}

static int do_waits(void)
{
    char byte;
    int err = cu_run(run_waits, NULL);
    if (!err) {
        puts(cu_pprof_address());
        fflush(stdout);
        while (read(STDIN_FILENO, &byte, 1) > 0) {
        }
    }
    return err;
}

/* ---- the number of P ------------------------------------------------------------------------- */

static void work_shortly(void *unused)
{
    (void)unused;
    burn(100 * COPPER_US);
}

/* Coroutines that come from no coroutine, before the number is changed, meanwhile and after. */
static void *change_from_outside(void *wg)
{
    for (int i = 0; i < 40; i++) {
        cu_wg_go(wg, work_shortly, NULL);
        usleep(1000);
        if (i == 20) {
            cu_set_maxprocs(5);
        }
    }
    return NULL;
}

static int run_procs(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    pthread_t thread;
    cu_wg some = {0};
    start_trace(path, &trace);
    for (int i = 0; i < 40; i++) {
        cu_wg_go(&some, work_shortly, NULL);
        cu_sleep(COPPER_MS);
        if (i == 10) {
            cu_set_maxprocs(4);
        } else if (i == 20) {
            cu_set_maxprocs(1);
            cu_set_maxprocs(1); /* no change */
        } else if (i == 30) {
            cu_set_maxprocs(3);
        }
    }
    pthread_create(&thread, NULL, change_from_outside, &some);
    for (int i = 0; i < 25; i++) { /* more than one generation */
        cu_wg_go(&some, work_shortly, NULL);
        cu_sleep(100 * COPPER_MS);
    }
    pthread_join(thread, NULL);
    cu_wg_wait(&some);
    stop_trace(trace);
    print_counts();
    return 0;
}

/* ---- annotations ----------------------------------------------------------------------------- */

static void handle(void *arg)
{
    uint64_t task = *(uint64_t *)arg;
    cu_trace_region_begin(task, "handle");
    cu_trace_log(task, "step", "begin");
    burn(COPPER_MS);
    cu_trace_region_begin(task, "parse");
    cu_sleep(COPPER_MS);
    cu_trace_region_end(task, "parse");
    cu_trace_region_end(task, "handle");
    cu_trace_task_end(task);
}

static int run_tasks(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    uint64_t ids[10];
    cu_wg workers = {0};
    char *lengthy = malloc(5000);
    memset(lengthy, 'x', 4999);
    lengthy[4999] = '\0';
    cu_trace_region_begin(0, "before the trace");
    start_trace(path, &trace);
    for (int i = 0; i < 10; i++) {
        ids[i] = cu_trace_task_begin("request", i ? ids[0] : 0);
        cu_wg_go(&workers, handle, &ids[i]);
    }
    cu_wg_wait(&workers);
    cu_trace_region_end(0, "before the trace");
    cu_trace_region_begin(0, "outer");
    cu_trace_region_begin(0, "inner");
    cu_trace_region_end(0, "never begun");
    cu_trace_region_end(0, "outer"); /* inner is still open */
    cu_trace_log(0, "", lengthy);
    stop_trace(trace);
    cu_trace_log(0, "after", "the trace");
    free(lengthy);
    print_counts();
    return 0;
}

static cu_chan *answers;

static void answer(void *unused)
{
    (void)unused;
    int value = 1;
    cu_send(answers, &value);
}

static void talk(void *unused)
{
    (void)unused;
    int value;
    cu_go(answer, NULL);
    cu_trace_log(0, "inside", "the call");
    cu_recv(answers, &value);
}

static int run_calls(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    answers = cu_chan_new(sizeof(int), 0);
    start_trace(path, &trace);
    for (int i = 0; i < 10; i++) {
        cu_syscall_enter();
        talk(NULL);
        cu_syscall_exit();
        cu_blocking(talk, NULL);
    }
    stop_trace(trace);
    cu_chan_unref(answers);
    print_counts();
    return 0;
}

struct node {
    cu_chan *up;
    uint64_t leaves;
};

static void grow(void *arg)
{
    struct node *self = arg;
    uint64_t sum = 1;
    if (self->leaves > 1) {
        struct node children[10];
        cu_chan *results = cu_chan_new(sizeof(uint64_t), 0);
        for (int i = 0; i < 10; i++) {
            children[i] = (struct node){results, self->leaves / 10};
            cu_go(grow, &children[i]);
        }
        sum = 0;
        for (int i = 0; i < 10; i++) {
            uint64_t part;
            cu_recv(results, &part);
            sum += part;
        }
        cu_chan_unref(results);
    }
    cu_send(self->up, &sum);
}

static int run_skynet(void *unused)
{
    (void)unused;
    struct cu_trace *trace;
    start_trace(path, &trace);
    struct node root = {cu_chan_new(sizeof(uint64_t), 0), number};
    uint64_t sum;
    cu_go(grow, &root);
    cu_recv(root.up, &sum);
    stop_trace(trace);
    cu_chan_unref(root.up);
    print_counts();
    return sum == 0;
}

static void chatter(void *c)
{
    for (int value = 0;; value++) {
        cu_send(c, &value);
        cu_sleep(COPPER_MS);
    }
}

static int run_served(void *unused)
{
    (void)unused;
    cu_chan *c = cu_chan_new(sizeof(int), 2);
    cu_go(chatter, c);
    cu_go(chatter, c);
    for (int value;;) {
        cu_recv(c, &value);
        burn(300000);
    }
    return 0;
}

static int run_endless(void *unused)
{
    (void)unused;
    is_talking = true;
    for (uint64_t seed = number;; seed++) {
        run_random(&seed);
        cu_sleep(50 * COPPER_MS);
    }
    return 0;
}

static void *run_aside(void *fn)
{
    cu_run(*(int (**)(void *))fn, NULL);
    return NULL;
}

static int do_serve(void)
{
    static int (*fn)(void *);
    fn = number ? run_endless : run_served;
    char buffer[64];
    pthread_t thread;
    int err = cu_pprof_serve("127.0.0.1:0");
    if (err) {
        die("cu_pprof_serve", err);
    }
    pthread_create(&thread, NULL, run_aside, &fn);
    usleep(50000);
    puts(cu_pprof_address());
    fflush(stdout);
    while (read(STDIN_FILENO, buffer, sizeof(buffer)) > 0) {
    }
    _exit(0);
}

static void take_late(void *c)
{
    for (int i = 0, value; i < 10; i++) {
        cu_recv(c, &value);
    }
}

static void hold_p(void *c)
{
    for (int i = 0; i < 10; i++) {
        cu_sleep(COPPER_MS); /* the other parks */
        cu_send(c, &i);
        burn(60 * COPPER_MS);
    }
}

static int run_late(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    cu_chan *c = cu_chan_new(sizeof(int), 10);
    cu_wg_go(&wg, take_late, c);
    cu_wg_go(&wg, hold_p, c);
    cu_wg_wait(&wg);
    cu_chan_unref(c);
    int err = strcmp(path, "-") == 0 ? 0 : cu_flight_write(path);
    if (err) {
        die("cu_flight_write", err);
    }
    return 0;
}

static int run_kept(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    int err = cu_flight_start(10 * COPPER_SEC, 0);
    for (uint64_t i = 0; i < number; i++) {
        cu_wg_go(&wg, nap, NULL);
    }
    cu_wg_wait(&wg);
    err = err ? err : cu_flight_write(path);
    if (err) {
        die("the flight recorder", err);
    }
    printf("started again: %d\n", cu_flight_start(COPPER_SEC, 0));
    printf("stopped: %d\n", cu_flight_start(0, 0));
    printf("nothing kept: %s\n", strerror(-cu_flight_write(path)));
    printf("negative: %s\n", strerror(-cu_flight_start(-1, 0)));
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    path = argc > 2 ? argv[2] : "";
    number = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)(strcmp(what, "serve") != 0);
    static const struct {
        const char *name;
        int (*run)(void *);
    } runs[] = {{"many", run_many},     {"hog", run_hog},     {"skynet", run_skynet},
                {"blocks", run_blocks}, {"tasks", run_tasks}, {"late", run_late},
                {"kept", run_kept},     {"calls", run_calls}, {"procs", run_procs}};
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        if (strcmp(what, runs[i].name) == 0) {
            return cu_run(runs[i].run, NULL);
        }
    }
    if (strcmp(what, "random") == 0) {
        return do_random();
    }
    if (strcmp(what, "middle") == 0) {
        return do_middle();
    }
    if (strcmp(what, "waits") == 0) {
        return do_waits();
    }
    if (strcmp(what, "serve") == 0) {
        return do_serve();
    }
    fprintf(stderr, "usage: trace_program WHAT FILE [NUMBER]\n");
    return 2;
}
