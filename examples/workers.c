/* SPDX-License-Identifier: Apache-2.0
 *
 * Tasks for a pool of workers: one channel distributes them, another brings the results back, in
 * whatever order they are ready. Counts the primes below a million.
 *
 *     examples/workers [WORKERS]       default 4
 */
#include <copper/copper.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT 1000000
#define STEP  10000

struct task { int from, to; };
struct result { struct task task; int primes; };
struct queues { cu_chan *tasks, *results; };

static bool is_prime(int n)
{
    for (int i = 2; i * i <= n; i++)
        if (n % i == 0)
            return false;
    return n > 1;
}

/* Takes tasks until there are no more. */
static void worker(void *arg)
{
    struct queues *q = arg;
    struct result r;
    while (cu_recv(q->tasks, &r.task) == 0) {
        r.primes = 0;
        for (int n = r.task.from; n < r.task.to; n++)
            r.primes += is_prime(n);
        cu_send(q->results, &r);
    }
}

static void distribute(void *arg)
{
    struct queues *q = arg;
    for (int n = 0; n < LIMIT; n += STEP)
        cu_send(q->tasks, &(struct task){n, n + STEP});
    cu_chan_close(q->tasks); /* this ends the workers, each after its last task */
}

struct closer { cu_wg *workers; cu_chan *results; };

static void close_results(void *arg)
{
    struct closer *c = arg;
    cu_wg_wait(c->workers);
    cu_chan_close(c->results); /* this ends the loop in app */
}

static int app(void *arg)
{
    int count = *(int *)arg, primes = 0, tasks = 0;
    struct queues q = {cu_chan_new(sizeof(struct task), 0), cu_chan_new(sizeof(struct result), 16)};
    cu_wg workers = {0}, others = {0};
    struct closer closer = {&workers, q.results};
    struct result r;
    for (int i = 0; i < count; i++)
        cu_wg_go(&workers, worker, &q);
    cu_wg_go(&others, distribute, &q);
    cu_wg_go(&others, close_results, &closer);
    while (cu_recv(q.results, &r) == 0) {
        primes += r.primes;
        tasks++;
    }
    cu_wg_wait(&others); /* they use what lies on this stack */
    printf("%d primes below %d, in %d tasks\n", primes, LIMIT, tasks);
    cu_chan_unref(q.tasks);
    cu_chan_unref(q.results);
    return 0;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 4;
    if (count < 1)
        return fprintf(stderr, "usage: %s [WORKERS]\n", argv[0]), 2;
    return cu_run(app, &count);
}
