/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a pair of lock and unlock that nobody disputes.
 */
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

static int64_t pairs;

static int app(void *unused)
{
    static cu_mutex mu;
    static volatile int64_t guarded;
    (void)unused;
    struct bench b = bench_start();
    for (int64_t i = 0; i < pairs; i++) {
        cu_mutex_lock(&mu);
        guarded = guarded + 1;
        cu_mutex_unlock(&mu);
    }
    bench_stop(&b, "mutex", pairs);
    return guarded != pairs;
}

int main(int argc, char **argv)
{
    pairs = bench_count(argc, argv, 20000000);
    return cu_run(app, NULL);
}
