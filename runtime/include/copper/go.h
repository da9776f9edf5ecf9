/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/go.h: start coroutines, yield, end. The one header a newcomer needs first.
 *
 * A coroutine is a function with a stack of its own, run by a few OS threads (Go's goroutine). It
 * costs one page until it uses more. Coroutines that wait cost no thread.
 *
 *     static void hello(void *arg) { puts(arg); }
 *     static int app(void *arg) { cu_go(hello, "hello"); cu_yield(); return 0; }
 *     int main(void) { return cu_run(app, NULL); }
 *
 * Rule for every call documented as *parking*: the coroutine may continue on another thread. Never
 * use errno or the address of a thread-local obtained before it: compilers cache those addresses,
 * and what pthread_self returned. errno's value is each coroutine's own; read it in a function that
 * does not park. The floating-point environment (rounding mode, exception masks) is the thread's
 * and does not follow the coroutine.
 *
 * After fork() the child has only its calling thread: inherited coroutines are gone, and the
 * runtime starts afresh at the next cu_run or cu_go. A coroutine that forked goes on in the child
 * as a plain thread would; if its function returns there, the child ends as by exit(0), or, for the
 * function of a cu_run, with the value returned.
 *
 * The threads that run coroutines block all signals but those by which profilers sample (SIGPROF,
 * SIGVTALRM, SIGURG) and those that an instruction raises. fork() in a coroutine gives the child the mask of the thread that started the runtime;
 * with posix_spawn() and what is built on it (system, popen) set the child's mask yourself.
 */
#ifndef COPPER_GO_H
#define COPPER_GO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Where in the source something was made. Always static data: pointers to it never dangle, and
 * names survive stripping. */
struct cu_site {
    const char *function;
    const char *file;
    uint32_t line;
};

#define COPPER_SITE()                                                                              \
    (__extension__({                                                                               \
        static const struct cu_site cu_site_here = {__func__, __FILE__, __LINE__};                 \
        &cu_site_here;                                                                             \
    }))

/* A coroutine's id: positive, never used twice in a process. */
typedef int64_t cu_id;

struct cu_go_options {
    size_t size;                /* sizeof(struct cu_go_options): set by COPPER_GO_OPTIONS */
    size_t stack_size;          /* usable bytes, rounded up to a power of two; 0 means the default,
                                   256 KiB; at most 1 GiB. Only what is touched costs memory. */
    const char *name;           /* copied, cut to 31 bytes; NULL: its parent's (see cu_name_set) */
    bool daemon;                /* serves others for ever: never reported as stranded */
    const struct cu_site *site; /* spawn site; NULL means unknown */
};
#define COPPER_GO_OPTIONS .size = sizeof(struct cu_go_options)

/* Runs fn(arg) as the main coroutine and returns its value. Awaits nobody else, like Go's main:
 * what still runs goes on in the background until the process ends. From a plain thread, before or
 * after other calls of it; -EDEADLK from a coroutine. Blocks its thread. Starts the runtime when it
 * does not run yet; -errno when that fails. */
int cu_run(int (*fn)(void *), void *arg);

/* Starts fn(arg) as a coroutine. Returns its id, or -ENOMEM / -EAGAIN when address space, memory or
 * the configured number of coroutines (COPPER_MAXCOROUTINES, by default 2^24; less a few hundred
 * for each P) is used up. From coroutines and from plain threads (starts the runtime if need be);
 * not from signal handlers. Does not block. The result may be ignored. */
cu_id cu_go(void (*fn)(void *), void *arg);
cu_id cu_go_with(void (*fn)(void *), void *arg, const struct cu_go_options *options);
cu_id cu_go_site(void (*fn)(void *), void *arg, const struct cu_site *site);
#define cu_go(fn, arg) cu_go_site((fn), (arg), COPPER_SITE())

/* Lets others run: the caller goes to the end of its P's queue; with nobody else to run it returns
 * at once. Parks. On a plain thread: sched_yield. */
void cu_yield(void);

/* Ends the calling coroutine at once; nothing above it on its stack runs. Not from plain threads
 * (aborts: misuse), nor from the main coroutine's function (its value would be lost). */
__attribute__((noreturn)) void cu_exit(void);

/* The id of the calling coroutine, 0 on a plain thread. Any context. */
cu_id cu_self(void);

/* Names the calling coroutine in dumps, profiles and reports. Copied, cut to 31 bytes; NULL or ""
 * takes the name away. Coroutines that it spawns from then on without a name of their own get the
 * same, as threads do, so that a family is known by one name; but not those of the function of a
 * cu_run, which is called "main". */
void cu_name_set(const char *name);

/* How many P there are, i.e. how many coroutines run at once. COPPER_MAXPROCS, default: the CPUs
 * that affinity and the cgroup's quota let this process use. Any context but signal handlers. */
int cu_maxprocs(void);

/* Makes it n, up or down, while coroutines run, and returns what it was; n < 1 changes nothing.
 * Also before the runtime starts. Nothing is stopped for it: new P take work at once; one too many
 * goes when its coroutine stops, or is taken like a hog's, some milliseconds later, and what it had
 * queued goes to the others. Where COPPER_HANDOFF=0, a coroutine that computes or blocks keeps it
 * until it calls the runtime. -EINVAL: n > 256; -ENOMEM: no address space for the stacks that more
 * P hold ready; -EBUSY: a seeded replay (COPPER_SCHED_SEED) has one P. Threads are limited by
 * COPPER_MAXTHREADS all the same. From coroutines and plain threads; does not park. Costs some
 * microseconds, and more where many timers have to move. */
int cu_set_maxprocs(int n);

/* Ties the calling coroutine to the thread that runs it: it continues on no other, also after
 * parking calls, and no other coroutine runs there. For libraries that keep state in the thread
 * (graphics contexts, thread-locals whose address is kept). Nests: as many unlocks undo it. Each
 * switch from and to such a coroutine costs a thread switch, some microseconds. A coroutine that
 * ends without unlocking takes the thread with it. On a plain thread nothing. */
void cu_lock_thread(void);
void cu_unlock_thread(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
