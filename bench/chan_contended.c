/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: many producers and many consumers on one buffered channel: what its lock and its wait
 * lists cost when everybody wants them.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/sync.h>

#include "bench.h"

#define BUFFER 16
#define SIDES  8

static int64_t messages;
static cu_chan *busy;
static int64_t received[SIDES];

static void produce(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < messages / SIDES; i++) {
        cu_send(busy, &i);
    }
}

static void consume(void *count)
{
    int64_t value;
    while (cu_recv(busy, &value) == 0) {
        ++*(int64_t *)count;
    }
}

static int app(void *unused)
{
    cu_wg producers = {0}, consumers = {0};
    int64_t count = 0;
    (void)unused;
    busy = cu_chan_new(sizeof(int64_t), BUFFER);
    struct bench b = bench_start();
    for (int i = 0; i < SIDES; i++) {
        cu_wg_go(&producers, produce, NULL);
        cu_wg_go(&consumers, consume, &received[i]);
    }
    cu_wg_wait(&producers);
    cu_chan_close(busy);
    cu_wg_wait(&consumers);
    bench_stop(&b, "chan_contended", messages);
    for (int i = 0; i < SIDES; i++) {
        count += received[i];
    }
    return count != messages / SIDES * SIDES;
}

int main(int argc, char **argv)
{
    messages = bench_count(argc, argv, 2000000);
    return cu_run(app, NULL);
}
