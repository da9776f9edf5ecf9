/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the profile makers (cpu.c, goroutine.c, ...) and the routes agree on. A maker turns a
 * question into a finished `struct cu_pprof`; the routes send it. No maker knows HTTP.
 */
#ifndef COPPER_PROFILES_H
#define COPPER_PROFILES_H

#include <copper/pprof.h>
#include <copper/stacks.h>
#include <stdbool.h>
#include <stdint.h>

#define COPPER_ERROR_MAX 256 /* bytes of an error line */

/* Asked while a maker waits; true: stop early, nobody wants the answer. */
typedef bool cu__is_gone_fn(void *ctx);

/* CPU profile of the next duration_ns. hz 0: the default, under the budget; else exactly asked for.
 * On failure a negative errno value and one line in error. (cpu.c) */
int cu__cpu_profile(int64_t duration_ns, int hz, cu__is_gone_fn *is_gone, void *ctx,
                    struct cu_pprof **out, char error[COPPER_ERROR_MAX]);

/* The same in two steps, for a window that ends when somebody says so. close frees w; out NULL: the
 * profile is not wanted. -ESRCH from close: the process that opened it forked, and this is the child. */
struct cu__cpu_window;
int cu__cpu_open(int hz, struct cu__cpu_window **out, char error[COPPER_ERROR_MAX]);
int cu__cpu_close(struct cu__cpu_window *w, struct cu_pprof **out, char error[COPPER_ERROR_MAX]);

/* The encoder (encode.c): frames to named pprof locations and mappings, main executable first, every
 * mapping has_functions. Used by every maker. */
struct cu__encoder;
struct cu__encoder *cu__encoder_new(void);
struct cu_pprof *cu__encoder_profile(struct cu__encoder *e); /* for header fields */
int cu__encoder_sample(struct cu__encoder *e, const cu_frame *frames, unsigned nframes,
                       const int64_t *values, const struct cu_pprof_label *labels, size_t nlabels);
/* Gives up the profile (the caller frees it) and frees the encoder. */
struct cu_pprof *cu__encoder_finish(struct cu__encoder *e);

/* Self-cost lines for comments and the index page: calls line() once for each. (self.c) */
void cu__self_report(void (*line)(void *ctx, const char *text), void *ctx);

/* Threads of our own (HTTP, collector): excluded from samples and thread lists. Called on the thread
 * itself at its start; sets its name, blocks all signals. (self.c) */
void cu__own_thread_begin(const char *name);
bool cu__is_own_thread(int32_t tid);

/* For wrappers of pthread_create (preload shim, linked interposition): called on the new thread
 * before its start routine. Cheap when nothing is sampled. (cpu_timer.c) */
void cu__thread_started(void);

/* The runtime's door, when there is one in the process: weak references resolved once. */
#endif
