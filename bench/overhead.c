/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what each kind of profile costs a program that does nothing else:
 * bench_overhead [MS] [ROUNDS] [PROFILE] [WORK]. The same work without and with the profile in
 * turn, for MS milliseconds each; CPU time of the whole process for one operation, medians.
 * overhead.py runs it beside the same in Go. `trace` goes to a callback that drops it, as Go's to
 * io.Discard; `trace_http` is fetched by this very process, whose CPU time that is too.
 *
 *     overhead.WORK.PROFILE  without  with  ratio
 */
#include <arpa/inet.h>
#include <copper/blocking.h>
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/trace.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define OPENING_NS (200 * COPPER_MS) /* until a window is surely open */
#define ROUNDS_MAX 31

static int64_t work_ns = 300 * COPPER_MS;
static int rounds = 5;
static const char *only, *only_work; /* one kind of profile, one work; NULL: all */
static cu_chan *there, *back;
static cu_mutex mutex;
static cu_wg wg;

/* ---- work: operations until the time is over ------------------------------------------------- */

#define CHECK_EVERY 64

static void echo(void *unused)
{
    (void)unused;
    int64_t v;
    while (cu_recv(there, &v) == 0 && v >= 0) {
        cu_send(back, &v);
    }
}

static int64_t pingpong(int64_t end)
{
    int64_t n = 0, v;
    cu_go(echo, NULL);
    while (cu_now() < end) {
        for (int i = 0; i < CHECK_EVERY; i++, n++) {
            cu_send(there, &n);
            cu_recv(back, &v);
        }
    }
    cu_send(there, &(int64_t){-1});
    return n;
}

static void nothing(void *unused)
{
    (void)unused;
}

static int64_t spawn(int64_t end)
{
    int64_t n = 0;
    while (cu_now() < end) {
        for (int i = 0; i < CHECK_EVERY; i++, n++) {
            cu_wg_go(&wg, nothing, NULL);
        }
        cu_wg_wait(&wg);
    }
    return n;
}

static void lock_and_yield(void *unused)
{
    (void)unused;
    cu_mutex_lock(&mutex);
    cu_yield();
    cu_mutex_unlock(&mutex);
}

static int64_t contend(int64_t end)
{
    int64_t n = 0;
    while (cu_now() < end) {
        for (int i = 0; i < CHECK_EVERY; i++, n++) {
            cu_wg_go(&wg, lock_and_yield, NULL);
        }
        cu_wg_wait(&wg);
    }
    return n;
}

static int64_t allocate(int64_t end)
{
    int64_t n = 0;
    while (cu_now() < end) {
        for (int i = 0; i < CHECK_EVERY; i++, n++) {
            void *p = malloc(64 + (size_t)(n % 16) * 64);
            __asm__ volatile("" : "+r"(p)::"memory");
            free(p);
        }
    }
    return n;
}

static const struct {
    const char *name;
    int64_t (*run)(int64_t end);
} works[] = {{"pingpong", pingpong}, {"spawn", spawn}, {"contend", contend}, {"malloc", allocate}};

/* ---- profiles: windows over HTTP ------------------------------------------------------------- */

static const struct {
    const char *name, *query;
} profiles[] = {
    {"none", NULL},
    {"cpu_100", "profile?"},
    {"cpu_1000", "profile?hz=1000&"},
    {"wall", "wall?"},
    {"block", "block?"},
    {"mutex", "mutex?"},
    {"schedule", "schedule?"},
    {"trace", "trace"}, /* no window either: to a callback */
    {"trace_http", "trace?"},
    {"heap", "heap"}, /* no window: its rate */
};

static void *fetch(void *query)
{
    const char *address = cu_pprof_address();
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[1 << 14];
    int64_t seconds = (work_ns + OPENING_NS) / COPPER_SEC + 1;
    int n = snprintf(text, sizeof text,
                     "GET /debug/pprof/%sseconds=%lld HTTP/1.0\r\nHost: localhost\r\n\r\n",
                     (const char *)query, (long long)seconds);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, text, (size_t)n) == n) {
        while (read(fd, text, sizeof text) > 0) {
        }
    }
    close(fd);
    return query;
}

static double measure(int64_t (*run)(int64_t end))
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    int64_t n = run(cu_now() + work_ns);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / (double)n;
}

static void join(void *thread)
{
    pthread_join(*(pthread_t *)thread, NULL);
}

static int discard(void *unused, const void *bytes, size_t n)
{
    (void)unused, (void)bytes, (void)n;
    return 0;
}

static double measure_traced(int64_t (*run)(int64_t end))
{
    struct cu_trace *trace;
    if (cu_trace_start(discard, NULL, &trace) != 0) {
        exit(1);
    }
    double ns = measure(run);
    cu_trace_stop(trace);
    return ns;
}

static double measure_with(const char *query, int64_t (*run)(int64_t end))
{
    pthread_t thread;
    bool is_window = query && strchr(query, '?');
    if (query && strcmp(query, "trace") == 0) {
        return measure_traced(run);
    }
    if (query && !is_window) {
        cu_profile_heap_rate(512 << 10);
    }
    if (is_window) {
        pthread_create(&thread, NULL, fetch, (void *)(uintptr_t)query);
        cu_sleep(OPENING_NS);
    }
    double ns = measure(run);
    if (is_window) {
        cu_blocking(join, &thread);
    }
    cu_profile_heap_rate(0);
    return ns;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values)
{
    qsort(values, (size_t)rounds, sizeof *values, by_value);
    return values[rounds / 2];
}

static void compare(size_t work, size_t profile)
{
    double without[ROUNDS_MAX], with[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        without[i] = measure_with(NULL, works[work].run);
        with[i] = measure_with(profiles[profile].query, works[work].run);
    }
    double a = median(without), b = median(with);
    printf("overhead.%s.%s\t%.2f\t%.2f\t%.3f\n", works[work].name, profiles[profile].name, a, b,
           b / a);
    fflush(stdout);
}

static int app(void *unused)
{
    (void)unused;
    there = cu_chan_new(sizeof(int64_t), 0);
    back = cu_chan_new(sizeof(int64_t), 0);
    for (size_t work = 0; work < sizeof works / sizeof *works; work++) {
        if (only_work && strcmp(only_work, works[work].name) != 0) {
            continue;
        }
        for (size_t profile = 0; profile < sizeof profiles / sizeof *profiles; profile++) {
            if (!only || strcmp(only, profiles[profile].name) == 0) {
                compare(work, profile);
            }
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    work_ns = bench_count(argc, argv, 300) * COPPER_MS;
    rounds = argc > 2 ? atoi(argv[2]) : rounds;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    only = argc > 3 ? argv[3] : NULL;
    only_work = argc > 4 ? argv[4] : NULL;
    cu_profile_heap_rate(0);
    if (cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    return cu_run(app, NULL);
}
