/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: many parked coroutines: memory for each (resident, and page tables), time to start and
 * park one and to wake and end one.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <string.h>

#include "bench.h"

static int64_t coroutines;
static cu_chan *gate;
static cu_wg started, ended;

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

static double count_mappings(void)
{
    double lines = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    for (int c; file && (c = getc(file)) != EOF;) {
        lines += c == '\n';
    }
    if (file) {
        fclose(file);
    }
    return lines;
}

static void wait_at_gate(void *unused)
{
    (void)unused;
    cu_wg_done(&started);
    cu_recv(gate, NULL);
}

static int app(void *unused)
{
    struct cu_runtime_stats stats;
    (void)unused;
    gate = cu_chan_new(0, 0);
    double rss = from_status("VmRSS"), tables = from_status("VmPTE");
    int64_t start_ns = cu_now();
    cu_wg_add(&started, coroutines);
    for (int64_t i = 0; i < coroutines; i++) {
        if (cu_wg_go(&ended, wait_at_gate, NULL) < 0) {
            fprintf(stderr, "coroutine %lld cannot be started\n", (long long)i);
            return 1;
        }
    }
    cu_wg_wait(&started);
    cu_quiesce(0, 60 * COPPER_SEC);
    bench_result("park_million.start", (double)(cu_now() - start_ns) / (double)coroutines, "ns");
    rss = from_status("VmRSS") - rss;
    tables = from_status("VmPTE") - tables;
    bench_result("park_million.resident", rss / (double)coroutines, "bytes");
    bench_result("park_million.all", (rss + tables) / (double)coroutines, "bytes");
    bench_result("park_million.mappings", count_mappings(), "mappings");
    start_ns = cu_now();
    cu_chan_close(gate);
    cu_wg_wait(&ended);
    bench_result("park_million.end", (double)(cu_now() - start_ns) / (double)coroutines, "ns");
    cu_runtime_stats_read(&stats);
    fprintf(stderr, "guards: %s\n", stats.guard_mode);
    return 0;
}

int main(int argc, char **argv)
{
    coroutines = bench_count(argc, argv, 1000000);
    return cu_run(app, NULL);
}
