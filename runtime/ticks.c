/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see ticks.h.
 *
 * Design: how long a tick is follows from two pairs of readings, one of them from when the library
 * was loaded. While the machine slept between them, the counter may have gone on or begun anew, and
 * the clock stood still: then the pair is taken again.
 */
#include "ticks.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define BASE_NS    (2 * COPPER_MS) /* readings so far apart tell the rate to some 1e-5 */
#define SLEPT_NS   COPPER_MS
#define TRIES      5
#define ONE        (UINT64_C(1) << 32)
#define SOURCE_NOW "/sys/devices/system/clocksource/clocksource0/current_clocksource"

struct cu__ticks cu__ticks = {.ns_each = ONE, .in_ns = ONE};

struct pair {
    int64_t ns, ticks;
    int64_t slept_ns; /* by the machine, since it started */
};

static struct pair base; /* constructor, then who prepares */
static bool is_judged, is_trusted;

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * COPPER_SEC + t.tv_nsec;
}

/* The closest of some tries: an interruption between the readings would count as ticks. */
static struct pair read_pair(void)
{
    struct pair best = {.ns = 0};
    uint64_t shortest = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = cu__cycles();
        int64_t ns = cu__real_now();
        uint64_t after = cu__cycles();
        if (after - before < shortest) {
            shortest = after - before;
            best.ns = ns;
            best.ticks = (int64_t)(before + shortest / 2);
        }
    }
    best.slept_ns = read_clock(CLOCK_BOOTTIME) - read_clock(CLOCK_MONOTONIC);
    return best;
}

__attribute__((constructor)) static void read_early(void)
{
    base = read_pair();
}

/* The kernel watches the counter, and turns to another source when it is not to be trusted. */
static bool is_kernels_clock(void)
{
    char text[8] = "";
    int fd = open(SOURCE_NOW, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n >= 0 && strcmp(text, COPPER_CYCLES_SOURCE) == 0;
}

static void measure(void)
{
    struct pair now = read_pair();
    int64_t slept_ns = now.slept_ns - base.slept_ns;
    if (slept_ns > SLEPT_NS || slept_ns < -SLEPT_NS || now.ticks <= base.ticks) {
        base = now;
    }
    while (now.ns - base.ns < BASE_NS) {
        struct timespec rest = {.tv_nsec = BASE_NS - (now.ns - base.ns)};
        nanosleep(&rest, NULL);
        now = read_pair();
    }
    double ticks_each_ns = (double)(now.ticks - base.ticks) / (double)(now.ns - base.ns);
    store_relaxed(&cu__ticks.in_ns, (uint64_t)(ticks_each_ns * (double)ONE));
    store_relaxed(&cu__ticks.ns_each, (uint64_t)((double)ONE / ticks_each_ns));
    store_relaxed(&cu__ticks.is_counter, true);
}

void cu__ticks_prepare(void)
{
    if (!is_judged) {
        is_trusted = cu__cycles_are_steady() && is_kernels_clock();
        is_judged = true;
    }
    if (is_trusted && !cu__replay_is_on()) {
        measure();
        return;
    }
    store_relaxed(&cu__ticks.is_counter, false);
    store_relaxed(&cu__ticks.in_ns, ONE);
    store_relaxed(&cu__ticks.ns_each, ONE);
}
