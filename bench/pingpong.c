/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns for a round trip over two unbuffered channels, and for one message through a buffered
 * channel.
 */
#include <copper/chan.h>
#include <copper/go.h>

#include "bench.h"

#define BUFFER 128

static int64_t messages;
static cu_chan *there, *back, *buffered;

static void echo(void *unused)
{
    int64_t value;
    (void)unused;
    while (cu_recv(there, &value) == 0) {
        cu_send(back, &value);
    }
}

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
    there = cu_chan_new(sizeof(int64_t), 0);
    back = cu_chan_new(sizeof(int64_t), 0);
    buffered = cu_chan_new(sizeof(int64_t), BUFFER);
    cu_go(echo, NULL);
    int64_t start_ns = cu_now();
    for (int64_t i = 0; i < messages; i++) {
        cu_send(there, &i);
        cu_recv(back, &value);
    }
    bench_result("unbuffered", bench_ns_each(start_ns, messages), "ns");
    cu_go(produce, NULL);
    start_ns = cu_now();
    while (cu_recv(buffered, &value) == 0) {
        count++;
    }
    bench_result("buffered", bench_ns_each(start_ns, messages), "ns");
    return count != messages;
}

int main(int argc, char **argv)
{
    messages = bench_count(argc, argv, 2000000);
    return cu_run(app, NULL);
}
