/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: every environment variable of ours, so that a misspelt one can be pointed out. Whoever
 * adds one enters it here; a test compares the list with what the sources read.
 */
#ifndef COPPER_ENV_NAMES_H
#define COPPER_ENV_NAMES_H

#define COPPER_ENV_NAMES(X)                                                                        \
    X(BLOCK_RATE)                                                                                  \
    X(BUDGET)                                                                                      \
    X(CONTINUOUS)                                                                                  \
    X(CONTINUOUS_KEEP)                                                                             \
    X(DEADLOCK)                                                                                    \
    X(DUMP)                                                                                        \
    X(FLIGHT)                                                                                      \
    X(FLIGHT_FILE)                                                                                 \
    X(FLIGHT_ON)                                                                                   \
    X(HANDOFF)                                                                                     \
    X(HEAP_RATE)                                                                                   \
    X(HTTP)                                                                                        \
    X(LABELS)                                                                                      \
    X(LEAKCHECK)                                                                                   \
    X(MAXCOROUTINES)                                                                               \
    X(MAXPROCS)                                                                                    \
    X(MAXTHREADS)                                                                                  \
    X(MUTEX_FRACTION)                                                                              \
    X(PRELOAD_FOLLOW)                                                                              \
    X(PRELOAD_HTTP)                                                                                \
    X(PRELOAD_NAMES)                                                                               \
    X(PRELOAD_PID)                                                                                 \
    X(PRELOAD_QUIET)                                                                               \
    X(PRELOAD_RECORD)                                                                              \
    X(SCHED_SEED)                                                                                  \
    X(SCHEDULE_RATE)                                                                               \
    X(STACK_CENSUS)                                                                                \
    X(STACK_GUARD)                                                                                 \
    X(TEST_TIMEOUT)                                                                                \
    X(TOKEN_FILE)                                                                                  \
    X(TRACE_BUFFER)                                                                                \
    /* where tests find the build */                                                               \
    X(BUILD)                                                                                       \
    X(SOURCE)

#endif
