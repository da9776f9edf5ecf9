/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what a coroutine may rely on while it moves between threads, loses its P, or stands at a
 * safe point: thread-locals read through functions, registers and floating-point control words,
 * locks of the C library, its callbacks, its allocator. Everything has a known answer.
 *
 * usage: safety_stress [CASE|all [SCALE]]
 * SCALE multiplies the work. A migration is counted where the id of the thread, read before and
 * after a call that parks, differs; "thread_locals 5000" makes ten million of them.
 *
 * Built twice: as it is, and preemptible. What a thread is called must come from gettid: compilers
 * remember what pthread_self returned.
 */
#include <copper/blocking.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/preempt.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <dirent.h>
#include <errno.h>
#include <fenv.h>
#include <immintrin.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifndef WITH_TSAN
#define WITH_TSAN 0
#endif

#define check(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define load(p)   __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define add(p, n) __atomic_fetch_add((p), (n), __ATOMIC_ACQ_REL)

static long scale = 1;
static int is_over; /* atomic; the case is about to end */

/* Makes its thread a hog for ns of its CPU time. */
static void compute(int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t until_ns = t.tv_sec * COPPER_SEC + t.tv_nsec + ns;
    do {
        for (int i = 0; i < 1000; i++) {
            __asm__ volatile("" ::: "memory");
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    } while (t.tv_sec * COPPER_SEC + t.tv_nsec < until_ns);
}

/* There are always some that wait for a P, so that those who compute lose theirs. */
static void wait_about(void *unused)
{
    (void)unused;
    while (!load(&is_over)) {
        cu_sleep(200 * COPPER_US);
        cu_yield();
    }
}

/* Runs `count` coroutines beside four that wait. */
static void run_beside_waiters(void (*fn)(void *), void *arg, int count)
{
    cu_wg wg = {0}, waiters = {0};
    __atomic_store_n(&is_over, 0, __ATOMIC_RELEASE);
    for (int i = 0; i < 4; i++) {
        cu_wg_go(&waiters, wait_about, NULL);
    }
    for (int i = 0; i < count; i++) {
        cu_wg_go(&wg, fn, arg);
    }
    cu_wg_wait(&wg);
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    cu_wg_wait(&waiters);
}

/* ---- thread-locals ---- */

/* One for each thread, reached through its thread-local. */
struct tally {
    struct tally *next;
    pid_t tid;
    uint64_t turns; /* the thread's alone */
};

static struct tally *tallies; /* atomic, by CAS */
static __thread struct tally *tally;

static __attribute__((noinline)) struct tally *my_tally(void)
{
    __asm__ volatile("" ::: "memory");
    if (tally == NULL) {
        struct tally *mine = calloc(1, sizeof(*mine));
        check(mine);
        mine->tid = gettid();
        mine->next = load(&tallies);
        while (!__atomic_compare_exchange_n(&tallies, &mine->next, mine, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_ACQUIRE)) {
        }
        tally = mine;
    }
    return tally;
}

static __attribute__((noinline)) void set_errno(int value)
{
    errno = value;
}

static __attribute__((noinline)) int get_errno(void)
{
    __asm__ volatile("" ::: "memory");
    return errno;
}

#define MIGRATIONS    2000 /* times SCALE */
#define MOVERS_OF_A_P 320  /* more than its queue holds: the rest is anybody's */
#define LOCKED_MAX    4

static uint64_t migrations, turns_done; /* atomic */
static int movers_started, locked;      /* atomic */

static void do_nothing(void *unused)
{
    (void)unused;
}

/* What was in this thread's variables is there, and its alone. */
static void check_thread(pid_t tid)
{
    struct tally *mine = my_tally();
    check(mine->tid == tid);
    mine->turns++;
    add(&turns_done, 1);
}

/* Its thread sleeps while others run on other threads, and has to get a P by itself. */
static void yield_locked(void)
{
    if (add(&locked, 1) < LOCKED_MAX) {
        cu_lock_thread();
        pid_t tid = gettid();
        cu_yield();
        check(gettid() == tid);
        check_thread(tid);
        cu_unlock_thread();
    }
    add(&locked, -1);
}

/* The ways to another thread: through the queue of all, which is cheap; by giving the P up, and
 * going on wherever one is free; by leaving a thread to one who is locked to it. */
static void move_on(unsigned turn)
{
    switch (turn % 256) {
    case 0:
        cu_blocking(do_nothing, NULL);
        break;
    case 128:
        yield_locked();
        break;
    default:
        cu_yield();
    }
}

static void move_about(void *unused)
{
    (void)unused;
    int me = add(&movers_started, 1);
    int error = 1000 + me;
    pid_t before = gettid();
    set_errno(error);
    for (unsigned turn = (unsigned)me; load(&migrations) < (uint64_t)(MIGRATIONS * scale); turn++) {
        move_on(turn);
        pid_t now = gettid();
        check_thread(now);
        check(get_errno() == error);
        if (now != before) {
            before = now;
            add(&migrations, 1);
        }
    }
}

static int thread_locals(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    for (int i = 0; i < MOVERS_OF_A_P * cu_maxprocs(); i++) {
        check(cu_wg_go(&wg, move_about, NULL) > 0);
    }
    cu_wg_wait(&wg);
    uint64_t sum = 0;
    int threads = 0;
    for (struct tally *t = load(&tallies); t; t = t->next) {
        sum += t->turns;
        threads += t->turns != 0;
    }
    check(sum == turns_done && threads >= 2);
    printf("thread_locals: %llu turns, %llu migrations, %d threads\n",
           (unsigned long long)turns_done, (unsigned long long)migrations, threads);
    return 0;
}

/* ---- registers ---- */

#define STEPS 2000

/* pause: what lies between two steps */
static double sse(void (*pause)(int))
{
    double a = 1, b = 2, c = 3, d = 4;
    for (int i = 1; i <= STEPS; i++) {
        a = a * 1.0000001 + b / i;
        b = b * 0.9999999 + c / i;
        c = c - d / (i + a);
        d = d + a / (i + 3);
        pause(i);
    }
    return a + b + c + d;
}

static long double x87(void (*pause)(int))
{
    long double a = 1, b = 2, c = 3;
    for (int i = 1; i <= STEPS; i++) {
        a = a * 1.0000001L + b / i;
        b = b * 0.9999999L + c / i;
        c = c - a / (i + b * b);
        pause(i);
    }
    return a + b + c;
}

__attribute__((target("avx"))) static double avx(void (*pause)(int))
{
    __m256d a = _mm256_setr_pd(1, 2, 3, 4), b = _mm256_setr_pd(5, 6, 7, 8);
    for (int i = 1; i <= STEPS; i++) {
        __m256d by = _mm256_set1_pd(1.0 / i);
        a = _mm256_add_pd(_mm256_mul_pd(a, _mm256_set1_pd(0.9999999)), _mm256_mul_pd(b, by));
        b = _mm256_sub_pd(b, _mm256_mul_pd(a, by));
        pause(i);
    }
    double out[4];
    _mm256_storeu_pd(out, _mm256_add_pd(a, b));
    return out[0] + out[1] * 3 + out[2] * 5 + out[3] * 7;
}

static struct answers {
    double sse, avx;
    long double x87;
} nearest, upwards;

static void no_pause(int step)
{
    (void)step;
}

static void pause_parking(int step)
{
    if (step % 16 == 0) {
        cu_yield();
    }
    if (step % 500 == 0) {
        cu_sleep(1);
    }
}

static void pause_computing(int step)
{
    if (step % 100 == 0) {
        compute(COPPER_MS);
    }
}

static unsigned mxcsr(void)
{
    unsigned word;
    __asm__ volatile("stmxcsr %0" : "=m"(word));
    return word & ~0x3fu; /* without what has happened */
}

static unsigned x87_control(void)
{
    unsigned short word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static struct answers work_out(void (*pause)(int))
{
    bool has_avx = __builtin_cpu_supports("avx");
    return (struct answers){.sse = sse(pause), .x87 = x87(pause), .avx = has_avx ? avx(pause) : 0};
}

/* The same code each time: copies made for one `pause` round elsewhere. */
static struct answers (*volatile answer)(void (*pause)(int)) = work_out;

/* by value: the padding of a long double is anything */
static bool is_same(struct answers a, struct answers b)
{
    return a.sse == b.sse && a.x87 == b.x87 && a.avx == b.avx;
}

#define DEFAULT_MXCSR 0x1f80u
#define DEFAULT_X87   0x37fu

static void keep_registers(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5 * scale; i++) {
        check(is_same(answer(pause_parking), nearest));
        check(mxcsr() == DEFAULT_MXCSR && x87_control() == DEFAULT_X87);
    }
}

/* Its thread's control words are its own as long as it does not park; losing the P, and waiting for
 * another at a safe point, is not parking. */
static void keep_control_words(void *unused)
{
    (void)unused;
    for (int i = 0; i < scale; i++) {
        fesetround(FE_UPWARD);
        unsigned sse_word = mxcsr(), x87_word = x87_control();
        struct answers mine = answer(pause_computing);
        bool is_kept = mxcsr() == sse_word && x87_control() == x87_word;
        fesetround(FE_TONEAREST);
        check(is_kept && sse_word != DEFAULT_MXCSR && x87_word != DEFAULT_X87);
        check(is_same(mine, upwards));
        cu_yield();
    }
}

/* A coroutine that has a thread to itself keeps them over everything. */
static void keep_locked(void *unused)
{
    (void)unused;
    cu_lock_thread();
    fesetround(FE_UPWARD);
    unsigned sse_word = mxcsr(), x87_word = x87_control();
    bool is_right = true;
    for (int i = 0; i < scale; i++) {
        is_right = is_right && is_same(answer(pause_parking), upwards);
    }
    bool is_kept = mxcsr() == sse_word && x87_control() == x87_word;
    fesetround(FE_TONEAREST);
    cu_unlock_thread();
    check(is_right && is_kept);
}

static int registers(void *unused)
{
    (void)unused;
    struct cu_runtime_stats stats;
    nearest = answer(no_pause);
    fesetround(FE_UPWARD);
    upwards = answer(no_pause);
    fesetround(FE_TONEAREST);
    check(!is_same(nearest, upwards));
    run_beside_waiters(keep_registers, NULL, 8);
    run_beside_waiters(keep_locked, NULL, 2);
    int rounds = 0;
    do {
        run_beside_waiters(keep_control_words, NULL, 4);
        cu_runtime_stats_read(&stats);
    } while (stats.handoffs[COPPER_HANDOFF_HOG] + stats.preempted == 0 && ++rounds < 50);
    check(stats.handoffs[COPPER_HANDOFF_HOG] + stats.preempted > 0);
    printf("registers: %llu hand-offs, %llu preempted\n",
           (unsigned long long)stats.handoffs[COPPER_HANDOFF_HOG],
           (unsigned long long)stats.preempted);
    return 0;
}

/* ---- locks, callbacks, the allocator ---- */

static struct {
    pthread_mutex_t mutex;
    uint64_t count, sum; /* mutex */
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* No parking call with the lock held; but a hog loses its P there. */
static void hold_lock(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20 * scale; i++) {
        check(pthread_mutex_lock(&shared.mutex) == 0);
        uint64_t count = shared.count;
        compute(i % 10 ? 20 * COPPER_US : 12 * COPPER_MS);
        check(shared.count == count);
        shared.count = count + 1;
        shared.sum += shared.count;
        check(pthread_mutex_unlock(&shared.mutex) == 0);
        cu_yield();
    }
}

static int locks(void *unused)
{
    (void)unused;
    uint64_t n = 6 * 20 * (uint64_t)scale;
    run_beside_waiters(hold_lock, NULL, 6);
    check(shared.count == n && shared.sum == n * (n + 1) / 2);
    return 0;
}

#define NUMBERS 20000

static int compare_slowly(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if ((x ^ y) % 4096 == 0) {
        compute(300 * COPPER_US);
    }
    return x < y ? -1 : x > y;
}

static void sort_slowly(void *unused)
{
    (void)unused;
    uint32_t *numbers = malloc(NUMBERS * sizeof(*numbers)), state = (uint32_t)cu_self();
    check(numbers);
    for (int turn = 0; turn < scale; turn++) {
        uint64_t before = 0, after = 0;
        for (int i = 0; i < NUMBERS; i++) {
            numbers[i] = state = state * 1664525 + 1013904223;
            before += numbers[i];
        }
        qsort(numbers, NUMBERS, sizeof(*numbers), compare_slowly);
        for (int i = 0; i < NUMBERS; i++) {
            after += numbers[i];
            check(i == 0 || numbers[i - 1] <= numbers[i]);
        }
        check(before == after);
        cu_yield();
    }
    free(numbers);
}

static int callbacks(void *unused)
{
    (void)unused;
    run_beside_waiters(sort_slowly, NULL, 4);
    return 0;
}

#define BLOCKS 64

/* Never parks between, so most of its time is in the allocator. */
static void allocate(void *unused)
{
    (void)unused;
    unsigned char *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    uint32_t state = (uint32_t)cu_self();
    for (int turn = 0; turn < 20000 * scale; turn++) {
        state = state * 1664525 + 1013904223;
        uint32_t i = (state >> 8) % BLOCKS;
        if (blocks[i]) {
            check(blocks[i][0] == (unsigned char)i && blocks[i][sizes[i] - 1] == (unsigned char)i);
            free(blocks[i]);
        }
        sizes[i] = 1 + (state >> 16) % (turn % 100 ? 2000 : 200000);
        blocks[i] = malloc(sizes[i]);
        check(blocks[i]);
        blocks[i][0] = blocks[i][sizes[i] - 1] = (unsigned char)i;
        if (turn % 5000 == 0) {
            cu_yield();
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        free(blocks[i]);
    }
}

static int allocator(void *unused)
{
    (void)unused;
    run_beside_waiters(allocate, NULL, 6);
    return 0;
}

/* ---- the same, with the program's own signal handlers ---- */

static uint64_t handled;  /* atomic */
static int storm_is_over; /* atomic */

static COPPER_NO_SAFE_POINTS void on_signal(int number)
{
    int error = errno;
    struct cu_here here;
    volatile double x = number;
    char room[512];
    memset(room, number, sizeof(room));
    for (int i = 0; i < 50; i++) {
        x = x * 1.5 + room[i];
    }
    cu_inspect_here(&here);
    if ((here.kind == COPPER_HERE_COROUTINE) != (cu_self() != 0)) {
        abort();
    }
    __atomic_fetch_add(&handled, 1, __ATOMIC_RELAXED);
    errno = error;
}

/* Workers block what is not SIGPROF; SIGALRM goes to the plain threads. */
static void *send_signals(void *unused)
{
    (void)unused;
    while (!load(&storm_is_over)) {
        DIR *tasks = opendir("/proc/self/task");
        check(tasks);
        for (struct dirent *entry; (entry = readdir(tasks));) {
            pid_t tid = atoi(entry->d_name);
            if (tid > 0 && tid != gettid()) {
                syscall(SYS_tgkill, getpid(), tid, SIGPROF);
            }
        }
        closedir(tasks);
        usleep(300);
    }
    return NULL;
}

static void handle(int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | flags};
    check(sigaction(SIGPROF, &action, NULL) == 0);
    check(sigaction(SIGALRM, &action, NULL) == 0);
}

static void do_all(void *unused)
{
    keep_registers(unused);
    hold_lock(unused);
    sort_slowly(unused);
    allocate(unused);
}

static int storm(int flags)
{
    pthread_t thread;
    uint64_t before = load(&handled);
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    nearest = answer(no_pause);
    handle(flags);
    check(setitimer(ITIMER_REAL, &often, NULL) == 0);
    check(setitimer(ITIMER_PROF, &often, NULL) == 0);
    __atomic_store_n(&storm_is_over, 0, __ATOMIC_RELEASE);
    check(pthread_create(&thread, NULL, send_signals, NULL) == 0);
    do {
        run_beside_waiters(do_all, NULL, 3);
    } while (load(&handled) < before + 200);
    __atomic_store_n(&storm_is_over, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    setitimer(ITIMER_REAL, &never, NULL);
    setitimer(ITIMER_PROF, &never, NULL);
    printf("%llu signals\n", (unsigned long long)(load(&handled) - before));
    return 0;
}

static int signals_on_stack(void *unused)
{
    (void)unused;
    return storm(0);
}

static int signals_aside(void *unused)
{
    (void)unused;
    return storm(SA_ONSTACK);
}

static const struct {
    const char *name;
    int (*run)(void *);
    bool under_tsan; /* it calls handlers late, from its own functions */
} cases[] = {
    {"thread_locals", thread_locals, true},
    {"registers", registers, true},
    {"locks", locks, true},
    {"callbacks", callbacks, true},
    {"allocator", allocator, true},
    {"signals_on_stack", signals_on_stack, false},
    {"signals_aside", signals_aside, false},
};

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "all";
    bool is_known = false;
    scale = argc > 2 ? atol(argv[2]) : 1;
    setenv("COPPER_MAXPROCS", "2", 0);
    static char room[1 << 16];
    stack_t aside = {.ss_sp = room, .ss_size = sizeof(room)};
    check(sigaltstack(&aside, NULL) == 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(name, "all") != 0 && strcmp(name, cases[i].name) != 0) {
            continue;
        }
        is_known = true;
        if (!WITH_TSAN || cases[i].under_tsan) {
            check(cu_run(cases[i].run, NULL) == 0);
            printf("%s: good\n", cases[i].name);
        }
    }
    if (!is_known || scale < 1) {
        fprintf(stderr, "usage: safety_stress [CASE|all [SCALE]]\n");
        return 2;
    }
    return 0;
}
