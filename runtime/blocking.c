/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: cu_syscall_enter, cu_syscall_exit and cu_blocking: a coroutine says that its thread is
 * going to wait in the kernel.
 *
 * Design: the announcement is a counter of the thread (struct cu__m.syscalls), odd while inside:
 * sysmon, which looks at it twice, knows from one number that it is the same call.
 */
#include <copper/blocking.h>

#include "arch.h"
#include "events.h"
#include "schedule.h"
#include "tls.h"

static void announce(struct cu__m *m, struct cu__g *g)
{
    if (g->syscall_depth++ == 0) {
        store_release(&m->syscalls, m->syscalls | 1);
        if (EVENT_ON(SYSCALL_BEGIN)) {
            cu__emit_syscall_begin(g->id, (int)m->p->index);
        }
    }
}

static void conclude(struct cu__m *m, struct cu__g *g)
{
    if (--g->syscall_depth == 0) {
        store_release(&m->syscalls, (m->syscalls | 1) + 1);
        if (EVENT_ON(SYSCALL_END)) {
            cu__emit_syscall_end(g->id, (int)m->p->index);
        }
    }
}

void cu_syscall_enter(void)
{
    struct cu__g *g = cu__g_self();
    if (g) {
        announce(cu__m(), g);
    }
}

void cu_syscall_exit(void)
{
    struct cu__g *g = cu__g_self();
    if (g && g->syscall_depth) {
        conclude(cu__m(), g);
    }
}

void cu_blocking(void (*fn)(void *), void *arg)
{
    cu_syscall_enter();
    fn(arg);
    cu_syscall_exit();
}
