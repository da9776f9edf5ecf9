/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/profile.h: take profiles of this process from C, and make profiles of your own. What
 * /debug/pprof serves (copper/profiler.h), without HTTP.
 *
 *     struct cu_cpu_profile *cpu;
 *     int err = cu_profile_cpu_start(0, &cpu);
 *     ...
 *     err = err ? err : cu_profile_cpu_stop(cpu, cu_to_file("cpu.pb.gz"));
 *     err = cu_profile_write("heap", cu_to_file("heap.pb.gz"), NULL);   // go tool pprof heap.pb.gz
 *
 * Works in any process, with or without the coroutine runtime. From coroutines and plain threads, any
 * number at once; not from signal handlers. Calls that wait block their thread: in a coroutine, wrap
 * them in cu_blocking. 0 is success, a negative value is -errno.
 */
#ifndef COPPER_PROFILE_H
#define COPPER_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct cu_pprof; /* copper/pprof.h: merge, compare, scale, read */

/* ---- where a profile goes --------------------------------------------------------------------- */

/* Made by the functions below; its members are theirs. */
struct cu_profile_to {
    const char *path;
    void **bytes;
    size_t *nbytes;
    int (*write)(void *ctx, const void *bytes, size_t n);
    void *ctx;
    int fd;
};

/* A file, which is there whole or not at all: it is written beside path, synced, and renamed over it.
 * When that fails (-ENOSPC, ...), a file that was there is untouched and nothing is left beside it. A
 * path that is there and is no regular file (/dev/stdout, a pipe) is written to directly. */
static inline struct cu_profile_to cu_to_file(const char *path)
{
    struct cu_profile_to to = {path, NULL, NULL, NULL, NULL, -1};
    return to;
}

/* An open file, from its offset on; it stays open. What was written before a failure stays there. */
static inline struct cu_profile_to cu_to_fd(int fd)
{
    struct cu_profile_to to = {NULL, NULL, NULL, NULL, NULL, fd};
    return to;
}

/* Memory: *bytes is for the caller to free(); NULL and 0 when the call fails. */
static inline struct cu_profile_to cu_to_memory(void **bytes, size_t *n)
{
    struct cu_profile_to to = {NULL, bytes, n, NULL, NULL, -1};
    return to;
}

/* write(ctx, ...) gets consecutive pieces; it returns 0, or a negative value, which ends it and is
 * what the call returns. */
static inline struct cu_profile_to cu_to_writer(int (*write)(void *ctx, const void *bytes, size_t n),
                                                void *ctx)
{
    struct cu_profile_to to = {NULL, NULL, NULL, write, ctx, -1};
    return to;
}

/* ---- CPU --------------------------------------------------------------------------------------- */

#define COPPER_CPU_HZ_DEFAULT 100
#define COPPER_CPU_HZ_MAX     10000

struct cu_cpu_profile;

/* Starts a CPU profile at hz samples per CPU second (0: 100, fewer where COPPER_BUDGET demands it). Any
 * number may run at once, beside HTTP clients; each is its own. While one runs, every thread has a
 * timer and a collector thread works. 0; -EINVAL: hz; -EBUSY: the program handles SIGPROF and all
 * other signals that could be used; -ENOMEM; -EAGAIN: no thread. Blocks for some milliseconds, the
 * first time for a tenth of a second. */
int cu_profile_cpu_start(int hz, struct cu_cpu_profile **out);

/* Ends it, writes it, and frees it. When writing fails, nothing is lost: the profile has ended but is
 * there still, to be written elsewhere by another call or given up by cu_profile_cpu_drop. -ESRCH: it
 * was started before a fork, and this is the child: only drop is left; -EINVAL: cpu is NULL, as from a
 * start that failed. Blocks. */
int cu_profile_cpu_stop(struct cu_cpu_profile *cpu, struct cu_profile_to to);

/* Ends and frees it, written or not. NULL is allowed. */
void cu_profile_cpu_drop(struct cu_cpu_profile *cpu);

/* CPU profile of the next `seconds` seconds at hz (0: 100) into a file. Blocks its thread for that
 * long. -EACCES in a set-user-id process. */
int cu_profile_cpu_file(const char *path, double seconds, int hz);

/* ---- any profile, by name ---------------------------------------------------------------------- */

#define COPPER_SECONDS_MAX 3600 /* the longest window */

struct cu_profile_options {
    size_t size;       /* sizeof(struct cu_profile_options): set by COPPER_PROFILE_OPTIONS */
    int debug;         /* 0: gzip'd pprof; 1: text with counts; 2: of goroutine, a block for each */
    int hz;            /* profile: samples per CPU second; 0: 100 */
    int64_t window_ns; /* 0: as it is now. Else what happens in so long: of a cumulative profile the
                          difference (block, mutex, schedule and hog are turned on for it). profile,
                          wall and trace need one. At most COPPER_SECONDS_MAX seconds */
    bool with_threads; /* goroutine: threads beside coroutines */
    bool is_detailed;  /* goroutine: a sample for each, with labels id and age */
};
#define COPPER_PROFILE_OPTIONS .size = sizeof(struct cu_profile_options)

/* Writes the profile that /debug/pprof/NAME serves: allocs, block, goroutine, heap, hog, mutex,
 * schedule, threadcreate, one of the program's own; with a window also profile, wall, trace. options
 * NULL: binary, as it is now.
 *
 *     cu_profile_write("goroutine", cu_to_fd(2), &(struct cu_profile_options){
 *                          COPPER_PROFILE_OPTIONS, .debug = 2});
 *
 * 0; -ENOENT: no profile of this name; -EINVAL: options that do not fit it (debug with a window, a
 * window of a profile of the program's own, profile without one), or without a size; -ENOTSUP: needs the coroutine
 * runtime; -ENOMEM; or of writing. A destination that cannot be
 * opened is found out before the window. Blocks for that and some milliseconds; the first profile of a
 * process reads symbols, which takes a tenth of a second or more. */
int cu_profile_write(const char *name, struct cu_profile_to to,
                     const struct cu_profile_options *options);

/* The same as an object, to be merged, compared or read: copper/pprof.h. The caller frees it with
 * cu_pprof_free. -EINVAL also: debug is not 0. -ENOENT also for trace, which is no pprof profile. */
int cu_profile_take(const char *name, const struct cu_profile_options *options,
                    struct cu_pprof **out);

/* ---- rates --------------------------------------------------------------------------------------
 *
 * Waits and delays of coroutines are off unless asked for; a window turns a profile on for its length.
 * Rates are what is sampled, values are what happened: they are scaled up, and only grow. A rate of
 * more than an hour is taken as an hour, a fraction of more than a million as that. 0, -ENOTSUP (no
 * coroutine runtime in the process), -ENOMEM, -ENOSPC (too many tools attached). */

/* Block profile: a wait of rate_ns or longer counts, a shorter one with probability duration/rate.
 * 1: all; 0 or less: off. Like Go's SetBlockProfileRate, but of all waits: channels, select, locks,
 * sleep, I/O, announced blocking calls. At start-up from COPPER_BLOCK_RATE=10us. */
int cu_profile_block_rate(int64_t rate_ns);
/* Mutex profile: one in `fraction` contended unlocks counts; 0: off; negative: only asks. Returns the
 * fraction before, or -errno. Like Go's SetMutexProfileFraction. At start-up from
 * COPPER_MUTEX_FRACTION=5. */
int cu_profile_mutex_fraction(int fraction);
/* Schedule and hog profiles and the delays of /metrics; sampled by duration as above. At start-up
 * from COPPER_SCHEDULE_RATE=10us. */
int cu_profile_schedule_rate(int64_t rate_ns);

/* Samples allocations once in so many bytes on average from now on (COPPER_HEAP_RATE does the same
 * at start-up; 512 KiB unless told; 1: every one; 0: none). 0; -ENOTSUP: copper::heap is not linked;
 * -EINVAL. */
int cu_profile_heap_rate(uint64_t bytes);

/* ---- profiles of the program's own -------------------------------------------------------------
 *
 * A profile is the set of values that are held (open connections, locks, handles, ...), counted by the
 * stack that each was added at; as Go's pprof.NewProfile. It is served at /debug/pprof/NAME (debug=1
 * and up: text) and stands on the index page.
 *
 *     static struct cu_profile *connections;
 *     cu_profile_new("connections", &connections);
 *     ...
 *     cu_profile_add(connections, c, 0);
 *     ...
 *     cu_profile_remove(connections, c);
 *
 * Memory is bounded: 16 to 64 bytes a value, at most COPPER_PROFILE_VALUES_MAX of them, and at most
 * 8192 different stacks of 128 frames (what is added beyond these counts as "[stack unknown]"). A
 * child of fork has the profiles and what they held. */

#define COPPER_PROFILE_VALUES_MAX 1048576

struct cu_profile;

/* Makes a profile, which stays as long as the process. A name consists of letters, digits, '_', '-'
 * and '.', begins with a letter, and has at most 63 bytes; it is copied. 0; -EEXIST: the name is taken,
 * also by a profile or page that there always is; -EINVAL: the name; -ENOSPC: there are 64; -ENOMEM.
 * The first one in a process blocks for some ten milliseconds. */
int cu_profile_new(const char *name, struct cu_profile **out);

/* Holds value, any number or address, from now on, with the caller's stack less its `skip` innermost
 * frames (0: it begins in the function that calls this; functions that were inlined count with the one
 * they are in). 0; -EEXIST: it is held already, nothing changes; -ENOSPC: COPPER_PROFILE_VALUES_MAX are
 * held; -EPERM: not one of the program's own, or NULL; -ENOMEM. Takes a lock for a moment; about a microsecond. */
int cu_profile_add(struct cu_profile *p, const void *value, int skip);
/* Holds it no more. 0; -ENOENT: it was not held; -EPERM. */
int cu_profile_remove(struct cu_profile *p, const void *value);

/* ---- finding profiles -------------------------------------------------------------------------- */

/* By name: one of the program's own, or one that there always is and is a list of stacks (allocs,
 * block, goroutine, heap, hog, mutex, schedule, threadcreate). NULL: there is none. */
struct cu_profile *cu_profile_lookup(const char *name);
/* Valid as long as the process. */
const char *cu_profile_name(const struct cu_profile *p);
/* As on the index page: values held; of goroutine coroutines, of threadcreate threads, of the others
 * different stacks. */
int64_t cu_profile_count(const struct cu_profile *p);
/* Visits all of them in order of name, until visit returns false. It may call anything here. */
void cu_profile_each(bool (*visit)(struct cu_profile *p, void *arg), void *arg);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
