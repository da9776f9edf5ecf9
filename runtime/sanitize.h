/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: which sanitizer is compiled in, and its fiber calls. Without one, all of this is empty.
 */
#ifndef COPPER_RUNTIME_SANITIZE_H
#define COPPER_RUNTIME_SANITIZE_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COPPER_WITH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define COPPER_WITH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define COPPER_WITH_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define COPPER_WITH_TSAN 1
#endif
#ifndef COPPER_WITH_ASAN
#define COPPER_WITH_ASAN 0
#endif
#ifndef COPPER_WITH_TSAN
#define COPPER_WITH_TSAN 0
#endif

#if COPPER_WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if COPPER_WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* ThreadSanitizer keeps a signal back until its thread returns from a function that it intercepts. A
 * raw system call is none, and one that waits for ever is restarted: those end early from time to
 * time, for this call. */
#if COPPER_WITH_TSAN
#include <unistd.h>
#define COPPER_TSAN_PATIENCE_NS 100000000
#define cu__tsan_take_signals() usleep(0)
#else
#define cu__tsan_take_signals() ((void)0)
#endif

#endif
