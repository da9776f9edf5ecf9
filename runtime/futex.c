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

#include "replay.h"

void cu__futex_wait(uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    struct timespec at, *until = NULL;
    if (deadline_ns != COPPER_NO_DEADLINE) {
        if (cu__replay_is_on() && cu__replay_is_here()) {
            deadline_ns = cu__replay_real(deadline_ns);
        }
        at = (struct timespec){.tv_sec = deadline_ns / 1000000000,
                               .tv_nsec = deadline_ns % 1000000000};
        until = &at;
    }
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, until, NULL,
            FUTEX_BITSET_MATCH_ANY);
    errno = saved;
}

void cu__futex_wake(uint32_t *word, int count)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    errno = saved;
}
