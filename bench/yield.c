/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns for one yield between two coroutines on each P.
 */
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

static int64_t yields;

static void yield_many(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < yields; i++) {
        cu_yield();
    }
}

static int app(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    int coroutines = 2 * cu_maxprocs();
    struct bench b = bench_start();
    for (int i = 0; i < coroutines; i++) {
        cu_wg_go(&wg, yield_many, NULL);
    }
    cu_wg_wait(&wg);
    bench_stop(&b, "yield", yields * 2);
    return 0;
}

int main(int argc, char **argv)
{
    yields = bench_count(argc, argv, 3000000);
    return cu_run(app, NULL);
}
