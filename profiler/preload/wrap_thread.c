/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: interposes pthread_create and thrd_create, so that the profiler hears of a thread before
 * the thread's first instruction, however short it lives. Threads made in other ways (raw clone, the
 * C library's own) are found by the profiler in /proc.
 *
 * Design. The real call is given an entry of ours and, as its argument, a slot of a static table that
 * holds the real start routine and argument. The entry copies them out, frees the slot, calls the
 * hook and *jumps* to the start routine: no frame of ours stays in the thread's stack. This file is
 * therefore always compiled with sibling calls optimised, and a test looks at a real stack.
 *
 * No allocation: the host's malloc may be anything. When all slots are in use (that many threads
 * created and not yet begun) the call is forwarded as it came.
 *
 * Invariants: a claimed slot belongs to the creating thread until the real call succeeds, then to
 * the new thread until it is freed, which it does before any foreign code runs.
 */
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <threads.h>

#define COPPER_WRAP_SLOTS 1024

typedef int pthread_create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
typedef int thrd_create_fn(thrd_t *, thrd_start_t, void *);

struct slot {
    atomic_bool is_claimed;
    union {
        void *(*posix)(void *);
        thrd_start_t c11;
    } start; /* owner: see the invariants */
    void *arg;
};

static struct slot slots[COPPER_WRAP_SLOTS];
static atomic_uint next_slot; /* where to look first */
static _Atomic(pthread_create_fn *) real_pthread_create;
static _Atomic(thrd_create_fn *) real_thrd_create;

static struct slot *claim_slot(void)
{
    unsigned first = atomic_fetch_add_explicit(&next_slot, 1, memory_order_relaxed);
    for (unsigned i = 0; i < COPPER_WRAP_SLOTS; i++) {
        struct slot *s = &slots[(first + i) % COPPER_WRAP_SLOTS];
        bool expected = false;
        /* acquire pairs with the release in free_slot: its reader is done with the contents */
        if (atomic_compare_exchange_strong_explicit(&s->is_claimed, &expected, true,
                                                    memory_order_acquire, memory_order_relaxed)) {
            return s;
        }
    }
    return NULL;
}

static void free_slot(struct slot *s)
{
    atomic_store_explicit(&s->is_claimed, false, memory_order_release);
}

static void thread_started(void)
{
    if (cu__wrap_is_active()) {
        atomic_load_explicit(&cu__wrap_hooks.thread_started, memory_order_relaxed)();
    }
}

static void *enter_posix(void *arg)
{
    struct slot *s = arg;
    void *(*start)(void *) = s->start.posix;
    void *start_arg = s->arg;
    free_slot(s);
    thread_started();
    return start(start_arg); /* a jump */
}

static int enter_c11(void *arg)
{
    struct slot *s = arg;
    thrd_start_t start = s->start.c11;
    void *start_arg = s->arg;
    free_slot(s);
    thread_started();
    return start(start_arg); /* a jump */
}

static pthread_create_fn *find_pthread_create(void)
{
    pthread_create_fn *fn = atomic_load_explicit(&real_pthread_create, memory_order_relaxed);
    if (!fn) {
        fn = (pthread_create_fn *)dlsym(RTLD_NEXT, "pthread_create");
        atomic_store_explicit(&real_pthread_create, fn, memory_order_relaxed);
    }
    return fn;
}

static thrd_create_fn *find_thrd_create(void)
{
    thrd_create_fn *fn = atomic_load_explicit(&real_thrd_create, memory_order_relaxed);
    if (!fn) {
        fn = (thrd_create_fn *)dlsym(RTLD_NEXT, "thrd_create");
        atomic_store_explicit(&real_thrd_create, fn, memory_order_relaxed);
    }
    return fn;
}

__attribute__((visibility("default"))) int
pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    pthread_create_fn *fn = find_pthread_create();
    if (!fn) {
        return EAGAIN;
    }
    struct slot *s = cu__wrap_is_active() ? claim_slot() : NULL;
    if (!s) {
        return fn(thread, attr, start, arg);
    }
    s->start.posix = start;
    s->arg = arg;
    int err = fn(thread, attr, enter_posix, s);
    if (err) {
        free_slot(s);
    }
    return err;
}

__attribute__((visibility("default"))) int thrd_create(thrd_t *thread, thrd_start_t start,
                                                       void *arg)
{
    thrd_create_fn *fn = find_thrd_create();
    if (!fn) {
        return thrd_error;
    }
    struct slot *s = cu__wrap_is_active() ? claim_slot() : NULL;
    if (!s) {
        return fn(thread, start, arg);
    }
    s->start.c11 = start;
    s->arg = arg;
    int result = fn(thread, enter_c11, s);
    if (result != thrd_success) {
        free_slot(s);
    }
    return result;
}
