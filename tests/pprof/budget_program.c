/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waits, CPU time, sleep and allocations of known amount, on demand: budget_program. Prints the
 * address. Each line "MS" of input makes it wait in a channel and allocate over and over for so many
 * milliseconds, then it prints "waits COUNT NS allocated BYTES" as measured by itself. Until its input
 * ends another coroutine sleeps.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/io.h>
#include <copper/profiler.h>
#include <copper/time.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define WORK_NS (50 * COPPER_US)
#define BLOCK_BYTES 65536
#define BLOCKS 4 /* of them for each wait */

static volatile uint64_t burn_sink;
static int64_t asked_ns, waits, waited_ns, allocated;
static cu_chan *numbers, *done;
static void *volatile block;

__attribute__((noinline)) static int wait_for_number(void)
{
    int n = -1;
    asked_ns = cu_now();
    cu_recv(numbers, &n);
    burn_sink++;
    return n;
}

static void receiver(void *arg)
{
    (void)arg;
    while (wait_for_number() >= 0) {
    }
    cu_send(done, &(int){0});
}

__attribute__((noinline)) static void *allocate(void)
{
    block = malloc(BLOCK_BYTES);
    return block;
}

__attribute__((noinline)) static void work(int64_t ns)
{
    int64_t end = cu_now() + ns;
    while (cu_now() < end) {
        burn_sink++;
    }
}

/* What the receiver waits for a number is measured where it ends: at the sending. */
static void send_for(int64_t ns)
{
    waits = waited_ns = allocated = 0;
    int64_t end = cu_now() + ns;
    cu_go(receiver, NULL);
    while (cu_now() < end) {
        cu_yield(); /* one P: the receiver waits now */
        work(WORK_NS);
        for (int i = 0; i < BLOCKS; i++) {
            free(allocate());
            allocated += BLOCK_BYTES;
        }
        waited_ns += cu_now() - asked_ns;
        waits++;
        cu_send(numbers, &(int){1});
    }
    cu_yield();
    cu_send(numbers, &(int){-1});
    cu_recv(done, NULL);
}

__attribute__((noinline)) static void sleeper(void *arg)
{
    (void)arg;
    for (;;) {
        cu_sleep(COPPER_SEC);
        burn_sink++;
    }
}

static bool read_line(char *line, size_t n)
{
    size_t used = 0;
    while (used + 1 < n && cu_read(STDIN_FILENO, line + used, 1) == 1 && line[used] != '\n') {
        used++;
    }
    line[used] = '\0';
    return used > 0;
}

static int serve(void *arg)
{
    (void)arg;
    char line[32];
    numbers = cu_chan_new(sizeof(int), 0);
    done = cu_chan_new(sizeof(int), 0);
    cu_go(sleeper, NULL);
    while (read_line(line, sizeof line)) {
        send_for(atoi(line) * COPPER_MS);
        printf("waits %lld %lld allocated %lld\n", (long long)waits, (long long)waited_ns,
               (long long)allocated);
        fflush(stdout);
    }
    return 0;
}

int main(void)
{
    setenv("COPPER_MAXPROCS", "1", 1);
    setenv("COPPER_HANDOFF", "0", 0);
    if (!cu_pprof_address() && cu_pprof_serve("127.0.0.1:0") != 0) {
        return 1;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    return cu_run(serve, NULL);
}
