/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the hooks of the interposed calls in a program that links libcopper_profiler: always
 * there, in forked children too, since such a program may serve afresh after a fork.
 */
#include "preload.h"
#include "profiles.h"

#include <copper/stacks.h>

/* The shim's way to the same hook. */
__attribute__((visibility("default"))) void cu_profiler_thread_started(void);
void cu_profiler_thread_started(void)
{
    cu__thread_started();
}

struct cu__wrap_hooks cu__wrap_hooks = {
    .thread_started = cu__thread_started,
    .modules_closing = cu_modules_closing_sig,
    .modules_closed = cu_modules_closed_sig,
    .pid = COPPER_WRAP_ANY,
};
