/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see delay_hooks.h.
 *
 * Design. Who woke whom is known by id; what an id runs is remembered from when it was last seen
 * running, in a small table where a later one may have taken its place.
 *
 * Which waits count for `block` the runtime draws by itself.
 */
#include "delay_hooks.h"

#include "cpu_int.h"
#include "delay_rates.h"

#define SEEN_PLACES 4096u /* a power of two */

const int64_t cu__delay_bounds_ns[COPPER_DELAY_BUCKETS] = {
    1000,    2500,    5000,     10000,    25000,     50000,     100000,     250000,
    1000000, 2500000, 10000000, 25000000, 100000000, 250000000, 1000000000, 10000000000};
struct cu__delay_histogram cu__delay_histograms[COPPER_CAUSE_COUNT];
_Atomic int64_t cu__delay_mutex_wait_ns;

/* ---- chance ---------------------------------------------------------------------------------- */

static uint64_t random_bits(void)
{
    static _Atomic uint64_t state = 0x9e3779b97f4a7c15;
    uint64_t x =
        atomic_fetch_add_explicit(&state, UINT64_C(0x9e3779b97f4a7c15), memory_order_relaxed);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* What a wait of this length stands for that was drawn at this rate. */
static void weigh(int64_t rate, int64_t *ns, int64_t *count)
{
    *count = COPPER_DELAY_ONE;
    if (*ns < rate) {
        *count = COPPER_DELAY_ONE * rate / *ns; /* fits: see COPPER_DELAY_RATE_MAX_NS */
        *ns = rate;
    }
}

/* Does a wait of this length count, and for how much? */
static bool is_drawn(int64_t rate, int64_t *ns, int64_t *count)
{
    if (rate <= 0 || *ns < 0) {
        return false;
    }
    if (*ns < rate && (*ns == 0 || (int64_t)(random_bits() % (uint64_t)rate) >= *ns)) {
        return false;
    }
    weigh(rate, ns, count);
    return true;
}

/* ---- who woke whom --------------------------------------------------------------------------- */

static struct {
    _Atomic int64_t g;
    _Atomic uint64_t entry;
} seen[SEEN_PLACES];

static unsigned place_of(cu_id g)
{
    return (unsigned)((uint64_t)g * UINT64_C(0x9e3779b97f4a7c15) >> 52) & (SEEN_PLACES - 1);
}

static void note_seen(const struct cu_resume *resume)
{
    unsigned at = place_of(resume->g);
    if (atomic_load_explicit(&seen[at].g, memory_order_relaxed) != resume->g) {
        atomic_store(&seen[at].g, 0);
        atomic_store(&seen[at].entry, (uint64_t)(uintptr_t)resume->entry);
        atomic_store(&seen[at].g, resume->g);
    }
}

static uint64_t waker_of(const struct cu_resume *resume)
{
    if (resume->waker == resume->g || resume->cause == COPPER_CAUSE_PREEMPTED ||
        resume->cause == COPPER_CAUSE_SYSCALL) {
        return COPPER_WAKER_RUNTIME;
    }
    if (resume->waker == 0) {
        return resume->reason == COPPER_WAIT_SLEEP     ? COPPER_WAKER_TIMER
               : resume->reason == COPPER_WAIT_IO_WAIT ? COPPER_WAKER_POLLER
                                                       : COPPER_WAKER_THREAD;
    }
    unsigned at = place_of(resume->waker);
    uint64_t entry = atomic_load(&seen[at].entry);
    return atomic_load(&seen[at].g) == resume->waker ? entry : COPPER_WAKER_UNKNOWN;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static void count_delay(int64_t now, const struct cu_resume *resume)
{
    int64_t ns = now - resume->ready_ns, count;
    ns = ns < 0 ? 0 : ns;
    struct cu__delay_histogram *h = &cu__delay_histograms[resume->cause % COPPER_CAUSE_COUNT];
    unsigned bucket = 0;
    while (bucket < COPPER_DELAY_BUCKETS && ns > cu__delay_bounds_ns[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&h->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
    if (is_drawn(cu__delay_rate_now(COPPER_DELAY_SCHEDULE), &ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_SCHEDULE,
                                    .why = (uint8_t)resume->cause,
                                    .waker = waker_of(resume)};
        cu__delay_count_resumed(&key, resume, count, ns);
    }
}

static void on_waited(void *tool, int64_t now, const struct cu_resume *resume, int64_t waited_ns,
                      int64_t rate_ns)
{
    (void)tool, (void)now;
    struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = (uint8_t)resume->reason};
    int64_t count;
    weigh(rate_ns, &waited_ns, &count);
    cu__delay_count_resumed(&key, resume, count, waited_ns);
}

static void on_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool;
    note_seen(resume);
    if (resume->ready_ns) {
        count_delay(now, resume);
    }
}

static void on_hog_running(void *tool, int64_t now, const struct cu_resume *resume)
{
    (void)tool;
    cu__hog_running(now, resume);
}

static void on_parked(void *tool, int64_t now, cu_id g, int p, enum cu_wait_reason reason,
                      const void *object, int64_t deadline_ns)
{
    (void)tool, (void)reason, (void)object, (void)deadline_ns;
    cu__hog_stopped(now, g, p, cu__delay_stack_here);
}

static void on_yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    cu__hog_stopped(now, g, p, cu__delay_stack_here);
}

static void on_exited(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    cu__hog_stopped(now, g, p, NULL); /* its stack is gone: what it was started with */
}

static void on_handoff(void *tool, int64_t now, int p, cu_id g, int32_t tid,
                       enum cu_handoff_cause cause)
{
    (void)tool, (void)tid, (void)cause;
    cu__hog_handed_off(now, g, p);
}

static void on_preempted(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    cu__hog_stopped(now, g, p, cu__delay_stack_here);
    cu__hog_preempted(g, p, cu__delay_stack_here);
}

static void on_stolen(void *tool, int64_t now, int thief, int victim, uint32_t count)
{
    (void)tool, (void)now, (void)count;
    cu__hog_stolen(thief, victim);
}

static void on_contended(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)object;
    int64_t count;
    /* coroutines tell of it when they run again */
    if (g == 0 && is_drawn(cu__delay_rate_now(COPPER_DELAY_BLOCK), &waited_ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = COPPER_WAIT_MUTEX_LOCK};
        cu__delay_count_here(&key, count, waited_ns);
    }
}

static void on_released(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)g, (void)object;
    int64_t fraction = cu__delay_rate_now(COPPER_DELAY_MUTEX);
    atomic_fetch_add_explicit(&cu__delay_mutex_wait_ns, waited_ns, memory_order_relaxed);
    if (fraction > 0 && random_bits() % (uint64_t)fraction == 0) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_MUTEX};
        int64_t delay_ns;
        if (__builtin_mul_overflow(waited_ns, fraction, &delay_ns)) {
            delay_ns = INT64_MAX;
        }
        cu__delay_count_here(&key, COPPER_DELAY_ONE * fraction, delay_ns);
    }
}

/* The announced call that this thread is in. */
static __attribute__((tls_model("initial-exec"))) __thread struct {
    cu_id g;
    int64_t began_ns;
} call;

static void on_syscall_begin(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)p;
    call.g = g;
    call.began_ns = now;
}

static void on_syscall_end(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool, (void)p;
    int64_t ns = now - call.began_ns, count;
    bool is_known = call.g == g;
    call.g = 0;
    if (is_known && is_drawn(cu__delay_rate_now(COPPER_DELAY_BLOCK), &ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = COPPER_WAIT_SYSCALL};
        cu__delay_count_here(&key, count, ns);
    }
}

#define TABLE                                                                                      \
    .version = COPPER_HOOKS_VERSION, .size = sizeof(struct cu_hooks),                              \
    .options = COPPER_HOOKS_NO_CPU_TIME

const struct cu_hooks cu__delay_tools[COPPER_DELAY_KINDS] = {
    [COPPER_DELAY_BLOCK] = {TABLE, .waited = on_waited, .contended = on_contended,
                            .syscall_begin = on_syscall_begin, .syscall_end = on_syscall_end},
    [COPPER_DELAY_MUTEX] = {TABLE, .released = on_released},
    [COPPER_DELAY_SCHEDULE] = {TABLE, .running = on_running},
    [COPPER_DELAY_HOG] = {TABLE, .running = on_hog_running, .parked = on_parked,
                          .yielded = on_yielded, .exited = on_exited, .stolen = on_stolen,
                          .handoff = on_handoff, .preempted = on_preempted},
};
