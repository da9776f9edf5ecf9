/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the door to the coroutine runtime, which may or may not be in the process. All of it is
 * bound weakly: the loader fills it in when the program has the runtime, and leaves NULL otherwise.
 */
#ifndef COPPER_RUNTIME_WEAK_H
#define COPPER_RUNTIME_WEAK_H

#include <copper/hooks.h>
#include <copper/inspect.h>
#include <copper/label.h>

#pragma weak cu_g_state_text
#pragma weak cu_inspect_each
#pragma weak cu_service_thread_begin
#pragma weak cu_service_thread_is
#pragma weak cu_worker_thread_is
#pragma weak cu_runtime_stats_read
#pragma weak cu_wait_reason_text
#pragma weak cu_labels_count
#pragma weak cu_labels_key
#pragma weak cu_labels_value

/* Is there a runtime with coroutines in this process? */
static inline bool cu__has_runtime(void)
{
    if (!cu_inspect_each || !cu_g_state_text || !cu_runtime_stats_read || !cu_wait_reason_text ||
        !cu_labels_count || !cu_labels_key || !cu_labels_value) {
        return false;
    }
    struct cu_runtime_stats stats = {.size = sizeof(stats)};
    cu_runtime_stats_read(&stats);
    return stats.created > 0;
}

#endif
