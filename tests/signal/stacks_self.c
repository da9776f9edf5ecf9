/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: prints its own stack from a handler, for stacks_files.py, which builds it in many ways.
 *
 *     stacks_self [unlink FILE | rename FROM TO]   done before the stack is named
 */
#include <copper/stacks.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 64

static cu_frame frames[FRAMES_MAX];
static struct cu_walk walk;

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    cu_regs_from_context_sig(&walk.regs, context);
    walk.lo = walk.regs.sp;
    walk.hi = (uint64_t)(uintptr_t)environ; /* above everything main has on its stack */
    walk.frames = frames;
    walk.max = FRAMES_MAX;
    walk.context = context;
    cu_stack_walk_sig(&walk);
}

__attribute__((noinline)) int exported_function(int n)
{
    raise(SIGUSR1);
    return n + 1;
}

static __attribute__((noinline)) int hidden_function(int n)
{
    return exported_function(n) * 3;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    if (cu_stacks_prepare() != 0)
        return 2;
    int sum = hidden_function(argc);
    if (argc == 3 && strcmp(argv[1], "unlink") == 0)
        unlink(argv[2]);
    if (argc == 4 && strcmp(argv[1], "rename") == 0 && rename(argv[2], argv[3]) != 0)
        return 2;
    cu_stack_print(1, frames, walk.n);
    printf("end %d, main %s, sum %d\n", walk.end, cu_module_main()->path, sum);
    return 0;
}
