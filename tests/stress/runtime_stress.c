/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: random coroutine programs against a model: nothing is lost, nothing happens twice.
 *
 * Each round spawns a tree of workers that send numbered tokens through channels, count under
 * mutexes, sleep, yield, spawn, end early; drainers (coroutines and a plain thread) receive. At the
 * end of the round every token must have arrived once, every count must be right, every coroutine
 * must be gone. Meanwhile an inspector thread visits all coroutines without pause and reads their
 * stacks.
 *
 * usage: runtime_stress [SECONDS [SEED]]
 * The seed of each round is printed when something is wrong; with it the round's program (though
 * not its interleaving) comes back.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS   6
#define MUTEXES    3
#define TOKENS_MAX 20000u
#define ROOTS      24
#define OPS        40
#define DEPTH_MAX  4

#define check(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold, seed %llu\n", __FILE__, __LINE__, #x,        \
                    (unsigned long long)round_seed);                                               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct token {
    uint64_t number, check, filler;
};

static uint64_t round_seed;
static struct round {
    cu_chan *channels[CHANNELS];
    cu_mutex mutexes[MUTEXES];
    uint64_t counts[MUTEXES];   /* guarded by the mutex of the same index */
    uint64_t expected[MUTEXES]; /* atomic */
    cu_wg workers, drainers;
    uint64_t tokens;             /* atomic: handed out */
    uint64_t spawned, ended;     /* atomic */
    uint8_t arrived[TOKENS_MAX]; /* atomic */
} * r;

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void arrive(const struct token *t)
{
    check(t->check == ~t->number && t->number < TOKENS_MAX);
    check(__atomic_fetch_add(&r->arrived[t->number], 1, __ATOMIC_RELAXED) == 0);
}

static bool new_token(struct token *t)
{
    t->number = __atomic_fetch_add(&r->tokens, 1, __ATOMIC_RELAXED);
    t->check = ~t->number;
    t->filler = 0;
    return t->number < TOKENS_MAX;
}

static void drain(void *arg)
{
    struct token t;
    int error;
    while ((error = cu_recv(arg, &t)) == 0) {
        arrive(&t);
    }
    check(error == -EPIPE && t.number == 0);
}

static void *drain_in_thread(void *arg)
{
    drain(arg);
    return NULL;
}

struct job {
    uint64_t seed;
    int depth;
};

static void work(void *arg);

static void spawn(uint64_t seed, int depth)
{
    struct job *job = malloc(sizeof(*job));
    check(job != NULL);
    *job = (struct job){seed, depth};
    __atomic_fetch_add(&r->spawned, 1, __ATOMIC_RELAXED);
    check(cu_wg_go(&r->workers, work, job) > 0);
}

static void count_under_mutex(uint64_t random)
{
    size_t i = random % MUTEXES;
    __atomic_fetch_add(&r->expected[i], 1, __ATOMIC_RELAXED);
    if (random & 64) {
        if (!cu_mutex_try_lock(&r->mutexes[i])) {
            cu_mutex_lock(&r->mutexes[i]);
        }
    } else {
        cu_mutex_lock(&r->mutexes[i]);
    }
    uint64_t before = r->counts[i];
    if (random % 7 == 0) {
        cu_yield(); /* others meet a held mutex */
    }
    r->counts[i] = before + 1;
    cu_mutex_unlock(&r->mutexes[i]);
}

static void doze(uint64_t random)
{
    int64_t ns = (int64_t)(random % 300) * COPPER_US, before_ns = cu_now();
    cu_sleep(ns);
    check(cu_now() - before_ns >= ns);
}

/* Touches stack well below the first page, and must find it unchanged. */
static void go_deep(uint64_t random, int levels)
{
    volatile uint64_t frame[128];
    for (size_t i = 0; i < 128; i++) {
        frame[i] = random + i;
    }
    if (levels > 0) {
        go_deep(random + 1, levels - 1);
    } else {
        cu_yield();
    }
    for (size_t i = 0; i < 128; i++) {
        check(frame[i] == random + i);
    }
}

static void receive_until_closed(void *arg)
{
    struct token t;
    while (cu_recv(arg, &t) == 0) {
    }
    cu_chan_unref(arg);
}

/* A private channel, closed while others wait on it. */
static void close_under_waiters(void)
{
    cu_chan *c = cu_chan_new(sizeof(struct token), 0);
    cu_wg wg = {0};
    for (int i = 0; i < 3; i++) {
        cu_chan_ref(c);
        check(cu_wg_go(&wg, receive_until_closed, c) > 0);
    }
    cu_yield();
    struct token t = {0};
    cu_try_send(c, &t);
    cu_chan_close(c);
    check(cu_send(c, &t) == -EPIPE);
    cu_chan_unref(c);
    cu_wg_wait(&wg);
}

static void send_token(uint64_t random)
{
    struct token t;
    cu_chan *c = r->channels[random % CHANNELS];
    if (!new_token(&t)) {
        return;
    }
    if ((random & 256) && cu_try_send(c, &t) == 0) {
        return;
    }
    check(cu_send(c, &t) == 0);
}

static void one_step(uint64_t random, int depth)
{
    struct token t;
    random >>= 4;
    switch (random % 12) {
    case 0:
    case 1:
        cu_yield();
        break;
    case 2:
        if (depth < DEPTH_MAX) {
            spawn(random, depth + 1);
        }
        break;
    case 3:
    case 4:
    case 5:
        send_token(random >> 8);
        break;
    case 6:
        if (cu_try_recv(r->channels[(random >> 8) % CHANNELS], &t) == 0) {
            arrive(&t);
        }
        break;
    case 7:
    case 8:
        count_under_mutex(random >> 8);
        break;
    case 9:
        if (random % 5 == 0) {
            doze(random >> 8);
        }
        break;
    case 10:
        go_deep(random, (int)(random >> 8) % 20);
        break;
    default:
        if (random % 8 == 0) {
            close_under_waiters();
        }
        cu_label_set("step", random & 1024 ? "odd" : "even");
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

static void work(void *arg)
{
    struct job job = *(struct job *)arg;
    cu_id self = cu_self();
    free(arg);
    for (int i = 0; i < OPS; i++) {
        uint64_t random = next_random(&job.seed);
        int value = (int)(random % 100);
        set_errno(value);
        cu_yield();
        check(get_errno() == value);
        one_step(random, job.depth);
        check(cu_self() == self);
        if (random % 97 == 0) {
            __atomic_fetch_add(&r->ended, 1, __ATOMIC_RELAXED);
            cu_exit();
        }
    }
    __atomic_fetch_add(&r->ended, 1, __ATOMIC_RELAXED);
}

/* A plain thread among the workers. */
static void *work_in_thread(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < OPS; i++) {
        uint64_t random = next_random(&seed);
        if (random % 3 == 0) {
            send_token(random >> 8);
        } else if (random % 3 == 1) {
            count_under_mutex(random >> 8);
        } else {
            spawn(random, DEPTH_MAX - 1);
        }
    }
    return NULL;
}

struct census {
    uint64_t scope;
    int64_t members;
    uint64_t sum; /* of stack words: read for the sake of reading */
};

/* A stack that stands still may still be written to by wakers, where the wait's record lies; and it
 * has sanitizers' red zones. Unwinders read it raw. */
__attribute__((no_sanitize("address", "thread"))) static uint64_t read_raw(uint64_t at)
{
    return *(const volatile uint64_t *)(uintptr_t)at;
}

static bool look(const struct cu_g_info *g, void *arg)
{
    struct census *census = arg;
    check(g->id > 0 && g->size == sizeof(*g));
    check(g->state != COPPER_G_RUNNING || !g->has_regs);
    if (g->has_regs) {
        check(g->stack_lo < g->regs.sp && g->regs.sp < g->stack_hi);
        for (uint64_t at = g->regs.sp; at < g->stack_hi && at < g->regs.sp + 256; at += 8) {
            census->sum += read_raw(at);
        }
    }
    if (g->object.kind == COPPER_OBJECT_CHAN && g->object.cap) {
        check(g->object.len <= g->object.cap);
    }
    census->members += g->scope == census->scope;
    return true;
}

static uint32_t stop_inspecting; /* atomic */

static void *inspect_without_pause(void *arg)
{
    struct census census = {0};
    uint64_t *rounds = arg;
    while (!__atomic_load_n(&stop_inspecting, __ATOMIC_ACQUIRE)) {
        cu_inspect_each(look, &census);
        ++*rounds;
        cu_sleep(200 * COPPER_US);
    }
    return NULL;
}

static void begin_round(uint64_t *seed)
{
    r = calloc(1, sizeof(*r));
    check(r != NULL);
    for (size_t i = 0; i < CHANNELS; i++) {
        r->channels[i] = cu_chan_new(sizeof(struct token), next_random(seed) % 4 * i);
        check(r->channels[i] != NULL);
        check(cu_wg_go(&r->drainers, drain, r->channels[i]) > 0);
    }
}

static void verify_round(uint64_t scope)
{
    uint64_t sent = r->tokens < TOKENS_MAX ? r->tokens : TOKENS_MAX;
    for (uint64_t i = 0; i < sent; i++) {
        check(r->arrived[i] == 1);
    }
    for (size_t i = 0; i < MUTEXES; i++) {
        check(r->counts[i] == r->expected[i]);
    }
    check(r->spawned == r->ended);
    check(cu_quiesce(scope, 60 * COPPER_SEC) == 0);
    struct census census = {.scope = scope};
    cu_inspect_each(look, &census);
    check(census.members == 0);
    for (size_t i = 0; i < CHANNELS; i++) {
        cu_chan_unref(r->channels[i]);
    }
    free(r);
}

static void run_round(uint64_t seed)
{
    pthread_t drainer, worker;
    uint64_t previous, scope = cu_scope_enter(&previous);
    round_seed = seed;
    begin_round(&seed);
    check(pthread_create(&drainer, NULL, drain_in_thread, r->channels[0]) == 0);
    cu_wg_add(&r->workers, 1);
    check(pthread_create(&worker, NULL, work_in_thread, (void *)(uintptr_t)seed) == 0);
    for (int i = 0; i < ROOTS; i++) {
        spawn(next_random(&seed), 0);
    }
    pthread_join(worker, NULL);
    cu_wg_done(&r->workers);
    cu_wg_wait(&r->workers);
    for (size_t i = 0; i < CHANNELS; i++) {
        cu_chan_close(r->channels[i]);
    }
    cu_wg_wait(&r->drainers);
    pthread_join(drainer, NULL);
    cu_scope_leave(previous);
    verify_round(scope);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 5;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)cu_now();
    uint64_t rounds = 0, inspections = 0;
    pthread_t inspector;
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    pthread_create(&inspector, NULL, inspect_without_pause, &inspections);
    for (int64_t end_ns = cu_now() + (int64_t)(seconds * 1e9); cu_now() < end_ns; rounds++) {
        run_round(next_random(&seed));
    }
    __atomic_store_n(&stop_inspecting, 1, __ATOMIC_RELEASE);
    pthread_join(inspector, NULL);
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    printf("%llu rounds, %llu coroutines, %llu switches, %llu stolen, %llu inspections\n",
           (unsigned long long)rounds, (unsigned long long)stats.created,
           (unsigned long long)stats.switches, (unsigned long long)stats.steals,
           (unsigned long long)inspections);
    return 0;
}
