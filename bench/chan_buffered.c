/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: messages from one producer to one consumer through a buffered channel.
 */
#include <copper/chan.h>
#include <copper/go.h>

#include "bench.h"

#define BUFFER 128

static int64_t messages;
static cu_chan *buffered;

static void produce(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < messages; i++) {
        cu_send(buffered, &i);
    }
    cu_chan_close(buffered);
}

static int app(void *unused)
{
    int64_t value = 0, count = 0;
    (void)unused;
    buffered = cu_chan_new(sizeof(int64_t), BUFFER);
    cu_go(produce, NULL);
    struct bench b = bench_start();
    while (cu_recv(buffered, &value) == 0) {
        count++;
    }
    bench_stop(&b, "chan_buffered", messages);
    return count != messages;
}

int main(int argc, char **argv)
{
    messages = bench_count(argc, argv, 5000000);
    return cu_run(app, NULL);
}
