/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: conditions whose deadlines are of the clock that nobody sets.
 */
#ifndef COPPER_TIMED_COND_H
#define COPPER_TIMED_COND_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

static inline void cu__timed_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* pthread_cond_timedwait, with its result, until a time of CLOCK_MONOTONIC. */
static inline int cu__timed_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock,
                                      int64_t deadline_ns)
{
    struct timespec deadline = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    return pthread_cond_timedwait(cond, lock, &deadline);
}

#endif
