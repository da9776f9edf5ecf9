/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: telling a stack overflow from any other fault, and saying whose it is.
 *
 * Design: one handler for SIGSEGV, installed with the first worker, running on an alternate stack
 * that each worker has. A fault in the guard of the running coroutine is reported; then the default
 * action is restored and the instruction runs again, so that the program dies of the same signal at
 * the same place as it would have without us, core file included. Every other fault goes to the
 * handler that was there before, or to the default action.
 *
 * The alternate stack is generous, because a registered stack printer runs on it; only pages that
 * are touched exist.
 *
 * Signal safety: everything named _sig runs in the handler: no lock, no allocation.
 */
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "report.h"
#include "stack.h"
#include "stack_guard.h"
#include "tls.h"
#include "worker.h"

#define HANDLER_STACK_BYTES (256u * 1024)
#define PAGE_BYTES          4096u

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static struct sigaction previous; /* written once, before any worker runs */

static void regs_of_fault_sig(const ucontext_t *context, struct cu_saved_regs *regs)
{
    const greg_t *r = context->uc_mcontext.gregs;
    *regs = (struct cu_saved_regs){.pc = (uint64_t)r[REG_RIP],
                                   .sp = (uint64_t)r[REG_RSP],
                                   .bp = (uint64_t)r[REG_RBP],
                                   .bx = (uint64_t)r[REG_RBX],
                                   .r12 = (uint64_t)r[REG_R12],
                                   .r13 = (uint64_t)r[REG_R13],
                                   .r14 = (uint64_t)r[REG_R14],
                                   .r15 = (uint64_t)r[REG_R15]};
}

/* Ends the program as SIGSEGV would have. A signal that was sent does not come back by itself. */
static void die_sig(const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGSEGV, &action, NULL);
    if (info->si_code <= 0) {
        raise(SIGSEGV);
    }
}

static void chain_sig(int signal, siginfo_t *info, void *context)
{
    sigset_t before;
    if (previous.sa_flags & SA_SIGINFO) {
        pthread_sigmask(SIG_BLOCK, &previous.sa_mask, &before);
        previous.sa_sigaction(signal, info, context);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
            die_sig(info); /* the kernel does not let a real fault be ignored either */
        }
    } else {
        pthread_sigmask(SIG_BLOCK, &previous.sa_mask, &before);
        previous.sa_handler(signal);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

static void fault_sig(int signal, siginfo_t *info, void *context)
{
    struct cu__m *m = cu__m();
    struct cu__g *g = m ? load_relaxed(&m->g) : NULL;
    struct cu__stack *stack = g ? load_relaxed(&g->stack) : NULL;
    if (stack && info->si_code > 0 && cu__stack_guards_sig(stack, info->si_addr)) {
        struct cu_saved_regs regs;
        regs_of_fault_sig(context, &regs);
        cu__report_overflow_sig(g, &regs);
        die_sig(info);
        return;
    }
    chain_sig(signal, info, context);
}

void cu__fault_install(void)
{
    struct sigaction action = {.sa_sigaction = fault_sig, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, NULL, &previous) == 0) {
        sigaction(SIGSEGV, &action, NULL);
    }
}

static size_t handler_stack_size(void)
{
    size_t least = getauxval(AT_MINSIGSTKSZ);
    least = (least + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
    return least + HANDLER_STACK_BYTES;
}

void *cu__fault_stack_install(void)
{
    size_t size = handler_stack_size();
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    stack_t stack = {.ss_sp = memory, .ss_size = size};
    sigaltstack(&stack, NULL);
    return memory;
}

void cu__fault_stack_remove(void *memory)
{
    if (memory) {
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
        munmap(memory, handler_stack_size());
    }
}
