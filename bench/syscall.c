/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the smallest system call there is, announced as one that may block; and the same without
 * a word to anybody, which is what the kernel takes of it.
 */
#include <copper/blocking.h>
#include <copper/go.h>
#include <unistd.h>

#include "bench.h"

static int64_t calls;

static int app(void *unused)
{
    (void)unused;
    pid_t parent = getppid();
    int64_t others = 0;
    struct bench b = bench_start();
    for (int64_t i = 0; i < calls; i++) {
        cu_syscall_enter();
        others += getppid() != parent;
        cu_syscall_exit();
    }
    bench_stop(&b, "syscall", calls);
    int64_t start_ns = cu_now();
    for (int64_t i = 0; i < calls; i++) {
        others += getppid() != parent;
    }
    bench_result("syscall.bare", (double)(cu_now() - start_ns) / (double)calls, "ns");
    return others != 0;
}

int main(int argc, char **argv)
{
    calls = bench_count(argc, argv, 5000000);
    return cu_run(app, NULL);
}
