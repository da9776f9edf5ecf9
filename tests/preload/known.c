/* SPDX-License-Identifier: Apache-2.0
 *
 * What a recording must find: known SECONDS. Three coroutines wait once each for so long, longer than
 * a recorder's window; 4096 KiB are allocated in pieces; then it ends at once. Prints the sum of the
 * waits as it measured them.
 */
#include <copper/go.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WAITERS 3
#define PIECES  4096

static void *volatile pieces[PIECES]; /* volatile: or no piece would be allocated */
static int64_t wait_ns;
static _Atomic int64_t waited_ns;

__attribute__((noinline)) static void wait_once(void *unused)
{
    (void)unused;
    int64_t start = cu_now();
    cu_sleep(wait_ns);
    waited_ns += cu_now() - start;
}

__attribute__((noinline)) static void allocate_pieces(void)
{
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = malloc(1024);
    }
}

static int app(void *unused)
{
    (void)unused;
    cu_wg wg = {0};
    for (int i = 0; i < WAITERS; i++) {
        cu_wg_go(&wg, wait_once, NULL);
    }
    allocate_pieces();
    cu_wg_wait(&wg);
    return 0;
}

int main(int argc, char **argv)
{
    wait_ns = (int64_t)(atof(argc > 1 ? argv[1] : "1") * (double)COPPER_SEC);
    int status = cu_run(app, NULL);
    printf("waited=%.4f\n", (double)waited_ns / (double)COPPER_SEC);
    return status;
}
