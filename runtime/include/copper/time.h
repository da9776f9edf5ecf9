/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/time.h: units, the clock, sleeping.
 *
 * Every time in copper is an int64_t of nanoseconds on the monotonic clock.
 *
 *     cu_sleep(50 * COPPER_MS);
 */
#ifndef COPPER_TIME_H
#define COPPER_TIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_NS  ((int64_t)1)
#define COPPER_US  ((int64_t)1000)
#define COPPER_MS  ((int64_t)1000000)
#define COPPER_SEC ((int64_t)1000000000)

/* Monotonic time in ns. Any context, signal handlers included. A vdso call, about 20 ns. */
int64_t cu_now(void);

/* Waits at least ns nanoseconds; ns <= 0 only yields. In a coroutine it parks (may continue on
 * another thread); on a plain thread it blocks the thread, and signals do not cut it short. */
void cu_sleep(int64_t ns);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
