/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what a timer costs when there are many: CPU time of the whole process for each of many
 * short sleeps. (Their wall time is what was asked for.)
 */
#include <copper/go.h>
#include <copper/sync.h>
#include <time.h>

#include "bench.h"

#define SLEEPS 10

static int64_t sleepers;

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* From 1 to 20 ms, all different. */
static void nap(void *number)
{
    int64_t i = (int64_t)(intptr_t)number;
    for (int j = 0; j < SLEEPS; j++) {
        cu_sleep(COPPER_MS + (i * 7919 + j * 104729) % (19 * COPPER_MS));
    }
}

static int app(void *unused)
{
    cu_wg wg = {0};
    (void)unused;
    double before_ns = cpu_ns();
    for (int64_t i = 0; i < sleepers; i++) {
        cu_wg_go(&wg, nap, (void *)(intptr_t)i);
    }
    cu_wg_wait(&wg);
    bench_result("sleep_many", (cpu_ns() - before_ns) / (double)(sleepers * SLEEPS), "ns");
    return 0;
}

int main(int argc, char **argv)
{
    sleepers = bench_count(argc, argv, 100000);
    return cu_run(app, NULL);
}
