/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see futex.h. Deadlines are absolute: FUTEX_WAIT_BITSET takes them on the monotonic
 * clock.
 */
#include "futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "replay.h"
#include "sanitize.h"

/* The real time until which to sleep at most. */
static int64_t until_when(int64_t deadline_ns)
{
    if (deadline_ns != COPPER_NO_DEADLINE && cu__replay_is_on() && cu__replay_is_here()) {
        deadline_ns = cu__replay_real(deadline_ns);
    }
#if COPPER_WITH_TSAN
    int64_t patience_ns = cu__real_now() + COPPER_TSAN_PATIENCE_NS;
    return deadline_ns < patience_ns ? deadline_ns : patience_ns;
#else
    return deadline_ns;
#endif
}

void cu__futex_wait(uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    struct timespec at, *until = NULL;
    deadline_ns = until_when(deadline_ns);
    if (deadline_ns != COPPER_NO_DEADLINE) {
        at = (struct timespec){.tv_sec = deadline_ns / 1000000000,
                               .tv_nsec = deadline_ns % 1000000000};
        until = &at;
    }
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, until, NULL,
            FUTEX_BITSET_MATCH_ANY);
    cu__tsan_take_signals();
    errno = saved;
}

void cu__futex_wake(uint32_t *word, int count)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    errno = saved;
}
