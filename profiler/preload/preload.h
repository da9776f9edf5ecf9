/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the interposed calls (wrap_*.c) know of the library they are built into. The same
 * wrappers are part of two libraries: the preload shim, whose hooks are empty until it is activated
 * (init.c), and libcopper_profiler, for programs that link it, whose hooks are always there
 * (profiler/linked.c). Each of the two defines `cu__wrap_hooks` once.
 */
#ifndef COPPER_PRELOAD_H
#define COPPER_PRELOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

typedef void cu__wrap_fn(void);

#define COPPER_WRAP_IDLE ((pid_t)0)  /* no process: wrappers only forward */
#define COPPER_WRAP_ANY  ((pid_t)-1) /* every process */

struct cu__wrap_hooks {
    _Atomic(cu__wrap_fn *) thread_started;  /* on each new thread, before its start routine */
    _Atomic(cu__wrap_fn *) modules_closing; /* before a dlclose */
    _Atomic(cu__wrap_fn *) modules_closed;  /* after it */
    /* The process the hooks are for. A forked or vforked child of an activated process has another
     * pid and so is idle without anybody having to reset it. Stored last, with release. */
    _Atomic pid_t pid;
};
extern struct cu__wrap_hooks cu__wrap_hooks;

/* Whether the hooks are for this process. */
static inline bool cu__wrap_is_active(void)
{
    /* pairs with the release store of whoever filled the hooks */
    pid_t pid = atomic_load_explicit(&cu__wrap_hooks.pid, memory_order_acquire);
    return pid == COPPER_WRAP_ANY || (pid != COPPER_WRAP_IDLE && pid == getpid());
}

#endif
