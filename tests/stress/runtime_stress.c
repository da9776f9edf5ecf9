/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: random coroutine programs against a model: nothing is lost, nothing happens twice,
 * nobody waits for ever.
 *
 * Each round draws which concepts take part (stress.h), and how often each; then a tree of workers,
 * coroutines and plain threads among them, takes steps of these, at random, while a tool watches
 * (watch.c). At the end of the round the models must be right and every coroutine gone.
 *
 * usage: runtime_stress [SECONDS [SEED [PROCS [STEPS]]]]
 * PROCS: how many P; "any": a plain thread changes their number all the time.
 * STEPS: of each worker of a round, 40 unless given; more make rounds in which somebody can starve
 * for longer. A round's seed is printed when something is wrong; given as SEED it is the first
 * round's.
 */
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "stress.h"

#define ROOTS       16
#define THREADS_MAX 3
#define DEPTH_MAX   4
#define WORKERS_MAX 150
#define KEEP_NS     (100 * COPPER_MS) /* for each 40 steps */

static const struct concept *const concepts[] = {
    &tokens_concept,   &select_concept, &locks_concept,   &waits_concept,
    &contexts_concept, &timers_concept, &groups_concept,  &threads_concept,
    &pipes_concept,    &alarms_concept, &tickers_concept, &safe_points_concept,
};
#define CONCEPTS (sizeof(concepts) / sizeof(concepts[0]))

uint64_t stress_seed;
static unsigned steps = 40;

static struct {
    cu_wg workers;
    unsigned shares[64];     /* a concept each: as many as its share */
    uint64_t spawned, ended; /* atomic */
    int64_t to_keep_ns;      /* atomic: what is left of KEEP_NS */
} r;

unsigned draw(uint64_t *random, unsigned n)
{
    unsigned drawn = (unsigned)(*random % n);
    *random /= n;
    return drawn;
}

static int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * COPPER_SEC + t.tv_nsec;
}

bool may_keep_thread(int64_t ns)
{
    return __atomic_fetch_sub(&r.to_keep_ns, ns, __ATOMIC_RELAXED) >= ns;
}

void compute(int64_t ns)
{
    if (!may_keep_thread(ns)) {
        return;
    }
    for (int64_t end_ns = thread_cpu_ns() + ns; thread_cpu_ns() < end_ns;) {
        for (volatile unsigned i = 0; i < 20000; i++) {
        }
    }
}

bool can_hand_off(void)
{
    const char *text = getenv("COPPER_HANDOFF");
    return text == NULL || strcmp(text, "0") != 0;
}

void dawdle(uint64_t random)
{
    unsigned kind = draw(&random, 64);
    if (kind == 0) {
        compute((int64_t)draw(&random, 4) * COPPER_MS);
    } else if (kind < 8) {
        sleep_and_check(draw(&random, 200) * COPPER_US);
    } else if (kind < 24) {
        cu_yield();
    }
}

/* Touches stack well below the first page, and must find it unchanged. */
static void go_deep(uint64_t random, unsigned levels)
{
    volatile uint64_t frame[128];
    for (size_t i = 0; i < 128; i++) {
        frame[i] = random + i;
    }
    if (levels > 0) {
        go_deep(random + 1, levels - 1);
    } else {
        dawdle(random);
    }
    for (size_t i = 0; i < 128; i++) {
        check(frame[i] == random + i);
    }
}

/* Never inlined: a caller that parks must not keep errno's address, which is the thread's. */
__attribute__((noinline)) static void set_errno(int value)
{
    __asm__ volatile("" ::: "memory");
    errno = value;
}

__attribute__((noinline)) static int get_errno(void)
{
    __asm__ volatile("" ::: "memory");
    return errno;
}

static void yield_and_check(uint64_t random)
{
    int value = (int)(random % 100);
    set_errno(value);
    cu_yield();
    check(cu_self() == 0 || get_errno() == value);
}

/* ---- workers ---- */

struct job {
    uint64_t seed;
    unsigned depth;
};

static void work(void *arg);

static void spawn(uint64_t seed, unsigned depth)
{
    if (__atomic_add_fetch(&r.spawned, 1, __ATOMIC_RELAXED) > WORKERS_MAX) {
        __atomic_fetch_add(&r.ended, 1, __ATOMIC_RELAXED);
        return;
    }
    struct job *job = malloc(sizeof(*job));
    check(job != NULL);
    *job = (struct job){seed, depth};
    check(cu_wg_go(&r.workers, work, job) > 0);
}

static void take_step(uint64_t random, unsigned depth)
{
    switch (draw(&random, 8)) {
    case 0:
        yield_and_check(random);
        break;
    case 1:
        if (depth < DEPTH_MAX && draw(&random, 2)) {
            spawn(random, depth + 1);
        } else {
            go_deep(random, draw(&random, 20));
        }
        cu_label_set("step", random & 1 ? "odd" : "even");
        break;
    default:
        concepts[r.shares[draw(&random, 64)]]->step(random);
    }
}

static void work(void *arg)
{
    struct job job = *(struct job *)arg;
    cu_id self = cu_self();
    free(arg);
    for (unsigned i = 0; i < steps; i++) {
        uint64_t random = next_random(&job.seed);
        take_step(next_random(&job.seed), job.depth);
        check(cu_self() == self);
        if (random % 256 == 0) {
            __atomic_fetch_add(&r.ended, 1, __ATOMIC_RELAXED);
            cu_exit();
        }
    }
    __atomic_fetch_add(&r.ended, 1, __ATOMIC_RELAXED);
}

static void *work_in_thread(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (unsigned i = 0; i < steps; i++) {
        take_step(next_random(&seed), DEPTH_MAX - 1);
    }
    return NULL;
}

/* ---- rounds ---- */

/* Some concepts, or all, or just one. */
static void draw_shares(uint64_t *seed)
{
    uint64_t random = next_random(seed);
    uint64_t present = draw(&random, 4) == 0   ? ~(uint64_t)0
                       : draw(&random, 4) == 0 ? (uint64_t)1 << draw(&random, CONCEPTS)
                                               : next_random(seed);
    for (size_t i = 0; i < 64; i++) {
        unsigned concept = (unsigned)(next_random(seed) % CONCEPTS);
        for (unsigned at = 0; at < CONCEPTS && !(present >> concept & 1); at++) {
            concept = (concept + 1) % CONCEPTS;
        }
        r.shares[i] = concept;
    }
}

static void begin_round(uint64_t *seed)
{
    memset(&r, 0, sizeof(r));
    r.to_keep_ns = KEEP_NS * (int64_t)steps / 40;
    draw_shares(seed);
    for (size_t i = 0; i < CONCEPTS; i++) {
        if (concepts[i]->begin) {
            concepts[i]->begin(next_random(seed));
        }
    }
}

static void run_workers(uint64_t seed)
{
    pthread_t threads[THREADS_MAX];
    unsigned count = (unsigned)(next_random(&seed) % (THREADS_MAX + 1));
    cu_wg_add(&r.workers, 1);
    for (unsigned i = 0; i < count; i++) {
        void *arg = (void *)(uintptr_t)next_random(&seed);
        check(pthread_create(&threads[i], NULL, work_in_thread, arg) == 0);
    }
    for (int i = 0; i < ROOTS; i++) {
        spawn(next_random(&seed), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    cu_wg_done(&r.workers);
    cu_wg_wait(&r.workers);
}

static bool count_member(const struct cu_g_info *g, void *arg)
{
    uint64_t *scope_and_count = arg;
    scope_and_count[1] += g->scope == scope_and_count[0];
    return true;
}

static void verify_round(uint64_t scope)
{
    uint64_t members[2] = {scope, 0};
    check(r.spawned == r.ended);
    for (size_t i = CONCEPTS; i-- > 0;) {
        if (concepts[i]->verify) {
            concepts[i]->verify();
        }
    }
    check(cu_quiesce(scope, 60 * COPPER_SEC) == 0);
    cu_inspect_each(count_member, members);
    check(members[1] == 0);
}

static void run_round(uint64_t seed)
{
    uint64_t previous, scope = cu_scope_enter(&previous);
    stress_seed = seed;
    watch_round();
    begin_round(&seed);
    run_workers(seed);
    for (size_t i = CONCEPTS; i-- > 0;) {
        if (concepts[i]->end) {
            concepts[i]->end();
        }
    }
    cu_scope_leave(previous);
    verify_round(scope);
}

/* ---- the number of P changes ---- */

#define PROCS_MAX 8

static uint32_t stop_changing; /* atomic */

static void *change_procs(void *arg)
{
    uint64_t *changes = arg, random = 5;
    int procs = cu_maxprocs();
    while (!__atomic_load_n(&stop_changing, __ATOMIC_ACQUIRE)) {
        int next = 1 + (int)(next_random(&random) % PROCS_MAX);
        check(cu_set_maxprocs(next) == procs && cu_maxprocs() == next);
        procs = next;
        ++*changes;
        if (next_random(&random) % 4) { /* else at once again */
            cu_sleep((int64_t)(next_random(&random) % 2000) * COPPER_US);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 5;
    uint64_t seed = argc > 2 && *argv[2] ? strtoull(argv[2], NULL, 10) : (uint64_t)cu_now();
    uint64_t rounds = 0, changes = 0;
    bool changes_procs = argc > 3 && strcmp(argv[3], "any") == 0;
    pthread_t changer;
    if (argc > 3 && !changes_procs) {
        setenv("COPPER_MAXPROCS", argv[3], 1);
    }
    steps = argc > 4 ? (unsigned)atoi(argv[4]) : steps;
    printf("seed %llu, %d P\n", (unsigned long long)seed, cu_maxprocs());
    fflush(stdout);
    watch_begin();
    if (changes_procs) {
        check(pthread_create(&changer, NULL, change_procs, &changes) == 0);
    }
    for (int64_t end_ns = cu_now() + (int64_t)(seconds * 1e9); rounds == 0 || cu_now() < end_ns;) {
        run_round(seed);
        seed = next_random(&seed);
        rounds++;
    }
    watch_end();
    if (changes_procs) {
        __atomic_store_n(&stop_changing, 1, __ATOMIC_RELEASE);
        pthread_join(changer, NULL);
        printf("%llu changes of the number of P\n", (unsigned long long)changes);
    }
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    printf("%llu rounds, %llu coroutines, %llu switches, %llu stolen, %llu threads; hand-offs: "
           "%llu given up, %llu in system calls, %llu blocked, %llu hogs; %llu preempted, "
           "%llu starved\n",
           (unsigned long long)rounds, (unsigned long long)stats.created,
           (unsigned long long)stats.switches, (unsigned long long)stats.steals,
           (unsigned long long)stats.threads, (unsigned long long)stats.handoffs[0],
           (unsigned long long)stats.handoffs[1], (unsigned long long)stats.handoffs[2],
           (unsigned long long)stats.handoffs[3], (unsigned long long)stats.preempted,
           (unsigned long long)stats.starved);
    return 0;
}
