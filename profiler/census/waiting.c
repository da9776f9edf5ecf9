/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see waiting.h.
 */
#include "waiting.h"

#include "recorded.h"

#include <time.h>

#define COPPER_WAIT_STEP_NS 50000000 /* between two looks whether to go on */

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool cu__wait(int64_t ns, bool (*is_gone)(void *ctx), void *ctx)
{
    int64_t end = now_ns() + ns;
    for (int64_t left = ns; left > 0 && !cu__is_finishing(); left = end - now_ns()) {
        if (is_gone && is_gone(ctx)) {
            return false;
        }
        int64_t step = left < COPPER_WAIT_STEP_NS ? left : COPPER_WAIT_STEP_NS;
        struct timespec t = {step / 1000000000, step % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
    }
    return true;
}
