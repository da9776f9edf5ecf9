/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: eight coroutines that lock one mutex in turn, hold it for a short while and compute for
 * as long between.
 */
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

#define WORKERS 8

static int64_t pairs;
static cu_mutex mu;
static int64_t guarded;  /* guarded by mu */
static uint64_t shared;  /* the same */
static uint64_t results; /* atomic */

/* About 15 ns. */
static uint64_t compute(uint64_t x)
{
    for (int i = 0; i < 10; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
    }
    return x;
}

static void work(void *number)
{
    uint64_t own = (uint64_t)(uintptr_t)number;
    for (int64_t i = 0; i < pairs / WORKERS; i++) {
        cu_mutex_lock(&mu);
        guarded++;
        shared = compute(shared);
        cu_mutex_unlock(&mu);
        own = compute(own);
    }
    __atomic_fetch_add(&results, own, __ATOMIC_RELAXED);
}

static int app(void *unused)
{
    cu_wg wg = {0};
    (void)unused;
    struct bench b = bench_start();
    for (intptr_t i = 0; i < WORKERS; i++) {
        cu_wg_go(&wg, work, (void *)i);
    }
    cu_wg_wait(&wg);
    bench_stop(&b, "mutex_contended", pairs);
    return guarded != pairs / WORKERS * WORKERS;
}

int main(int argc, char **argv)
{
    pairs = bench_count(argc, argv, 4000000);
    return cu_run(app, NULL);
}
