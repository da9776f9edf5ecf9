/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a POSIX timer on each thread's CPU clock, and the slot its handler works in.
 *
 * Design. The timer is made by the raw system call: any thread can make one for any other of its
 * process, on clock (~tid << 3) | 6, delivering to that thread (SIGEV_THREAD_ID). It starts tick by
 * tick and is set to the thread's clock by the handler (cpu_int.h says why). Slots are found by tid
 * through a small hash table. A slot is used again only when its thread is gone, its ring is empty and
 * no handler is in it; rings are never unmapped.
 *
 * Invariants. One armed slot for each tid. A timer's cookie carries the slot's generation, which moves
 * when the timer is deleted, so a late signal finds out that it is late.
 *
 * Concurrency. cu__slots_lock covers the table, the free list and arming; held for a few system calls at
 * most, never in a handler. cu__thread_started takes it on threads of the host while sampling.
 */
#include "cpu_int.h"
#include "machine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COPPER_BUCKETS 1024u /* a power of two */
#define COPPER_REAP    4u    /* slots a beginning thread looks at: a quarter of them may be stale */

struct cu__slot cu__slots[COPPER_SLOTS_MAX];
_Atomic uint32_t cu__slots_used;
_Atomic uint64_t cu__tick_ns = 4000000;

pthread_mutex_t cu__slots_lock = PTHREAD_MUTEX_INITIALIZER;
/* First slot + 1, 0: empty. lock: slots; the handler reads. */
static _Atomic int32_t buckets[COPPER_BUCKETS];
static uint32_t free_slots[COPPER_SLOTS_MAX], nfree; /* lock: slots */
static atomic_bool is_sampling; /* written under cu__slots_lock; read without by cu__thread_started */
static uint64_t period_ns;      /* lock: slots */
static uint32_t scan;           /* lock: slots */

static _Atomic uint64_t refused, no_slot;
static uint64_t seed;           /* lock: slots */

static _Atomic int32_t *bucket_of_sig(pid_t tid)
{
    return &buckets[((uint32_t)tid * 2654435761u >> 16) % COPPER_BUCKETS];
}

/* Without the lock: a slot that moves to another bucket meanwhile may lead astray, so steps are counted;
 * a slot that stays is found, or missed once. */
static struct cu__slot *find_slot_sig(pid_t tid)
{
    /* pairs with the release in start_slot */
    int32_t at = atomic_load_explicit(bucket_of_sig(tid), memory_order_acquire) - 1;
    for (int steps = 0; at >= 0 && steps < (int)COPPER_SLOTS_MAX; steps++) {
        if (atomic_load_explicit(&cu__slots[at].tid, memory_order_relaxed) == tid) {
            return &cu__slots[at];
        }
        at = atomic_load_explicit(&cu__slots[at].next_in_bucket, memory_order_acquire);
    }
    return NULL;
}

struct cu__slot *cu__slot_here_sig(void)
{
    struct cu__slot *slot = find_slot_sig((pid_t)syscall(SYS_gettid));
    /* pairs with the release in arm_slot */
    bool is_armed =
        slot && atomic_load_explicit(&slot->state, memory_order_acquire) == COPPER_SLOT_ARMED;
    return is_armed ? slot : NULL;
}

static void unlink_slot(struct cu__slot *slot)
{
    int32_t number = (int32_t)(slot - cu__slots);
    int32_t next = atomic_load_explicit(&slot->next_in_bucket, memory_order_relaxed);
    _Atomic int32_t *bucket =
        bucket_of_sig(atomic_load_explicit(&slot->tid, memory_order_relaxed));
    int32_t at = atomic_load_explicit(bucket, memory_order_relaxed) - 1;
    if (at == number) {
        atomic_store_explicit(bucket, next + 1, memory_order_release);
        return;
    }
    while (at >= 0) {
        _Atomic int32_t *link = &cu__slots[at].next_in_bucket;
        at = atomic_load_explicit(link, memory_order_relaxed);
        if (at == number) {
            atomic_store_explicit(link, next, memory_order_release);
            return;
        }
    }
}

/* Maps the rings of the chunk of slots that `number` begins. */
static bool map_rings(uint32_t number)
{
    unsigned char *rings = mmap(NULL, (size_t)COPPER_SLOTS_CHUNK * COPPER_RING_BYTES,
                                PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (rings == MAP_FAILED) {
        return false;
    }
    for (uint32_t i = 0; i < COPPER_SLOTS_CHUNK; i++) {
        cu__slots[number + i].ring.bytes = rings + (size_t)i * COPPER_RING_BYTES;
    }
    return true;
}

static struct cu__slot *take_slot(void)
{
    if (nfree > 0) {
        return &cu__slots[free_slots[--nfree]];
    }
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    if (used == COPPER_SLOTS_MAX || (!cu__slots[used].ring.bytes && !map_rings(used))) {
        return NULL;
    }
    /* pairs with the loads of those who walk the slots */
    atomic_store_explicit(&cu__slots_used, used + 1, memory_order_release);
    return &cu__slots[used];
}

static int create_timer(struct cu__slot *slot, pid_t tid)
{
    uint32_t number = (uint32_t)(slot - cu__slots);
    uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed);
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = cu__signal_number();
    event.sigev_value.sival_ptr = (void *)(uintptr_t)cu__cookie_of(number, generation);
    event._sigev_un._tid = tid;
    return syscall(SYS_timer_create, cu__thread_clock(tid), &event, &slot->timer) == 0 ? 0 : -errno;
}

static void set_timer(struct cu__slot *slot, uint64_t first_ns, uint64_t interval_ns)
{
    struct itimerspec spec = {
        .it_value = {(time_t)(first_ns / 1000000000), (long)(first_ns % 1000000000)},
        .it_interval = {(time_t)(interval_ns / 1000000000), (long)(interval_ns % 1000000000)},
    };
    syscall(SYS_timer_settime, slot->timer, 0, &spec, NULL);
}

/* lock: slots. The slot is the thread's, with a timer that runs. */
static bool arm_slot(struct cu__slot *slot, pid_t tid)
{
    int err = create_timer(slot, tid);
    if (err) { /* else than by the limit: the thread has ended meanwhile */
        atomic_fetch_add_explicit(&refused, err == -EAGAIN, memory_order_relaxed);
        return false;
    }
    uint64_t tick = atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    slot->random = seed | 1;
    slot->cpu_ns = 0;
    slot->perf_skips = 0;
    slot->armed_scan = scan;
    atomic_store_explicit(&slot->period_ns, period_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->ticks_left, (uint32_t)(COPPER_TICKWISE_NS / tick) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->state, COPPER_SLOT_ARMED, memory_order_release);

    set_timer(slot, 1, COPPER_TICKWISE_INTERVAL_NS);
    return true;
}

static void start_slot(struct cu__slot *slot, pid_t tid)
{
    atomic_store_explicit(&slot->tid, tid, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_hi, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_lo, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->thread_pointer, 0, memory_order_relaxed);
    slot->born_ticks = 0;
    slot->blocked_looks = 0;
    slot->cpu_looked_ns = 0;
    if (!arm_slot(slot, tid)) {
        free_slots[nfree++] = (uint32_t)(slot - cu__slots);
        return;
    }
    _Atomic int32_t *bucket = bucket_of_sig(tid);
    atomic_store_explicit(&slot->next_in_bucket,
                          atomic_load_explicit(bucket, memory_order_relaxed) - 1,
                          memory_order_relaxed);
    /* pairs with the load in find_slot_sig */
    atomic_store_explicit(bucket, (int32_t)(slot - cu__slots) + 1, memory_order_release);
}

/* lock: slots. The timer goes; what its handler wrote stays to be read. */
static void end_slot(struct cu__slot *slot)
{
    syscall(SYS_timer_delete, slot->timer);
    cu__perf_drop(slot);
    unlink_slot(slot);
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_seq_cst);
    atomic_store_explicit(&slot->state, COPPER_SLOT_ENDED, memory_order_relaxed);
}

/* lock: slots. An ended slot without records and without a handler in it becomes free. */
static bool free_if_done(struct cu__slot *slot)
{
    if (atomic_load_explicit(&slot->state, memory_order_relaxed) != COPPER_SLOT_ENDED) {
        return false;
    }
    /* pairs with the exchange in the handler: once the generation has moved, a handler that is not in
     * the slot now will turn away. The ring is looked at after that. */
    if (atomic_load_explicit(&slot->is_busy, memory_order_seq_cst) ||
        !cu__ring_is_empty(&slot->ring)) {
        return false;
    }
    atomic_store_explicit(&slot->state, COPPER_SLOT_FREE, memory_order_relaxed);
    free_slots[nfree++] = (uint32_t)(slot - cu__slots);
    return true;
}

static struct cu__slot *arm_thread(pid_t tid)
{
    if (!atomic_load_explicit(&is_sampling, memory_order_relaxed) || find_slot_sig(tid)) {
        return NULL;
    }
    struct cu__slot *slot = take_slot();
    if (!slot) {
        atomic_fetch_add_explicit(&no_slot, 1, memory_order_relaxed);
        return NULL;
    }
    start_slot(slot, tid);
    return slot;
}

void cu__timer_arm(pid_t tid)
{
    if (cu__is_own_thread(tid)) {
        return;
    }
    pthread_mutex_lock(&cu__slots_lock);
    arm_thread(tid);
    pthread_mutex_unlock(&cu__slots_lock);
}

void cu__timer_disarm(pid_t tid)
{
    pthread_mutex_lock(&cu__slots_lock);
    struct cu__slot *slot = find_slot_sig(tid);
    if (slot) {
        end_slot(slot);
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COPPER_TSAN 1
#endif
#endif

#ifdef COPPER_TSAN
/* The sanitizer has not set the new thread up yet: none of our code may run on it. Threads are found
 * in /proc then. */
__attribute__((no_sanitize("thread"))) void cu__thread_started(void)
{
}
#else
/* lock: slots. A thread that begins looks at the next few slots for threads that have ended: a program
 * that makes threads faster than the collector looks for them runs out of slots otherwise. */
static void reap_some(void)
{
    static uint32_t hand;
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < COPPER_REAP && used > 0; i++) {
        hand = hand + 1 < used ? hand + 1 : 0;
        struct cu__slot *slot = &cu__slots[hand];
        pid_t tid = atomic_load_explicit(&slot->tid, memory_order_relaxed);
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) == COPPER_SLOT_ARMED &&
            syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH) {
            end_slot(slot);
        }
        free_if_done(slot);
    }
}

void cu__thread_started(void)
{
    /* a thread that does not see the start of sampling yet is found in /proc */
    if (!atomic_load_explicit(&is_sampling, memory_order_relaxed)) {
        return;
    }
    int saved = errno;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    pthread_mutex_lock(&cu__slots_lock);
    struct cu__slot *stale = find_slot_sig(tid);
    if (stale && stale->armed_scan + 1 < scan) {
        end_slot(stale); /* of an earlier thread that had this id */
    }
    reap_some();
    struct cu__slot *slot = arm_thread(tid);
    if (slot) {
        atomic_store_explicit(&slot->thread_pointer, cu__thread_pointer_sig(),
                              memory_order_relaxed);
    }
    pthread_mutex_unlock(&cu__slots_lock);
    errno = saved;
}
#endif

void cu__timers_start(uint64_t period)
{
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    pthread_mutex_lock(&cu__slots_lock);
    atomic_store_explicit(&cu__tick_ns, (uint64_t)tick.tv_nsec, memory_order_relaxed);
    seed ^= (uint64_t)cu__now_ns();
    period_ns = period;
    atomic_store_explicit(&is_sampling, true, memory_order_relaxed);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        struct cu__slot *slot = &cu__slots[i];
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) != COPPER_SLOT_ARMED ||
            atomic_load_explicit(&slot->period_ns, memory_order_relaxed) == period) {
            continue;
        }
        atomic_store_explicit(&slot->period_ns, period, memory_order_relaxed);
        if (atomic_load_explicit(&slot->ticks_left, memory_order_relaxed) == 0) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
            set_timer(slot, 1 + (seed >> 16) % period, period);
        } /* else the handler sets it when it comes to that */
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

void cu__timers_stop(void)
{
    pthread_mutex_lock(&cu__slots_lock);
    atomic_store_explicit(&is_sampling, false, memory_order_relaxed);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        if (atomic_load_explicit(&cu__slots[i].state, memory_order_relaxed) == COPPER_SLOT_ARMED) {
            end_slot(&cu__slots[i]);
        }
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

void cu__timers_recycle(bool is_final)
{
    pthread_mutex_lock(&cu__slots_lock);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        if (free_if_done(&cu__slots[i]) && is_final) {
            madvise(cu__slots[i].ring.bytes, COPPER_RING_BYTES, MADV_DONTNEED);
        }
    }
    pthread_mutex_unlock(&cu__slots_lock);
}

uint32_t cu__timers_scan_begin(void)
{
    pthread_mutex_lock(&cu__slots_lock);
    uint32_t number = ++scan;
    pthread_mutex_unlock(&cu__slots_lock);
    return number;
}

void cu__timers_stats(struct cu__timer_stats *out)
{
    memset(out, 0, sizeof *out);
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        const struct cu__slot_counts *counts = &cu__slots[i].counts;
        out->delivered += atomic_load_explicit(&counts->delivered, memory_order_relaxed);
        out->dropped += atomic_load_explicit(&counts->dropped, memory_order_relaxed);
        out->dropped_ns += atomic_load_explicit(&counts->dropped_ns, memory_order_relaxed);
        out->handler_ns += atomic_load_explicit(&counts->handler_ns, memory_order_relaxed);
        out->armed += atomic_load_explicit(&cu__slots[i].state, memory_order_relaxed) ==
                      COPPER_SLOT_ARMED;
    }
    out->refused = atomic_load_explicit(&refused, memory_order_relaxed);
    out->no_slot = atomic_load_explicit(&no_slot, memory_order_relaxed);
}

void cu__timers_forget(void)
{
    pthread_mutex_init(&cu__slots_lock, NULL);
    atomic_store_explicit(&is_sampling, false, memory_order_relaxed);
    memset(buckets, 0, sizeof buckets);
    nfree = 0;
    cu__perf_forget();

    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        struct cu__slot *slot = &cu__slots[i];
        atomic_store_explicit(&slot->state, COPPER_SLOT_FREE, memory_order_relaxed);
        atomic_store_explicit(&slot->is_busy, false, memory_order_relaxed);
        atomic_fetch_add_explicit(&slot->generation, 1, memory_order_relaxed);
        atomic_store_explicit(&slot->ring.read,
                              atomic_load_explicit(&slot->ring.written, memory_order_relaxed),
                              memory_order_relaxed);
        free_slots[nfree++] = i;
    }
}
