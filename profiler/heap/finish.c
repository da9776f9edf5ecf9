/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: completes the stacks that a sample could not walk at once, because code was met that has
 * no tables yet. Preparing tables locks and allocates, which no allocation may wait for: a thread
 * of ours does it, asleep until it is needed; and whoever reads the profile does, for what is left.
 *
 * Design. A fixed pool of records. A sample fills one and wakes the thread; until its stack is
 * known, its block is entered as pending, and whichever of free and completion comes second counts.
 *
 * Concurrency. A record belongs to who claimed it (by CAS) until it is ready, then to who
 * completes, under `finishing`. That one is an ordinary mutex: it is never taken by an allocation.
 * Fork: a child has no such thread; reading the profile starts one.
 */
#include "internal.h"

#include <copper/inspect.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PENDING_FREE, PENDING_CLAIMED, PENDING_READY };

static struct cu__pending *_Atomic pool;
static struct cu__spin pool_lock;
static _Atomic uint32_t news; /* futex: grows with every record that is ready */
static pthread_mutex_t finishing = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool has_thread;
static _Atomic int32_t helper; /* its id, 0: it has not begun */
static _Atomic uint32_t pool_used; /* records ever claimed */

struct cu__spin *cu__pending_pool_lock(void);
struct cu__spin *cu__pending_pool_lock(void)
{
    return &pool_lock;
}

static struct cu__pending *open_pool(void)
{
    struct cu__pending *p = atomic_load_explicit(&pool, memory_order_acquire);
    if (!p) {
        cu__spin_take(&pool_lock);
        p = atomic_load_explicit(&pool, memory_order_relaxed);
        if (!p) {
            p = cu__heap_reserve(COPPER_PENDING_MAX * sizeof *p);
            atomic_store_explicit(&pool, p, memory_order_release);
        }
        cu__spin_drop(&pool_lock);
    }
    return p;
}

struct cu__pending *cu__pending_claim(void)
{
    struct cu__pending *records = open_pool();
    for (uint32_t i = 0; records && i < COPPER_PENDING_MAX; i++) {
        uint32_t expected = PENDING_FREE;
        if (atomic_compare_exchange_strong_explicit(&records[i].state, &expected, PENDING_CLAIMED,
                                                    memory_order_acquire, memory_order_relaxed)) {
            uint32_t used = atomic_load_explicit(&pool_used, memory_order_relaxed);
            while (used <= i && !atomic_compare_exchange_weak_explicit(&pool_used, &used, i + 1,
                                                                       memory_order_relaxed,
                                                                       memory_order_relaxed)) {
            }
            return &records[i];
        }
    }
    return NULL;
}

void cu__pending_ready(struct cu__pending *p)
{
    atomic_store_explicit(&p->state, PENDING_READY, memory_order_release);
    atomic_fetch_add_explicit(&news, 1, memory_order_release);
    syscall(SYS_futex, &news, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cu__pending_drop(struct cu__pending *p)
{
    atomic_store_explicit(&p->state, PENDING_FREE, memory_order_release);
}

uint64_t cu__pending_count(void)
{
    struct cu__pending *records = atomic_load_explicit(&pool, memory_order_acquire);
    uint64_t n = 0;
    for (uint32_t i = 0; records && i < atomic_load(&pool_used); i++) {
        n += atomic_load_explicit(&records[i].state, memory_order_relaxed) != PENDING_FREE;
    }
    return n;
}

uint64_t cu__pending_memory(void)
{
    return atomic_load(&pool_used) * sizeof(struct cu__pending);
}

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));

static unsigned count_ours(const cu_frame *frames, unsigned n)
{
    unsigned i = 0;
    while (i < n && COPPER_FRAME_PC(frames[i]) >= (uint64_t)(uintptr_t)__ehdr_start &&
           COPPER_FRAME_PC(frames[i]) < (uint64_t)(uintptr_t)etext) {
        i++;
    }
    return i;
}

static void finish(struct cu__pending *p)
{
    p->walk.frames = p->frames;
    cu_stack_walk_copy(&p->walk, p->copy, p->copy_at, p->ncopy, p->epoch);
    unsigned ours = count_ours(p->frames, p->walk.n);
    bool is_cut = p->walk.end != COPPER_WALK_ROOT;
    if (is_cut) {
        atomic_fetch_add_explicit(&cu__heap_cut, 1, memory_order_relaxed);
    }
    struct cu__site_key key = {.frames = p->frames + ours,
                               .nframes = p->walk.n - ours,
                               .is_cut = is_cut,
                               .epoch = p->epoch,
                               .labels = p->labels,
                               .bytes = p->bytes,
                               .rate = p->rate};
    uint32_t site = cu__site_of(&key);
    cu__site_alloc(site, p->bytes);
    if (!cu__block_settle(p->address, p->serial, site)) {
        cu__site_free(site, p->bytes);
    }
    cu__pending_drop(p);
}

void cu__pending_finish_all(void)
{
    struct cu__heap_thread *t = &cu__heap_thread;
    bool was_busy = t->is_busy;
    t->is_busy = true; /* what we allocate is not the program's */
    pthread_mutex_lock(&finishing);
    struct cu__pending *records = atomic_load_explicit(&pool, memory_order_acquire);
    bool is_prepared = false;
    for (uint32_t i = 0; records && i < atomic_load(&pool_used); i++) {
        if (atomic_load_explicit(&records[i].state, memory_order_acquire) == PENDING_READY) {
            if (!is_prepared) {
                cu_stacks_prepare();
                is_prepared = true;
            }
            finish(&records[i]);
        }
    }
    pthread_mutex_unlock(&finishing);
    t->is_busy = was_busy;
}

/* There when the process has the coroutine runtime: this thread wakes no coroutine. */
extern __typeof__(cu_service_thread_begin) cu_service_thread_begin __attribute__((weak));

int32_t cu_heap_helper(void)
{
    return atomic_load_explicit(&helper, memory_order_relaxed);
}

static void *run(void *unused)
{
    cu_heap_thread_is_tool();
    atomic_store_explicit(&helper, (int32_t)syscall(SYS_gettid), memory_order_relaxed);
    if (cu_service_thread_begin) {
        cu_service_thread_begin();
    }
    prctl(PR_SET_NAME, "copper-heap", 0UL, 0UL, 0UL);
    cu_stacks_prepare();
    for (;;) {
        uint32_t seen = atomic_load_explicit(&news, memory_order_acquire);
        cu__pending_finish_all();
        syscall(SYS_futex, &news, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    return unused;
}

void cu__finish_start(void)
{
    if (atomic_exchange(&has_thread, true)) {
        return;
    }
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_t attributes;
    pthread_t thread;
    bool is_started = false;
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        is_started = pthread_create(&thread, &attributes, run, NULL) == 0;
        pthread_attr_destroy(&attributes);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!is_started) {
        atomic_store(&has_thread, false); /* whoever reads the profile tries again */
    }
}

void cu__finish_forget(void)
{
    atomic_store(&has_thread, false);
    atomic_store(&helper, 0);
    pthread_mutex_init(&finishing, NULL);
    /* what a thread that is gone was filling */
    struct cu__pending *records = atomic_load_explicit(&pool, memory_order_relaxed);
    for (uint32_t i = 0; records && i < atomic_load(&pool_used); i++) {
        if (atomic_load(&records[i].state) == PENDING_CLAIMED) {
            cu__pending_drop(&records[i]);
        }
    }
}
