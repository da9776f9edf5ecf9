/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what an execution trace costs: the same work without and with one, turn by turn. Round
 * trips over an unbuffered channel, yields, spawns; and how many bytes and lost events there were.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/sync.h>
#include <copper/trace.h>
#include <string.h>

#include "bench.h"

#define ROUNDS 5

static int64_t count;

static int discard(void *bytes, const void *unused, size_t n)
{
    (void)unused;
    *(uint64_t *)bytes += n;
    return 0;
}

static void answer(void *chans)
{
    cu_chan **c = chans;
    for (int64_t i = 0, value; i < count; i++) {
        cu_recv(c[0], &value);
        cu_send(c[1], &value);
    }
}

static void trips(void)
{
    cu_chan *c[] = {cu_chan_new(sizeof(int64_t), 0), cu_chan_new(sizeof(int64_t), 0)};
    cu_go(answer, c);
    for (int64_t i = 0; i < count; i++) {
        cu_send(c[0], &i);
        cu_recv(c[1], &i);
    }
    cu_chan_unref(c[0]);
    cu_chan_unref(c[1]);
}

static void yield_often(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < count; i++) {
        cu_yield();
    }
}

static void yields(void)
{
    cu_wg wg = {0};
    cu_wg_go(&wg, yield_often, NULL);
    cu_wg_go(&wg, yield_often, NULL);
    cu_wg_wait(&wg);
}

static void nothing(void *unused)
{
    (void)unused;
}

static void spawns(void)
{
    cu_wg wg = {0};
    for (int64_t i = 0; i < count; i++) {
        cu_wg_go(&wg, nothing, NULL);
        if (i % 64 == 0) {
            cu_yield();
        }
    }
    cu_wg_wait(&wg);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double timed(void (*work)(void))
{
    int64_t since_ns = cu_now();
    work();
    return (double)(cu_now() - since_ns) / (double)count;
}

static void measure(const char *name, void (*work)(void))
{
    double off[ROUNDS], on[ROUNDS];
    char text[64];
    uint64_t bytes = 0;
    struct cu_trace_stats before, after;
    cu_trace_stats_read(&before);
    work();
    for (int i = 0; i < ROUNDS; i++) {
        struct cu_trace *trace;
        off[i] = timed(work);
        if (cu_trace_start(discard, &bytes, &trace) != 0) {
            exit(1);
        }
        on[i] = timed(work);
        cu_trace_stop(trace);
    }
    cu_trace_stats_read(&after);
    qsort(off, ROUNDS, sizeof(*off), compare);
    qsort(on, ROUNDS, sizeof(*on), compare);
    snprintf(text, sizeof(text), "%s.off", name);
    bench_result(text, off[ROUNDS / 2], "ns");
    snprintf(text, sizeof(text), "%s.traced", name);
    bench_result(text, on[ROUNDS / 2], "ns");
    snprintf(text, sizeof(text), "%s.ratio", name);
    bench_result(text, on[ROUNDS / 2] / off[ROUNDS / 2], "x");
    snprintf(text, sizeof(text), "%s.bytes", name);
    bench_result(text, (double)bytes / ROUNDS / (double)count, "each");
    snprintf(text, sizeof(text), "%s.lost", name);
    bench_result(text, (double)(after.lost - before.lost), "events");
}

static int app(void *unused)
{
    (void)unused;
    measure("trip", trips);
    measure("yield", yields);
    measure("spawn", spawns);
    return 0;
}

int main(int argc, char **argv)
{
    count = bench_count(argc, argv, 200000);
    return cu_run(app, NULL);
}
