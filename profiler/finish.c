/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see finish.h.
 */
#include "finish.h"

#include <stdatomic.h>
#include <time.h>

#define COPPER_FINISH_STEP_NS 2000000
#define COPPER_FINISH_STEPS   500 /* a second: an exit is not held longer for a recording */

static atomic_uint open_windows;
static atomic_bool is_finishing;

void cu__window_begin(void)
{
    atomic_fetch_add(&open_windows, 1);
}

void cu__window_end(void)
{
    atomic_fetch_sub(&open_windows, 1);
}

bool cu__is_finishing(void)
{
    return atomic_load_explicit(&is_finishing, memory_order_relaxed);
}

void cu_preload_finish(void)
{
    atomic_store(&is_finishing, true);
    for (int i = 0; i < COPPER_FINISH_STEPS && atomic_load(&open_windows) > 0; i++) {
        struct timespec t = {.tv_nsec = COPPER_FINISH_STEP_NS};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
    }
}
