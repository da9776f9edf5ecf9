/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns to start a coroutine and have it end, in batches of 100.
 */
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

#define BATCH 100

static int64_t spawns;

static void nothing(void *unused)
{
    (void)unused;
}

static int app(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    struct bench b = bench_start();
    for (int64_t i = 0; i < spawns; i += BATCH) {
        for (int j = 0; j < BATCH; j++) {
            cu_wg_go(&wg, nothing, NULL);
        }
        cu_wg_wait(&wg);
    }
    bench_stop(&b, "spawn", spawns);
    return 0;
}

int main(int argc, char **argv)
{
    spawns = bench_count(argc, argv, 2000000);
    return cu_run(app, NULL);
}
