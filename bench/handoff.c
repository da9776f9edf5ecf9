/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how long others wait when a coroutine keeps its thread: prints a table of its own, of
 * what they waited, in milliseconds. Each part runs in a process of its own.
 *
 *   hog        `while (1)` in plain C beside 1000 coroutines that sleep, at one P: how late these
 *              wake
 *   read       a coroutine sits in a plain read(2) for 100 ms at a time, at one P: the longest that
 *              the others waited each time
 *   blocking   the same in cu_blocking: from its beginning until the next one runs
 *   starved    a hog, and others that want its P, while other processes want the processors: what
 *              sysmon found at its looks, and what it did
 *
 * usage: bench_handoff [PART [ROUNDS]]
 */
#include <copper/blocking.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MAX_SAMPLES 1000000

static struct {
    int64_t rounds;
    int64_t *samples_ns;
    int64_t count;               /* atomic */
    int64_t last_ns, longest_ns; /* atomic: when the ticker ran last; how long it did not */
    int64_t began_ns;            /* atomic: a call that blocks began; 0: somebody ran since */
    bool is_over;                /* atomic */
} b;

#define get(word)      __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define set(word, now) __atomic_store_n(&(word), (now), __ATOMIC_RELEASE)

static void note(int64_t ns)
{
    int64_t at = __atomic_fetch_add(&b.count, 1, __ATOMIC_RELAXED);
    if (at < MAX_SAMPLES) {
        b.samples_ns[at] = ns;
    }
}

static int ascending(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, c = *(const int64_t *)y;
    return (a > c) - (a < c);
}

static void print_line(const char *what)
{
    int64_t n = get(b.count) < MAX_SAMPLES ? get(b.count) : MAX_SAMPLES;
    qsort(b.samples_ns, (size_t)n, sizeof(*b.samples_ns), ascending);
    if (n) {
        printf("%-34s %7lld %10.3f %10.3f %10.3f\n", what, (long long)n,
               (double)b.samples_ns[n / 2] / 1e6, (double)b.samples_ns[n * 99 / 100] / 1e6,
               (double)b.samples_ns[n - 1] / 1e6);
    }
}

/* ---- hog ---- */

static void compute_for_ever(void *unused)
{
    (void)unused;
    while (1) {
        __asm__ volatile("");
    }
}

static void sleep_often(void *seed)
{
    uint64_t random = (uintptr_t)seed * 0x9E3779B97F4A7C15u;
    for (int64_t i = 0; i < b.rounds; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int64_t ns = (int64_t)(random >> 33) % (90 * COPPER_MS) + 10 * COPPER_MS;
        int64_t due_ns = cu_now() + ns;
        cu_sleep(ns);
        note(cu_now() - due_ns);
    }
}

static int beside_hog(void *with_hog)
{
    cu_wg wg = {0};
    for (intptr_t i = 0; i < 1000; i++) {
        cu_wg_go(&wg, sleep_often, (void *)(i + 1));
    }
    if (with_hog) {
        cu_go(compute_for_ever, NULL);
    }
    cu_wg_wait(&wg);
    print_line(with_hog ? "1000 sleepers beside while (1)" : "1000 sleepers alone");
    return 0;
}

/* ---- read, blocking ---- */

/* Runs whenever it may. */
static void tick(void *unused)
{
    (void)unused;
    set(b.last_ns, cu_now());
    while (!get(b.is_over)) {
        cu_yield();
        int64_t now_ns = cu_now(), gap_ns = now_ns - get(b.last_ns), began_ns = get(b.began_ns);
        if (gap_ns > get(b.longest_ns)) {
            set(b.longest_ns, gap_ns);
        }
        set(b.last_ns, now_ns);
        if (began_ns) {
            note(now_ns - began_ns);
            set(b.began_ns, 0);
        }
    }
}

/* Writes a byte 100 ms after each that it is asked for. */
static void answer_late(int questions, int answers)
{
    char byte;
    while (read(questions, &byte, 1) == 1) {
        usleep(100000);
        if (write(answers, &byte, 1) != 1) {
            _exit(1);
        }
    }
    _exit(0);
}

static int during_read(void *unused)
{
    int questions[2], answers[2];
    char byte = 0;
    (void)unused;
    if (pipe(questions) || pipe(answers)) {
        return 1;
    }
    pid_t child = fork();
    if (child == 0) {
        close(questions[1]);
        answer_late(questions[0], answers[1]);
    }
    cu_go(tick, NULL);
    for (int64_t i = 0; i < b.rounds; i++) {
        cu_sleep(5 * COPPER_MS);
        set(b.longest_ns, 0);
        if (write(questions[1], &byte, 1) != 1 || read(answers[0], &byte, 1) != 1) {
            return 1;
        }
        cu_yield();
        note(get(b.longest_ns));
    }
    set(b.is_over, true);
    close(questions[1]);
    kill(child, SIGKILL);
    print_line("others, one in a plain read(2)");
    return 0;
}

static void block_a_while(void *unused)
{
    (void)unused;
    set(b.began_ns, cu_now());
    usleep(3000);
}

static int during_blocking(void *unused)
{
    (void)unused;
    cu_go(tick, NULL);
    for (int64_t i = 0; i < b.rounds; i++) {
        cu_blocking(block_a_while, NULL);
        cu_sleep(COPPER_MS);
    }
    set(b.is_over, true);
    print_line("others, one in cu_blocking");
    return 0;
}

/* ---- starved ---- */

static int on_loaded_machine(void *unused)
{
    struct cu_runtime_stats stats;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t others[64];
    int count = cpus < 16 ? (int)cpus * 4 : 64;
    (void)unused;
    for (int i = 0; i < count; i++) {
        others[i] = fork();
        if (others[i] == 0) {
            compute_for_ever(NULL);
        }
    }
    cu_go(tick, NULL);
    cu_go(compute_for_ever, NULL);
    cu_sleep(b.rounds * 100 * COPPER_MS);
    cu_runtime_stats_read(&stats);
    for (int i = 0; i < count; i++) {
        kill(others[i], SIGKILL);
        waitpid(others[i], NULL, 0);
    }
    printf("\non a machine with %d busy processes on %ld processors, %.1f s:\n", count, cpus,
           (double)b.rounds / 10);
    printf("starved: left alone at so many looks   %llu\n", (unsigned long long)stats.starved);
    printf("hogs: P taken                          %llu\n",
           (unsigned long long)stats.handoffs[COPPER_HANDOFF_HOG]);
    printf("blocked: P taken                       %llu\n",
           (unsigned long long)stats.handoffs[COPPER_HANDOFF_BLOCKED]);
    printf("threads in the end                     %llu\n", (unsigned long long)stats.threads);
    return 0;
}

/* ---- parts ---- */

static const struct part {
    const char *name;
    int (*run)(void *arg);
    void *arg;
    int64_t rounds;
} parts[] = {
    {"alone", beside_hog, NULL, 50},          {"hog", beside_hog, &b, 50},
    {"read", during_read, NULL, 30},          {"blocking", during_blocking, NULL, 500},
    {"starved", on_loaded_machine, NULL, 30},
};

static int run_part(const struct part *part, int64_t rounds)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        b.rounds = rounds;
        b.samples_ns = malloc(MAX_SAMPLES * sizeof(*b.samples_ns));
        status = b.samples_ns ? cu_run(part->run, part->arg) : 1;
        fflush(stdout);
        _exit(status != 0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    int failures = 0;
    setenv("COPPER_MAXPROCS", "1", 1);
    printf("%-34s %7s %10s %10s %10s\n", "delay in ms, at one P", "samples", "median", "p99",
           "most");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (argc < 2 || strcmp(argv[1], parts[i].name) == 0) {
            failures += run_part(&parts[i], argc > 2 ? atoll(argv[2]) : parts[i].rounds);
        }
    }
    return failures != 0;
}
