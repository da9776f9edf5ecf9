/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waiting for nothing but time to pass.
 */
#include "clock.h"
#include "futex.h"
#include "race.h"
#include "schedule.h"
#include "tls.h"

int64_t cu__deadline(int64_t ns)
{
    int64_t now_ns = cu_now();
    if (ns <= 0) {
        return now_ns;
    }
    return ns < INT64_MAX - 1 - now_ns ? now_ns + ns : INT64_MAX - 1;
}

void cu_sleep(int64_t ns)
{
    struct cu__g *g = cu__g_self();
    if (ns <= 0) {
        cu_yield();
        return;
    }
    int64_t deadline_ns = cu__deadline(ns);
    if (g) {
        g->wait = (struct cu__wait){.reason = COPPER_WAIT_SLEEP, .deadline_ns = deadline_ns};
        cu__race_open(&g->race);
        cu__schedule(cu__m(), COPPER_AFTER_PARK, NULL);
        return;
    }
    uint32_t word = 0;
    while (cu_now() < deadline_ns) {
        cu__futex_wait(&word, 0, deadline_ns);
    }
}
