/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see recorded.h.
 */
#include "recorded.h"

#include "continuous.h"

#include <stdatomic.h>
#include <time.h>

#define COPPER_RECORDED_STEP_NS 1000000
#define COPPER_BEGIN_STEPS      500  /* half a second: a program waits no longer for its recorder */
#define COPPER_FINISH_STEPS     1000 /* a second: nor is its exit held longer */

static atomic_uint open_windows;
static atomic_bool is_opened, is_finishing;

void cu__window_begin(void)
{
    atomic_fetch_add(&open_windows, 1);
}

void cu__window_end(void)
{
    atomic_fetch_sub(&open_windows, 1);
}

void cu__window_opened(void)
{
    atomic_store(&is_opened, true);
}

bool cu__is_finishing(void)
{
    return atomic_load_explicit(&is_finishing, memory_order_relaxed);
}

static void wait_a_little(void)
{
    struct timespec t = {.tv_nsec = COPPER_RECORDED_STEP_NS};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

void cu_preload_begin(void)
{
    for (int i = 0; i < COPPER_BEGIN_STEPS && !atomic_load(&is_opened); i++) {
        wait_a_little();
    }
}

void cu__finishing_begin(void)
{
    atomic_store(&is_finishing, true);
}

void cu_preload_finish(void)
{
    cu__finishing_begin();
    for (int i = 0; i < COPPER_FINISH_STEPS && atomic_load(&open_windows) > 0; i++) {
        wait_a_little();
    }
    cu__continuous_finish();
}
