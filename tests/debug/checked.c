/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a small program for valgrind: stacks that are switched, gone deep on, reused, of several
 * sizes. With an argument it makes one mistake that memcheck must find.
 */
#include <copper/copper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cu_chan *values;
static int makes_mistake;

__attribute__((noinline)) static int use_deeply(int depth)
{
    volatile char room[600];
    memset((void *)(uintptr_t)room, depth, sizeof(room));
    return depth ? use_deeply(depth - 1) + room[depth] : 0;
}

/* Its variable was never set, though coroutines before had something there. */
__attribute__((noinline)) static void decide_by_nothing(void)
{
    volatile int unset[4];
    __asm__ volatile("" : : "r"(unset) : "memory");
    if (unset[2] == 17) {
        puts("by chance");
    }
}

static void worker(void *arg)
{
    int value = use_deeply((int)(intptr_t)arg);
    for (int i = 0; i < 5; i++) {
        cu_yield();
        cu_send(values, &value);
    }
    cu_sleep(COPPER_MS);
    if (makes_mistake) {
        decide_by_nothing();
    }
}

static int app(void *unused)
{
    (void)unused;
    values = cu_chan_new(sizeof(int), 2);
    for (int round = 0; round < 3; round++) {
        cu_wg wg = {0};
        for (intptr_t i = 0; i < 20; i++) {
            cu_wg_go(&wg, worker, (void *)(i * 8));
        }
        struct cu_go_options options = {COPPER_GO_OPTIONS, .stack_size = 64 * 1024};
        cu_go_with(worker, (void *)20, &options);
        for (int i = 0, value; i < 21 * 5; i++) {
            if (cu_recv(values, &value)) {
                return 1;
            }
        }
        cu_wg_wait(&wg);
    }
    cu_chan_unref(values);
    return cu_quiesce(0, 20 * COPPER_SEC);
}

int main(int argc, char **argv)
{
    (void)argv;
    makes_mistake = argc > 1;
    return cu_run(app, NULL);
}
