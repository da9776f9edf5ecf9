/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: memory of stacks: what many coroutines used goes back to the kernel once nobody needs it,
 * and stays where coroutines come and go.
 */
#include <copper/chan.h>
#include <copper/go.h>
#include <copper/inspect.h>
#include <copper/sync.h>
#include <copper/time.h>
#include <stdio.h>
#include <unistd.h>

#include "coroutine_body.h"

#define MANY        8000
#define STACK_BYTES 4096 /* what a coroutine that does little has touched */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define IS_SHADOWED 1 /* memory of the sanitizer hides that of the stacks */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define IS_SHADOWED 1
#endif
#endif
#ifndef IS_SHADOWED
#define IS_SHADOWED 0
#endif

static cu_chan *gate;

static int64_t resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static void wait_at_gate(void *unused)
{
    (void)unused;
    cu_recv(gate, NULL);
}

static void come_and_go(void)
{
    cu_wg wg = {0};
    gate = cu_chan_new(0, 0);
    for (int i = 0; i < MANY; i++) {
        cu_wg_go(&wg, wait_at_gate, NULL);
    }
    cu_quiesce(0, 10 * COPPER_SEC);
    cu_chan_close(gate);
    cu_wg_wait(&wg);
    cu_chan_unref(gate);
}

COROUTINE_TEST(memory_goes_back_when_nobody_needs_it)
{
    int64_t before = resident_bytes(), limit_ns = cu_now() + 50 * COPPER_SEC, now;
    come_and_go();
    int64_t after = resident_bytes();
    expect(IS_SHADOWED || after - before > MANY * STACK_BYTES / 2);
    do {
        cu_sleep(20 * COPPER_MS);
        now = resident_bytes();
    } while (!IS_SHADOWED && now - before > (after - before) / 2 && cu_now() < limit_ns);
    expect(IS_SHADOWED || now - before <= (after - before) / 2);
    return 0;
}

/* Giving back and taking at the same time. */
COROUTINE_TEST(stacks_are_right_while_some_are_given_back)
{
    int64_t until_ns = cu_now() + 300 * COPPER_MS;
    while (cu_now() < until_ns) {
        come_and_go();
        cu_sleep(25 * COPPER_MS);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_goes_back_when_nobody_needs_it),
        cmocka_unit_test(stacks_are_right_while_some_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
