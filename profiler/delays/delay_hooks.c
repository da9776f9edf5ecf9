/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see delay_hooks.h.
 *
 * Design. A hook walks the stack in place with prepared tables. Where a module has none yet, the
 * top of the stack is copied into one of a few spare places, which a thread of ours (alive while
 * any table is attached) finishes and counts; with all of them taken the stack counts as far as it
 * was seen.
 *
 * Who woke whom is known by id; what an id runs is remembered from when it was last seen running,
 * in a small table where a later one may have taken its place.
 *
 * Each kind has a table of its own, with the events that it needs and no other: what one kind costs
 * nobody pays for another, and turning one on or off changes nothing of what others see. Which
 * waits count for `block` the runtime draws by itself.
 *
 * The rates of windows are ours, and grow coarser while profiling costs more than COPPER_BUDGET. A
 * wait is scaled by the rate it was drawn with, so totals stay right when it changes.
 *
 * Concurrency: rates, windows and attaching have the lock, which no hook takes. Hooks read rates as
 * relaxed atomics. After fork the child has no hook thread and starts it with its next window.
 */
#include "delay_hooks.h"

#include "budget.h"
#include "cpu_int.h"
#include "machine.h"
#include "runtime_weak.h"
#include "say.h"
#include "stack_bounds.h"
#include "units.h"

#include <copper/profiler.h>
#include <copper/time.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#pragma weak cu_hooks_attach
#pragma weak cu_hooks_detach
#pragma weak cu_hooks_wait_rate
#pragma weak cu_inspect_here

#define SPARE_PLACES 16u
#define SPARE_BYTES  8192u
#define TEND_NS      100000000
#define SEEN_PLACES  4096u /* a power of two */
#define RATE_MAX_NS                                                                                \
    (INT64_C(3600) * 1000000000) /* sums of sampled waits fit an int64_t many times */
#define FRACTION_MAX 1000000
#define COARSER_MAX  256 /* a wait of 2.56 ms always counts, however small the budget */

static _Atomic int64_t rates[COPPER_DELAY_KINDS]; /* in force; 0: off. mutex: a fraction */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t detached = PTHREAD_COND_INITIALIZER;
static int64_t asked[COPPER_DELAY_KINDS];    /* lock; without windows */
static unsigned windows[COPPER_DELAY_KINDS]; /* lock */
static bool is_attached[COPPER_DELAY_KINDS]; /* lock; its table is */
static bool is_tending;                      /* lock */
static int64_t coarser = 1; /* lock; by what the budget multiplies the rates of windows */
static struct cu__budget_look budget_look; /* the tending thread's */

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
        *count = COPPER_DELAY_ONE * rate / *ns; /* fits: see RATE_MAX_NS */
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

/* ---- stacks ---------------------------------------------------------------------------------- */

static struct spare {
    _Atomic int state; /* 0 free, 1 being filled, 2 to be finished */
    struct cu__delay_key key;
    int64_t count, delay_ns;
    struct cu_walk walk;
    uint32_t epoch, ncopy;
    cu_frame frames[COPPER_DELAY_DEPTH];
    unsigned char copy[SPARE_BYTES];
} * spares;

static struct spare *take_spare(void)
{
    for (unsigned i = 0; i < SPARE_PLACES; i++) {
        int state = 0;
        if (atomic_compare_exchange_strong(&spares[i].state, &state, 1)) {
            return &spares[i];
        }
    }
    return NULL;
}

/* True: the rest is done later. */
static bool defer(const struct cu__delay_key *key, const struct cu_walk *w, int64_t count,
                  int64_t delay_ns)
{
    struct spare *s = w->regs.sp >= w->lo && w->regs.sp < w->hi ? take_spare() : NULL;
    if (!s) {
        return false;
    }
    uint64_t rest = w->hi - w->regs.sp;
    s->key = *key;
    s->count = count;
    s->delay_ns = delay_ns;
    s->epoch = cu_modules_epoch_sig();
    s->ncopy = (uint32_t)(rest < SPARE_BYTES ? rest : SPARE_BYTES);
    s->walk = *w;
    s->walk.frames = s->frames;
    memcpy(s->frames, w->frames, w->n * sizeof(*w->frames));
    memcpy(s->copy, (const void *)(uintptr_t)w->regs.sp, s->ncopy);
    atomic_store(&s->state, 2);
    return true;
}

void cu__delay_tend(void)
{
    bool is_prepared = false;
    for (unsigned i = 0; spares && i < SPARE_PLACES; i++) {
        struct spare *s = &spares[i];
        int state = 2;
        if (!atomic_compare_exchange_strong(&s->state, &state, 1)) {
            continue;
        }
        if (!is_prepared) {
            cu_stacks_prepare();
            is_prepared = true;
        }
        uint64_t at = s->walk.regs.sp;
        s->walk.lo = at;
        s->walk.hi = at + s->ncopy;
        cu_stack_walk_copy(&s->walk, s->copy, at, s->ncopy, s->epoch);
        cu_frames_resolve(s->frames, s->walk.n, s->epoch);
        s->key.is_cut = s->walk.end != COPPER_WALK_ROOT;
        cu__delay_add(&s->key, s->frames, s->walk.n, s->count, s->delay_ns);
        atomic_store(&s->state, 0);
    }
}

static void count_walk(struct cu__delay_key *key, struct cu_walk *w, int64_t count,
                       int64_t delay_ns)
{
    cu_stack_walk_sig(w);
    if (w->end != COPPER_WALK_MISS || !defer(key, w, count, delay_ns)) {
        key->is_cut = w->end != COPPER_WALK_ROOT;
        cu__delay_add(key, w->frames, w->n, count, delay_ns);
    }
}

static const struct cu_labels *labels_here(void)
{
    struct cu_here here = {.kind = COPPER_HERE_THREAD};
    cu_inspect_here(&here);
    return here.labels;
}

static __attribute__((noinline)) void count_here(struct cu__delay_key *key, int64_t count,
                                                 int64_t delay_ns)
{
    int64_t began = cu__now_ns();
    cu_frame frames[COPPER_DELAY_DEPTH];
    struct cu_walk w = {.frames = frames, .max = COPPER_DELAY_DEPTH};
    cu__regs_here((uint64_t *)&w.regs);
    w.lo = w.regs.sp;
    w.hi = cu__stack_end_here(w.lo);
    key->labels = labels_here();
    count_walk(key, &w, count, delay_ns);
    cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
}

static __attribute__((noinline)) void walk_here(struct cu__delay_stack *out)
{
    struct cu_walk w = {.frames = out->frames, .max = COPPER_DELAY_DEPTH};
    cu__regs_here((uint64_t *)&w.regs);
    w.lo = w.regs.sp;
    w.hi = cu__stack_end_here(w.lo);
    cu_stack_walk_sig(&w);
    out->n = w.n;
    out->is_cut = w.end != COPPER_WALK_ROOT;
    out->labels = labels_here();
}

/* Counts the stack of who is about to run; of one that is new, the function it begins with. */
static void count_resumed(struct cu__delay_key *key, const struct cu_resume *resume, int64_t count,
                          int64_t delay_ns)
{
    int64_t began = cu__now_ns();
    cu_frame frames[COPPER_DELAY_DEPTH];
    key->entry = (uint64_t)(uintptr_t)resume->entry;
    key->labels = resume->labels;
    if (resume->regs.pc == 0) {
        frames[0] = key->entry;
        cu__delay_add(key, frames, 1, count, delay_ns);
        cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
        return;
    }
    struct cu_walk w = {.frames = frames,
                        .max = COPPER_DELAY_DEPTH,
                        .lo = resume->regs.sp,
                        .hi = resume->stack_hi,
                        .is_call_site = true};
    memcpy(&w.regs, &resume->regs, sizeof(w.regs));
    count_walk(key, &w, count, delay_ns);
    cu__cost_add(COPPER_COST_DELAY, cu__now_ns() - began);
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

static int64_t rate_of(enum cu__delay_kind kind)
{
    return atomic_load_explicit(&rates[kind], memory_order_relaxed);
}

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
    if (is_drawn(rate_of(COPPER_DELAY_SCHEDULE), &ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_SCHEDULE,
                                    .why = (uint8_t)resume->cause,
                                    .waker = waker_of(resume)};
        count_resumed(&key, resume, count, ns);
    }
}

static void on_waited(void *tool, int64_t now, const struct cu_resume *resume, int64_t waited_ns,
                      int64_t rate_ns)
{
    (void)tool, (void)now;
    struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = (uint8_t)resume->reason};
    int64_t count;
    weigh(rate_ns, &waited_ns, &count);
    count_resumed(&key, resume, count, waited_ns);
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
    cu__hog_stopped(now, g, p, walk_here);
}

static void on_yielded(void *tool, int64_t now, cu_id g, int p)
{
    (void)tool;
    cu__hog_stopped(now, g, p, walk_here);
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
    cu__hog_stopped(now, g, p, walk_here);
    cu__hog_preempted(g, p, walk_here);
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
    if (g == 0 && is_drawn(rate_of(COPPER_DELAY_BLOCK), &waited_ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = COPPER_WAIT_MUTEX_LOCK};
        count_here(&key, count, waited_ns);
    }
}

static void on_released(void *tool, int64_t now, cu_id g, const void *object, int64_t waited_ns)
{
    (void)tool, (void)now, (void)g, (void)object;
    int64_t fraction = rate_of(COPPER_DELAY_MUTEX);
    atomic_fetch_add_explicit(&cu__delay_mutex_wait_ns, waited_ns, memory_order_relaxed);
    if (fraction > 0 && random_bits() % (uint64_t)fraction == 0) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_MUTEX};
        int64_t delay_ns;
        if (__builtin_mul_overflow(waited_ns, fraction, &delay_ns)) {
            delay_ns = INT64_MAX;
        }
        count_here(&key, COPPER_DELAY_ONE * fraction, delay_ns);
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
    if (is_known && is_drawn(rate_of(COPPER_DELAY_BLOCK), &ns, &count)) {
        struct cu__delay_key key = {.kind = COPPER_DELAY_BLOCK, .why = COPPER_WAIT_SYSCALL};
        count_here(&key, count, ns);
    }
}

#define COPPER_TABLE                                                                               \
    .version = COPPER_HOOKS_VERSION, .size = sizeof(struct cu_hooks),                              \
    .options = COPPER_HOOKS_NO_CPU_TIME

static const struct cu_hooks tables[COPPER_DELAY_KINDS] = {
    [COPPER_DELAY_BLOCK] = {COPPER_TABLE, .waited = on_waited, .contended = on_contended,
                            .syscall_begin = on_syscall_begin, .syscall_end = on_syscall_end},
    [COPPER_DELAY_MUTEX] = {COPPER_TABLE, .released = on_released},
    [COPPER_DELAY_SCHEDULE] = {COPPER_TABLE, .running = on_running},
    [COPPER_DELAY_HOG] = {COPPER_TABLE, .running = on_hog_running, .parked = on_parked,
                          .yielded = on_yielded, .exited = on_exited, .stolen = on_stolen,
                          .handoff = on_handoff, .preempted = on_preempted},
};

/* ---- attaching ------------------------------------------------------------------------------- */

static int follow(void);

/* lock */
static bool is_any_attached(void)
{
    bool is_any = false;
    for (int kind = 0; kind < COPPER_DELAY_KINDS; kind++) {
        is_any |= is_attached[kind];
    }
    return is_any;
}

/* lock. Rates of windows only: those that somebody set are left alone. */
static void keep_budget(void)
{
    int64_t before = coarser;
    switch (cu__budget_ask(COPPER_COST_DELAY, &budget_look)) {
    case COPPER_BUDGET_LOWER:
        coarser = coarser * 2 < COARSER_MAX ? coarser * 2 : COARSER_MAX;
        break;
    case COPPER_BUDGET_RAISE:
        coarser = coarser > 1 ? coarser / 2 : 1;
        break;
    case COPPER_BUDGET_KEEP:
        break;
    }
    if (coarser != before && is_any_attached()) {
        follow();
    }
}

int64_t cu__delay_rate(enum cu__delay_kind kind, bool *is_lowered)
{
    pthread_mutex_lock(&lock);
    *is_lowered = coarser > 1 && windows[kind] > 0 && asked[kind] == 0;
    pthread_mutex_unlock(&lock);
    return atomic_load(&rates[kind]);
}

static void *tend(void *unused)
{
    cu__own_thread_begin("copper-delays");
    pthread_mutex_lock(&lock);
    while (is_any_attached()) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TEND_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&detached, &lock, &until);
        pthread_mutex_unlock(&lock);
        int64_t cpu = cu__clock_ns(CLOCK_THREAD_CPUTIME_ID);
        cu__delay_tend();
        cu__cost_add(COPPER_COST_DELAY, cu__clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
        pthread_mutex_lock(&lock);
        keep_budget();
    }
    is_tending = false;
    pthread_mutex_unlock(&lock);
    return unused;
}

static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&detached, NULL);
    is_tending = false;
    cu__hog_forget();
    memset(windows, 0, sizeof(windows));
    for (int kind = 0; kind < COPPER_DELAY_KINDS; kind++) {
        atomic_store(&rates[kind], asked[kind]);
    }
}

/* lock */
static int open_memory(void)
{
    static bool is_registered;
    int err = cu__delay_table_open();
    if (!err && !spares) {
        spares = calloc(SPARE_PLACES, sizeof(*spares));
        err = spares ? 0 : -ENOMEM;
    }
    if (!err && !is_registered) {
        is_registered = pthread_atfork(NULL, NULL, forget_in_child) == 0;
    }
    return err;
}

/* lock */
static int attach(int kind)
{
    int err = open_memory();
    if (!err) {
        cu_stacks_prepare();
        err = cu_hooks_attach(&tables[kind], NULL);
    }
    is_attached[kind] = !err;
    if (!err && !is_tending) {
        /* without the thread, stacks of modules without tables are finished when a profile is read
         */
        is_tending = cu__own_thread_start(tend, NULL) == 0;
    }
    return err;
}

/* lock */
static void detach(int kind)
{
    is_attached[kind] = false;
    cu_hooks_detach(&tables[kind], NULL); /* waits until no hook runs */
    if (kind == COPPER_DELAY_HOG) {
        cu__hog_forget();
    }
    if (!is_any_attached()) {
        pthread_cond_broadcast(&detached);
    }
}

/* lock. By asking and windows. */
static int64_t wanted_rate(int kind)
{
    int64_t rate = asked[kind];
    int64_t finest = kind == COPPER_DELAY_MUTEX ? 1 : COPPER_DELAY_WINDOW_RATE_NS;
    int64_t window_rate = finest * coarser;
    return windows[kind] && (rate == 0 || rate > window_rate) ? window_rate : rate;
}

/* lock. Puts the rates in force, and attaches or detaches. */
static int follow(void)
{
    int err = 0;
    for (int kind = 0; kind < COPPER_DELAY_KINDS; kind++) {
        int64_t rate = wanted_rate(kind);
        atomic_store(&rates[kind], rate);
        if (rate > 0 && !is_attached[kind]) {
            int attach_err = attach(kind);
            err = err ? err : attach_err;
        } else if (rate == 0 && is_attached[kind]) {
            detach(kind);
        }
    }
    if (is_attached[COPPER_DELAY_BLOCK]) {
        cu_hooks_wait_rate(&tables[COPPER_DELAY_BLOCK], NULL, rate_of(COPPER_DELAY_BLOCK));
    }
    return err;
}

static bool has_hooks(void)
{
    return cu_hooks_attach && cu_hooks_detach && cu_hooks_wait_rate && cu_inspect_here;
}

int cu__delay_window_open(enum cu__delay_kind kind)
{
    if (!has_hooks()) {
        return -ENOTSUP;
    }
    pthread_mutex_lock(&lock);
    windows[kind]++;
    int err = follow();
    if (err) {
        windows[kind]--;
        follow();
    }
    pthread_mutex_unlock(&lock);
    return err;
}

void cu__delay_window_close(enum cu__delay_kind kind)
{
    pthread_mutex_lock(&lock);
    windows[kind] -= windows[kind] > 0; /* a fork closed those of the parent */
    follow();
    pthread_mutex_unlock(&lock);
}

bool cu__delay_is_on(enum cu__delay_kind kind)
{
    pthread_mutex_lock(&lock);
    bool is_on = asked[kind] > 0;
    pthread_mutex_unlock(&lock);
    return is_on;
}

static int set_rate(enum cu__delay_kind kind, int64_t rate)
{
    if (!has_hooks()) {
        return rate > 0 ? -ENOTSUP : 0;
    }
    int64_t most = kind == COPPER_DELAY_MUTEX ? FRACTION_MAX : RATE_MAX_NS;
    pthread_mutex_lock(&lock);
    int64_t before = asked[kind];
    asked[kind] = rate < 0 ? 0 : rate > most ? most : rate;
    int err = follow();
    if (err) {
        asked[kind] = before;
        follow();
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int cu_profile_block_rate(int64_t rate_ns)
{
    return set_rate(COPPER_DELAY_BLOCK, rate_ns);
}

int cu_profile_schedule_rate(int64_t rate_ns)
{
    int err = set_rate(COPPER_DELAY_SCHEDULE, rate_ns);
    return err ? err : set_rate(COPPER_DELAY_HOG, rate_ns);
}

int cu_profile_mutex_fraction(int fraction)
{
    pthread_mutex_lock(&lock);
    int before = (int)asked[COPPER_DELAY_MUTEX];
    pthread_mutex_unlock(&lock);
    int err = fraction < 0 ? 0 : set_rate(COPPER_DELAY_MUTEX, fraction);
    return err ? err : before;
}

/* A whole number without a sign that an int64_t holds. */
static bool parse_whole(const char *text, int64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* "10us", or a bare number of nanoseconds as Go has it. 0: not set, off, or said to be wrong. */
static int64_t rate_from(const char *name)
{
    const char *text = secure_getenv(name);
    int64_t ns = 0;
    if (!text || !*text || cu__parse_duration(text, &ns) == 0 || parse_whole(text, &ns)) {
        return ns;
    }
    cu__say("%s=%.40s is no time; write 10us", name, text);
    return 0;
}

static int fraction_from(const char *name)
{
    const char *text = secure_getenv(name);
    int64_t fraction = 0;
    if (!text || !*text) {
        return 0;
    }
    if (!parse_whole(text, &fraction)) {
        cu__say("%s=%.40s is no whole number; write 5 for one unlock in five", name, text);
        return 0;
    }
    return fraction < FRACTION_MAX ? (int)fraction : FRACTION_MAX;
}

void cu__delay_from_environment(void)
{
    int64_t block = rate_from("COPPER_BLOCK_RATE"), schedule = rate_from("COPPER_SCHEDULE_RATE");
    int fraction = fraction_from("COPPER_MUTEX_FRACTION");
    if (block > 0) {
        cu_profile_block_rate(block);
    }
    if (schedule > 0) {
        cu_profile_schedule_rate(schedule);
    }
    if (fraction > 0) {
        cu_profile_mutex_fraction(fraction);
    }
}
