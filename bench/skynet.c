/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a tree of coroutines, ten children each, down to one million leaves that each send their
 * number up; the sum comes out at the top. Also how many CPUs it used (time that Ps ran coroutines,
 * over wall time) and how many coroutines were stolen.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>

#include "bench.h"

#define CHILDREN 10

struct node {
    cu_chan *up;
    int64_t first, leaves;
};

static int64_t leaves;

static void grow(void *arg)
{
    struct node *self = arg;
    int64_t sum = self->first;
    if (self->leaves > 1) {
        struct node children[CHILDREN];
        cu_chan *results = cu_chan_new(sizeof(int64_t), 0);
        for (int i = 0; i < CHILDREN; i++) {
            int64_t share = self->leaves / CHILDREN;
            children[i] = (struct node){results, self->first + i * share, share};
            cu_go(grow, &children[i]);
        }
        sum = 0;
        for (int i = 0; i < CHILDREN; i++) {
            int64_t part;
            cu_recv(results, &part);
            sum += part;
        }
        cu_chan_unref(results);
    }
    cu_send(self->up, &sum);
}

static int app(void *unused)
{
    struct cu_runtime_stats before, after;
    struct node root = {cu_chan_new(sizeof(int64_t), 0), 0, leaves};
    int64_t sum = 0;
    (void)unused;
    cu_runtime_stats_read(&before);
    int64_t start_ns = cu_now();
    cu_go(grow, &root);
    cu_recv(root.up, &sum);
    double wall_ns = (double)(cu_now() - start_ns);
    cu_runtime_stats_read(&after);
    bench_result("skynet", wall_ns / (double)leaves, "ns");
    bench_result("skynet.switches", (double)(after.switches - before.switches) / (double)leaves,
                 "each");
    bench_result("skynet.cpus", (double)(after.running_ns - before.running_ns) / wall_ns, "cpus");
    bench_result("skynet.steals", (double)(after.steals - before.steals), "coroutines");
    return sum != leaves * (leaves - 1) / 2;
}

int main(int argc, char **argv)
{
    leaves = bench_count(argc, argv, 1000000);
    return cu_run(app, NULL);
}
