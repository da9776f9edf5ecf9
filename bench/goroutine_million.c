/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the goroutine profile of many parked coroutines, over HTTP as everybody asks for it: how long
 * it takes, the longest pause of a coroutine that runs meanwhile, and how much memory it needs. Beside
 * it, the longest pause without a profile but next to a plain thread that is as busy.
 */
#include <arpa/inet.h>
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define ROUNDS 3

static int64_t coroutines;
static cu_chan *gate;
static cu_wg started, ended;
static atomic_bool is_measuring, is_over;
static _Atomic int64_t longest_ns;

static double from_status(const char *key)
{
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = atof(line + strlen(key) + 1);
        }
    }
    if (file) {
        fclose(file);
    }
    return kib * 1024;
}

/* From now on VmHWM is the peak since now. */
static void reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
}

static void wait_at_gate(void *unused)
{
    (void)unused;
    cu_wg_done(&started);
    cu_recv(gate, NULL);
}

/* Runs all the time and notes how long it did not. */
static void run_on(void *unused)
{
    (void)unused;
    int64_t last = cu_now();
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        int64_t now = cu_now();
        if (atomic_load_explicit(&is_measuring, memory_order_relaxed) && now - last > longest_ns) {
            longest_ns = now - last;
        }
        last = now;
    }
}

/* Reads the whole answer. */
static int64_t fetch(void)
{
    const char *address = cu_pprof_address();
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char request[] = "GET /debug/pprof/goroutine HTTP/1.0\r\nHost: localhost\r\n\r\n";
    static char answer[1 << 16];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t bytes = 0;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
        write(fd, request, sizeof request - 1) == sizeof request - 1) {
        for (ssize_t n; (n = read(fd, answer, sizeof answer)) > 0;) {
            bytes += n;
        }
    }
    close(fd);
    return bytes;
}

static void *burn_for(void *ns)
{
    int64_t end = cu_now() + *(int64_t *)ns;
    while (cu_now() < end) {
    }
    return NULL;
}

static void begin_pauses(void)
{
    longest_ns = 0;
    is_measuring = true;
}

static void *measure(void *unused)
{
    int64_t took = INT64_MAX, pause = 0, bytes = 0;
    double rss = from_status("VmRSS");
    reset_peak();
    for (int i = 0; i < ROUNDS; i++) {
        begin_pauses();
        int64_t start = cu_now();
        bytes = fetch();
        took = cu_now() - start < took ? cu_now() - start : took;
        is_measuring = false;
        pause = longest_ns > pause ? (int64_t)longest_ns : pause;
    }
    bench_result("goroutine_million.profile", (double)took, "ns");
    bench_result("goroutine_million.pause", (double)pause, "ns");
    bench_result("goroutine_million.memory", from_status("VmHWM") - rss, "bytes");
    bench_result("goroutine_million.answer", (double)bytes, "bytes");
    pause = 0;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        begin_pauses();
        pthread_create(&thread, NULL, burn_for, &took);
        pthread_join(thread, NULL);
        is_measuring = false;
        pause = longest_ns > pause ? (int64_t)longest_ns : pause;
    }
    bench_result("goroutine_million.pause_beside_thread", (double)pause, "ns");
    is_over = true;
    return unused;
}

static int app(void *unused)
{
    (void)unused;
    gate = cu_chan_new(0, 0);
    cu_wg_add(&started, coroutines);
    for (int64_t i = 0; i < coroutines; i++) {
        if (cu_wg_go(&ended, wait_at_gate, NULL) < 0) {
            fprintf(stderr, "coroutine %lld cannot be started\n", (long long)i);
            return 1;
        }
    }
    cu_wg_wait(&started);
    cu_quiesce(0, 60 * COPPER_SEC);
    pthread_t thread;
    pthread_create(&thread, NULL, measure, NULL);
    run_on(NULL);
    pthread_join(thread, NULL);
    cu_chan_close(gate);
    cu_wg_wait(&ended);
    return 0;
}

int main(int argc, char **argv)
{
    coroutines = bench_count(argc, argv, 1000000);
    if (cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    return cu_run(app, NULL);
}
