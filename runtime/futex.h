/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a thread waits for a word to change. The only place where a thread of the runtime
 * sleeps.
 */
#ifndef COPPER_RUNTIME_FUTEX_H
#define COPPER_RUNTIME_FUTEX_H

#include "base.h"

#define COPPER_NO_DEADLINE INT64_MAX

/* Sleeps while *word == expected, until woken or until deadline_ns on the cu_now() clock. May
 * return early: callers loop. errno is left alone. */
void cu__futex_wait(uint32_t *word, uint32_t expected, int64_t deadline_ns);
void cu__futex_wake(uint32_t *word, int count);

#endif
