/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: coroutines that wait with a known part of their stacks in use, spawned at three places,
 * then serves until its input ends. Prints the address, one line "function coroutines bytes" for
 * each place, and "done". A line of input ends those of the first place; "ended" is the answer.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/label.h>
#include <copper/profiler.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KIB    1024u
#define SMALL  (256 * KIB)
#define MIDDLE (512 * KIB)
#define LARGE  (1024 * KIB)

static void *volatile sink;
static cu_chan *gates[3];
static cu_wg started, ended[3];

/* Touches that much of its stack and waits with it in use. */
#define DEEP(name, place, bytes)                                                                   \
    static void name(void *unused)                                                                 \
    {                                                                                              \
        volatile char used[bytes];                                                                 \
        for (size_t i = 0; i < (bytes); i += KIB) {                                                \
            used[i] = 1;                                                                           \
        }                                                                                          \
        (void)unused;                                                                              \
        cu_wg_done(&started);                                                                      \
        cu_recv(gates[place], NULL);                                                               \
        used[0] = used[(bytes)-1];                                                                 \
        cu_wg_done(&ended[place]);                                                                 \
    }
DEEP(small, 0, SMALL)
DEEP(middle, 1, MIDDLE)
DEEP(large, 2, LARGE)

/* From the allocator, to be told apart. */
__attribute__((noinline)) static void *block(void)
{
    void *p = malloc((size_t)16 << 20);
    sink = p; /* so that this is no tail call */
    return p;
}

static bool start(int place, int count, void (*fn)(void *), const struct cu_site *site)
{
    const struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = (size_t)2 * LARGE,
                                          .site = site};
    gates[place] = cu_chan_new(0, 0);
    cu_wg_add(&ended[place], count);
    cu_wg_add(&started, count);
    for (int i = 0; i < count; i++) {
        if (cu_go_with(fn, NULL, &options) < 0) {
            return false;
        }
    }
    return true;
}

static void spawner(void *is_ok)
{
    cu_label_set("stage", "deep");
    *(bool *)is_ok = start(0, 60, small, COPPER_SITE()) && start(1, 30, middle, COPPER_SITE()) &&
                     start(2, 15, large, COPPER_SITE());
}

static int run(void *unused)
{
    (void)unused;
    bool is_ok = false;
    cu_wg spawned = {0};
    char c;
    void *kept = block();
    cu_wg_go(&spawned, spawner, &is_ok);
    cu_wg_wait(&spawned);
    if (!is_ok) {
        return 1;
    }
    cu_wg_wait(&started);
    printf("small 60 %u\nmiddle 30 %u\nlarge 15 %u\ndone\n", SMALL, MIDDLE, LARGE);
    fflush(stdout);
    if (read(0, &c, 1) == 1) {
        cu_chan_close(gates[0]);
        cu_wg_wait(&ended[0]);
        cu_quiesce(0, 10 * COPPER_SEC);
        printf("ended\n");
        fflush(stdout);
    }
    while (read(0, &c, 1) > 0) {
    }
    free(kept);
    return 0;
}

int main(void)
{
    if (cu_pprof_serve("127.0.0.1:0") != 0) {
        return 2;
    }
    printf("%s\n", cu_pprof_address());
    fflush(stdout);
    return cu_run(run, NULL);
}
