/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a select over three unbuffered channels, each with a sender of its own.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/select.h>

#include "bench.h"

#define SENDERS 3

static int64_t messages;

static void produce(void *chan)
{
    for (int64_t i = 0;; i++) {
        if (cu_send(chan, &i)) {
            return;
        }
    }
}

static int app(void *unused)
{
    cu_chan *from[SENDERS];
    int64_t values[SENDERS], chosen[SENDERS] = {0};
    (void)unused;
    for (int i = 0; i < SENDERS; i++) {
        from[i] = cu_chan_new(sizeof(int64_t), 0);
        cu_go(produce, from[i]);
    }
    struct bench b = bench_start();
    for (int64_t i = 0; i < messages; i++) {
        cu_case on[] = {cu_on_recv(from[0], &values[0]), cu_on_recv(from[1], &values[1]),
                        cu_on_recv(from[2], &values[2])};
        chosen[cu_select(on, SENDERS)]++;
    }
    bench_stop(&b, "select", messages);
    return chosen[0] + chosen[1] + chosen[2] != messages;
}

int main(int argc, char **argv)
{
    messages = bench_count(argc, argv, 2000000);
    return cu_run(app, NULL);
}
