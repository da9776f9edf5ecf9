/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see clock.h.
 */
#include "clock.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool cu__clock_has_ticks;
static struct cu__clock_pair start;

int64_t cu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * COPPER_SEC + t.tv_nsec;
}

/* The kernel's own judgement: it uses the counter only where it is constant and the same on all
 * processors. kvm-clock is made from such a counter too when the host says it is stable; then tsc is
 * among the clock sources it offers. */
static bool kernel_trusts_counter(void)
{
    char text[128] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/available_clocksource",
                  O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 && strstr(text, "tsc") != NULL;
}

__attribute__((constructor)) static void choose_clock(void)
{
    cu__clock_has_ticks = kernel_trusts_counter();
    start = cu__clock_pair();
}

struct cu__clock_pair cu__clock_pair(void)
{
    return (struct cu__clock_pair){.now_ns = cu_now(), .ticks = cu__ticks()};
}

int64_t cu__tick_span_to_ns(uint64_t ticks, struct cu__clock_pair now)
{
    if (!cu__clock_has_ticks) {
        return (int64_t)ticks;
    }
    if (now.ticks <= start.ticks) {
        return 0;
    }
    return (int64_t)((double)ticks * (double)(now.now_ns - start.now_ns) /
                     (double)(now.ticks - start.ticks));
}

int64_t cu__ticks_to_ns(uint64_t ticks, struct cu__clock_pair now)
{
    if (ticks >= now.ticks) {
        return now.now_ns;
    }
    return now.now_ns - cu__tick_span_to_ns(now.ticks - ticks, now);
}
