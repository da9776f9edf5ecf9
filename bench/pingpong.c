/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a round trip between two coroutines over two unbuffered channels: four operations, two
 * of which wait.
 */
#include <copper/chan.h>
#include <copper/go.h>

#include "bench.h"

static int64_t trips;
static cu_chan *there, *back;

static void echo(void *unused)
{
    int64_t value;
    (void)unused;
    while (cu_recv(there, &value) == 0) {
        cu_send(back, &value);
    }
}

static int app(void *unused)
{
    int64_t value = 0;
    (void)unused;
    there = cu_chan_new(sizeof(int64_t), 0);
    back = cu_chan_new(sizeof(int64_t), 0);
    cu_go(echo, NULL);
    struct bench b = bench_start();
    for (int64_t i = 0; i < trips; i++) {
        cu_send(there, &i);
        cu_recv(back, &value);
    }
    bench_stop(&b, "pingpong", trips);
    return value != trips - 1;
}

int main(int argc, char **argv)
{
    trips = bench_count(argc, argv, 2000000);
    return cu_run(app, NULL);
}
