/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the few compiler words and atomic shorthands the runtime is written in.
 *
 * Shared fields are plain types accessed through the macros below, so that each access names its
 * memory order; the comment at a field's declaration says who may touch it.
 */
#ifndef COPPER_RUNTIME_BASE_H
#define COPPER_RUNTIME_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x)                     __builtin_expect(!!(x), 1)
#define unlikely(x)                   __builtin_expect(!!(x), 0)
#define noinline                      __attribute__((noinline))
#define hidden                        __attribute__((visibility("hidden"))) /* data: no detour over the GOT */
#define must_use                      __attribute__((warn_unused_result))
#define cache_aligned                 __attribute__((aligned(64)))
#define ARRAY_LEN(a)                  (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#define load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seq(p)         __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define store_seq(p, v)     __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define add_relaxed(p, v)   __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define add_seq(p, v)       __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define sub_seq(p, v)       __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define swap_seq(p, v)      __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
/* Failing orders too: who sees in *expected that the work is done may go on and use it. */
#define cas_seq(p, expected, v)                                                                    \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
/* Failing orders nothing: for loops that act on success alone. */
#define cas_acquire(p, expected, v)                                                                \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_release(p, expected, v)                                                                \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)

/* A counter with one writer that others may read: no locked instruction. */
#define bump(p, v) store_relaxed((p), load_relaxed(p) + (v))

/* Kept in release builds: a broken invariant must stop the program before it loses a coroutine. */
#define cu_assert(x)                                                                               \
    do {                                                                                           \
        if (unlikely(!(x))) {                                                                      \
            cu__assert_failed(#x, __FILE__, __LINE__);                                             \
        }                                                                                          \
    } while (0)
__attribute__((noreturn, cold)) void cu__assert_failed(const char *what, const char *file,
                                                       int line);

#endif
