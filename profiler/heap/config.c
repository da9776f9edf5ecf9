/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the rate and its budget, start-up, fork, and what tools read.
 *
 * Design. Nothing has to be set up before the first allocation, which may come before our
 * constructor: static values are right, and a rate from the environment counts from the constructor
 * on.
 *
 * Budget. Every BUDGET_SAMPLES samples the time that these took is compared with the CPU time of
 * the process meanwhile. Beyond the budget the rate doubles, well below it goes back by half to
 * what was asked for. Samples are kept apart by rate, so that totals stay unbiased. A rate that was
 * asked for explicitly is left alone.
 *
 * Fork. Before it every spin lock is taken, so that the child finds all tables whole; a flag lets
 * other fork handlers of this thread allocate meanwhile. The child keeps the counts: it has the
 * blocks too.
 */
#include "internal.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPINS           64
#define BUDGET_SAMPLES  128u
#define BUDGET_CPU_NS   100000000
#define BUDGET_DEFAULT  0.01
#define BUDGET_RATE_MAX (UINT64_C(256) << 20) /* sampling goes on, however small the budget */

_Atomic uint64_t cu__heap_rate_now = COPPER_HEAP_RATE_DEFAULT;
_Atomic uint64_t cu__heap_samples, cu__heap_cut, cu__heap_unfollowed, cu__heap_ns;

static _Atomic uint64_t asked_rate = COPPER_HEAP_RATE_DEFAULT;
static atomic_bool is_explicit;
static double budget = BUDGET_DEFAULT;
static struct {
    atomic_bool is_taken;     /* one thread at a time; others pass by */
    _Atomic uint64_t samples; /* at the last look */
    int64_t cost_ns, cpu_ns;  /* owner */
} look;

struct cu__spin *cu__block_table_lock(void);
struct cu__spin *cu__pending_pool_lock(void);

int64_t cu__heap_now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

void *cu__heap_reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void cu__spin_take_slow(struct cu__spin *s)
{
    for (unsigned i = 1;; i++) {
        if (!atomic_load_explicit(&s->is_taken, memory_order_relaxed) &&
            !atomic_exchange_explicit(&s->is_taken, true, memory_order_acquire)) {
            return;
        }
        if (i % SPINS == 0) {
            sched_yield(); /* its holder may have no processor */
        } else {
            __builtin_ia32_pause();
        }
    }
}

/* ---- rate and budget ------------------------------------------------------------------------- */

static void adapt(int64_t cost_ns, int64_t cpu_ns)
{
    uint64_t rate = atomic_load_explicit(&cu__heap_rate_now, memory_order_relaxed);
    uint64_t asked = atomic_load_explicit(&asked_rate, memory_order_relaxed);
    uint64_t next = rate;
    if ((double)cost_ns > budget * (double)cpu_ns) {
        next = rate * 2 < BUDGET_RATE_MAX ? rate * 2 : BUDGET_RATE_MAX;
    } else if ((double)cost_ns < budget / 4 * (double)cpu_ns && rate > asked) {
        next = rate / 2 > asked ? rate / 2 : asked;
    }
    /* unless somebody set another meanwhile */
    atomic_compare_exchange_strong(&cu__heap_rate_now, &rate, next);
}

void cu__heap_account(int64_t ns)
{
    uint64_t cost =
        atomic_fetch_add_explicit(&cu__heap_ns, (uint64_t)(ns > 0 ? ns : 0), memory_order_relaxed);
    uint64_t samples = atomic_load_explicit(&cu__heap_samples, memory_order_relaxed);
    if (samples - atomic_load_explicit(&look.samples, memory_order_relaxed) < BUDGET_SAMPLES ||
        atomic_load_explicit(&is_explicit, memory_order_relaxed) ||
        atomic_exchange_explicit(&look.is_taken, true, memory_order_acquire)) {
        return;
    }
    int64_t cpu = cu__heap_now(CLOCK_PROCESS_CPUTIME_ID);
    if (cpu - look.cpu_ns >= BUDGET_CPU_NS) {
        adapt((int64_t)cost - look.cost_ns, cpu - look.cpu_ns);
        look.cost_ns = (int64_t)cost;
        look.cpu_ns = cpu;
    }
    atomic_store_explicit(&look.samples, samples, memory_order_relaxed);
    atomic_store_explicit(&look.is_taken, false, memory_order_release);
}

int cu_heap_rate_set(uint64_t bytes)
{
    if (bytes > COPPER_HEAP_RATE_MAX) {
        return -EINVAL;
    }
    atomic_store(&is_explicit, true);
    atomic_store(&asked_rate, bytes);
    atomic_store(&cu__heap_rate_now, bytes);
    if (!cu__heap_thread.is_tool) {
        cu__heap_thread.rate = cu__heap_thread.left = 0; /* the caller draws afresh at once */
    }
    return 0;
}

uint64_t cu_heap_rate(void)
{
    return atomic_load_explicit(&cu__heap_rate_now, memory_order_relaxed);
}

static void read_rate(void)
{
    const char *text = secure_getenv("COPPER_HEAP_RATE");
    if (!text || !*text) {
        return;
    }
    char *end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || cu_heap_rate_set(bytes) != 0) {
        char line[160];
        int n =
            snprintf(line, sizeof line,
                     "copper: COPPER_HEAP_RATE=%.40s is no number of bytes; write 524288\n", text);
        ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
        (void)ignored;
    }
}

static void read_budget(void)
{
    const char *text = secure_getenv("COPPER_BUDGET");
    char *end = NULL;
    double value = text ? strtod(text, &end) : 0;
    if (text && end != text && *end == '%') {
        value /= 100;
        end++;
    }
    if (text && *end == '\0' && isfinite(value) && value > 0 && value <= 1) {
        budget = value; /* what is wrong with another is said by who reports on the environment */
    }
}

/* ---- start and fork -------------------------------------------------------------------------- */

static void before_fork(void)
{
    cu__spin_take(&cu__site_lock);
    cu__spin_take(cu__pending_pool_lock());
    for (unsigned i = 0; i < COPPER_BLOCK_LOCKS; i++) {
        cu__spin_take(&cu__block_locks[i]);
    }
    cu__spin_take(cu__block_table_lock());
    cu__heap_thread.is_forking = true;
}

static void after_fork(void)
{
    cu__heap_thread.is_forking = false;
    cu__spin_drop(cu__block_table_lock());
    for (unsigned i = 0; i < COPPER_BLOCK_LOCKS; i++) {
        cu__spin_drop(&cu__block_locks[i]);
    }
    cu__spin_drop(cu__pending_pool_lock());
    cu__spin_drop(&cu__site_lock);
}

static void in_child(void)
{
    after_fork();
    atomic_store(&look.is_taken, false);
    look.cost_ns = (int64_t)atomic_load(&cu__heap_ns);
    look.cpu_ns = 0; /* a child's clock begins at 0 */
    cu__finish_forget();
}

__attribute__((constructor)) static void start(void)
{
    if (!cu__wrap_is_first()) {
        return;
    }
    read_budget();
    read_rate();
    pthread_atfork(before_fork, after_fork, in_child);
    if (cu_heap_rate() != 0) {
        cu__finish_start();
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool visit_site(const struct cu__site *s, bool (*visit)(const struct cu_heap_site *, void *),
                       void *arg)
{
    cu_frame frames[COPPER_STACK_DEPTH_MAX];
    struct cu_heap_site out = {.frames = frames,
                               .nframes = s->nframes,
                               .is_cut = s->is_cut,
                               .labels = s->labels,
                               .size = s->size,
                               .rate = s->rate};
    memcpy(frames, cu__site_frames(s), s->nframes * sizeof *frames);
    cu_frames_resolve(frames, s->nframes, s->epoch);
    out.frees = atomic_load_explicit(&s->frees, memory_order_acquire);
    out.free_bytes = atomic_load_explicit(&s->free_bytes, memory_order_acquire);
    out.allocs = atomic_load_explicit(&s->allocs, memory_order_acquire);
    out.alloc_bytes = atomic_load_explicit(&s->alloc_bytes, memory_order_relaxed);
    return visit(&out, arg);
}

int64_t cu_heap_each(bool (*visit)(const struct cu_heap_site *site, void *arg), void *arg)
{
    if (cu__wrap_is_first() && cu_heap_rate() != 0) {
        cu__finish_start();
    }
    cu__pending_finish_all();
    uint32_t count = cu__site_count();
    for (uint32_t i = 1; i <= count; i++) {
        if (!visit_site(cu__site_at(i), visit, arg)) {
            return i;
        }
    }
    return count;
}

void cu_heap_stats_read(struct cu_heap_stats *out)
{
    uint32_t size = out->size < sizeof *out ? out->size : sizeof *out;
    struct cu_heap_stats s = {
        .size = size,
        .is_active = cu__wrap_is_first(),
        .rate = cu_heap_rate(),
        .asked = atomic_load(&asked_rate),
        .samples = atomic_load(&cu__heap_samples),
        .live = cu__block_count(),
        .unfollowed = atomic_load(&cu__heap_unfollowed),
        .folded = cu__site_folded(),
        .cut = atomic_load(&cu__heap_cut),
        .waiting = cu__pending_count(),
        .sites = cu__site_count(),
        .bytes = cu__block_memory() + cu__site_bytes() + cu__pending_memory(),
        .ns = atomic_load(&cu__heap_ns),
        .sites_max = COPPER_HEAP_SITES_MAX,
    };
    memcpy(out, &s, size);
}
