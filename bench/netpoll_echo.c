/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: ns for a round trip of 64 bytes over TCP, all connections together: one, where waking is
 * what counts, and a hundred, where there is always something ready.
 */
#include <copper/go.h>
#include <copper/io.h>
#include <copper/net.h>
#include <copper/sync.h>

#include "bench.h"

#define BYTES   64
#define CROWDED 100

static char address[COPPER_ADDRESS_MAX];
static int listener;
static int64_t trips_each;
static cu_wg clients;

static void echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[BYTES];
    while (cu_read_full(fd, buffer, BYTES) == BYTES && cu_write(fd, buffer, BYTES) == BYTES) {
    }
    cu_close(fd);
}

static void serve(void *unused)
{
    int fd;
    (void)unused;
    while ((fd = cu_accept(listener, NULL, NULL)) >= 0) {
        cu_go(echo, (void *)(intptr_t)fd);
    }
}

static void ask(void *unused)
{
    char buffer[BYTES] = {0};
    int fd = cu_dial("tcp4", address, -1);
    (void)unused;
    for (int64_t i = 0; i < trips_each; i++) {
        if (cu_write(fd, buffer, BYTES) != BYTES || cu_read_full(fd, buffer, BYTES) != BYTES) {
            exit(1);
        }
    }
    cu_close(fd);
}

static void measure(const char *name, int64_t connections, int64_t trips)
{
    trips_each = trips / connections;
    struct bench b = bench_start();
    for (int64_t i = 0; i < connections; i++) {
        cu_wg_go(&clients, ask, NULL);
    }
    cu_wg_wait(&clients);
    bench_stop(&b, name, trips_each * connections);
}

static int64_t trips;

static int app(void *unused)
{
    (void)unused;
    listener = cu_listen("tcp4", "127.0.0.1:0");
    if (listener < 0 || cu_local_address(listener, address, sizeof(address))) {
        return 1;
    }
    cu_go(serve, NULL);
    measure("netpoll_echo_one", 1, trips / 4);
    measure("netpoll_echo", CROWDED, trips);
    cu_close(listener);
    return 0;
}

int main(int argc, char **argv)
{
    trips = bench_count(argc, argv, 200000);
    return cu_run(app, NULL);
}
