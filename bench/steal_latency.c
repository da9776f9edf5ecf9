/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: how long a new coroutine waits for the other P while its parent goes on computing: the
 * wake-up of a sleeping worker, or a spinning one's theft. Median. Says nothing at one P.
 */
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

#define GIVE_UP_NS (5 * COPPER_MS)

static int64_t rounds;
static int64_t started_ns; /* atomic */

static void arrive(void *unused)
{
    (void)unused;
    __atomic_store_n(&started_ns, cu_now(), __ATOMIC_RELEASE);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int app(void *unused)
{
    (void)unused;
    if (cu_maxprocs() < 2) {
        return 0;
    }
    int64_t *waits_ns = calloc((size_t)rounds, sizeof(*waits_ns));
    for (int64_t i = 0; waits_ns && i < rounds; i++) {
        cu_wg wg = {0};
        __atomic_store_n(&started_ns, 0, __ATOMIC_RELAXED);
        cu_sleep(200 * COPPER_US);
        int64_t spawned_ns = cu_now();
        cu_wg_go(&wg, arrive, NULL);
        while (!__atomic_load_n(&started_ns, __ATOMIC_ACQUIRE) &&
               cu_now() - spawned_ns < GIVE_UP_NS) {
        }
        cu_wg_wait(&wg);
        waits_ns[i] = started_ns - spawned_ns;
    }
    qsort(waits_ns, (size_t)rounds, sizeof(*waits_ns), compare);
    bench_result("steal_latency", (double)waits_ns[rounds / 2], "ns");
    free(waits_ns);
    return 0;
}

int main(int argc, char **argv)
{
    rounds = bench_count(argc, argv, 2000);
    return cu_run(app, NULL);
}
