/* SPDX-License-Identifier: Apache-2.0
 *
 * No false report, and none missed, for as many seconds as the first argument says: scopes in which
 * random traffic (fans, chains, locks, sleeps, wait groups, daemons) ends by itself, some with a
 * known number of coroutines planted to stay. Each check must find exactly these. Several plain
 * threads do so side by side.
 *
 *     leak.quiet_stress [SECONDS [SEED]]
 */
#include <copper/chan.h>
#include <copper/leakcheck.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 3

static int64_t end_ns;
static unsigned first_seed;
static cu_chan *never; /* nobody sends */
static _Atomic unsigned long checks, planted;
static _Atomic bool has_failed;

static unsigned next(unsigned *seed, unsigned below)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % below;
}

struct traffic {
    cu_chan *c;
    cu_mutex mu;
    cu_wg wg;
    int nsenders, nreceivers;
};

static void send_some(void *arg)
{
    struct traffic *t = arg;
    for (int i = 0; i < 5; i++) {
        cu_mutex_lock(&t->mu);
        cu_mutex_unlock(&t->mu);
        cu_send(t->c, &i);
    }
}

static void drain(void *arg)
{
    struct traffic *t = arg;
    while (cu_recv(t->c, NULL) == 0)
        cu_yield();
}

/* The last one out: waits for the senders, lets the receivers go. Nobody waits for this one. */
static void close_up(void *arg)
{
    struct traffic *t = arg;
    cu_wg_wait(&t->wg);
    cu_chan_close(t->c);
}

static void nap(void *unused)
{
    (void)unused;
    cu_sleep(2 * COPPER_MS);
}

static void wait_for_ever(void *unused)
{
    (void)unused;
    cu_recv(never, NULL);
}

static void chain(void *depth)
{
    if ((intptr_t)depth > 0)
        cu_go(chain, (void *)((intptr_t)depth - 1));
}

/* Starts things that end by themselves, and returns while they are at it. */
static void start_traffic(struct traffic *t, unsigned *seed)
{
    *t = (struct traffic){.c = cu_chan_new(sizeof(int), next(seed, 3)),
                          .nsenders = 1 + (int)next(seed, 6),
                          .nreceivers = 1 + (int)next(seed, 4)};
    for (int i = 0; i < t->nreceivers; i++)
        cu_go(drain, t);
    for (int i = 0; i < t->nsenders; i++)
        cu_wg_go(&t->wg, send_some, t);
    cu_go(close_up, t);
    cu_go(chain, (void *)(intptr_t)next(seed, 30));
    if (next(seed, 4) == 0)
        cu_go(nap, NULL);
    const struct cu_go_options daemon = {COPPER_GO_OPTIONS, .daemon = true};
    if (next(seed, 8) == 0)
        cu_go_with(nap, NULL, &daemon);
}

static void one_check(unsigned *seed)
{
    const struct cu_leak_options options = {
        .size = sizeof options, .timeout_ns = 30 * COPPER_SEC, .fd = 2};
    const struct cu_leak_options quiet = {
        .size = sizeof options, .timeout_ns = 30 * COPPER_SEC, .fd = -1};
    unsigned start = *seed;
    struct traffic t;
    cu_leak_scope *scope = cu_leak_scope_begin("stress");
    start_traffic(&t, seed);
    int n = next(seed, 10) == 0 ? 1 + (int)next(seed, 3) : 0;
    for (int i = 0; i < n; i++)
        cu_go(wait_for_ever, NULL);
    int64_t found = cu_leak_scope_end(scope, n == 0 ? &options : &quiet);
    if (found != n) {
        fprintf(stderr, "seed %u: planted %d, found %lld\n", start, n, (long long)found);
        has_failed = true;
    }
    cu_chan_unref(t.c);
    checks++;
    planted += (unsigned)n;
}

static void *check_on(void *number)
{
    unsigned seed = first_seed + (unsigned)(uintptr_t)number;
    while (cu_now() < end_ns && !has_failed)
        one_check(&seed);
    return NULL;
}

int main(int argc, char **argv)
{
    end_ns = cu_now() + (int64_t)((argc > 1 ? atof(argv[1]) : 5) * (double)COPPER_SEC);
    first_seed = argc > 2 ? (unsigned)atol(argv[2]) : (unsigned)(cu_now() / COPPER_MS);
    never = cu_chan_new(0, 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, check_on, (void *)i) != 0)
            return 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("seed %u: %lu checks, %lu planted\n", first_seed, checks, planted);
    return has_failed || checks < THREADS ? 1 : 0;
}
