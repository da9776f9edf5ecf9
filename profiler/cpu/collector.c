/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the thread behind the sampler. While any window is open it goes round: follow the highest
 * rate asked for, keep timers in step with threads, empty the rings, count each record into every
 * window it falls into. With the last window it stops the timers and ends: idle means no thread.
 *
 * Design. What the handler could not finish (a module without tables, a stack nobody knew) is finished
 * here from the copy in the record, after cu_stacks_prepare. Records carry the time they were taken,
 * so a window's edges are exact whenever its ring is read.
 *
 * Stacks are kept in one of two tables: the one that new windows count in, and the one before, while its
 * windows are still open. So a profile without end, in windows of which the next is open before the last
 * is closed, meets new stacks for ever and is never out of room; nor does it keep them for long.
 *
 * The collector lowers the rate of windows that did not ask for one when signals, handler and itself
 * cost more than the budget's share of what the program used. Looking at threads is paced by its own
 * cost.
 *
 * Concurrency. One lock covers windows, table and totals. The collector holds it for a round; clients
 * wait for it, threads of the host never take it. A round that begins after a request is counted in
 * `finished`, which is how clients know that timers run or that everything has been counted.
 *
 * After fork the child has none of it: no timer is inherited, no thread, and what lay in memory is
 * forgotten.
 */
#include "budget.h"
#include "cpu_int.h"
#include "timed_cond.h"
#include "trace_samples.h"

#include <copper/profiler.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COPPER_ROUND_NS       50000000  /* between rounds */
#define COPPER_ROUND_MIN_NS   2000000   /* ... where a ring fills quickly: a third is aimed at */
#define COPPER_ROUND_SAMPLES  20        /* ... or this many samples of a thread, if that is sooner */
#define COPPER_ROUND_BUSY_NS  20000000  /* ... while records carry copies, which fill rings quickly */
#define COPPER_SCAN_SHARE     200       /* a scan is followed by this many times its cost of peace */
#define COPPER_SCAN_MAX_NS    1000000000
#define COPPER_THOROUGH_NS    1000000000
#define COPPER_BUDGET_NS      1000000000 /* the budget is looked at this often */
#define COPPER_BUDGET_HZ_MIN  10         /* and never asks for less than this */
#define COPPER_WORN           (1.0 / 16) /* a table so full takes no new windows, if it can be helped */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted_changed; /* the collector waits */
static pthread_cond_t round_finished; /* clients wait */
static pthread_once_t set_up_once = PTHREAD_ONCE_INIT;

/* All below: lock. */
static struct cu__run *runs;
static uint64_t wanted, finished;
static bool is_collecting, is_taken_over;
static int current_hz;
static int budget_hz = COPPER_CPU_HZ_DEFAULT;
static uint32_t last_epoch;
static int64_t next_scan_ns, next_thorough_ns, next_budget_ns;
static struct stacks {
    struct cu__stack_table table;
    unsigned nholders; /* windows that count in it, or whose stacks may still be read */
} tables[2];
static unsigned newest; /* the one that windows count in which open now */
static struct cu__run_counts totals; /* what the collector itself counts */
static struct cu__run_counts cost_before;
static struct cu__budget_look budget_look;
static bool has_copies; /* the last round met some */
static int64_t filling_ns = COPPER_ROUND_NS; /* in so long no ring is filled by more than a third */
static cu_frame walked[COPPER_STACK_DEPTH_MAX];

static void take_counts(struct cu__run_counts *out)
{
    *out = totals;
    cu__timers_stats(&out->timers);
    out->process_ns = cu__clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    out->own_ns = cu__own_threads_ns();
}

/* ---- records --------------------------------------------------------------------------------- */

static void prepare(bool *is_prepared)
{
    if (!*is_prepared) {
        last_epoch = cu_modules_epoch_sig();
        cu_stacks_prepare();
        *is_prepared = true;
    }
}

/* The whole stack of a record into `walked`. Number of frames; *is_cut: it does not reach the end. */
static unsigned finish_walk(const struct cu__record *record, bool *is_prepared, bool *is_cut)
{
    unsigned n = record->nframes;
    enum cu_walk_end end = (enum cu_walk_end)record->end;
    memcpy(walked, record->frames, n * sizeof *walked);
    if (end == COPPER_WALK_MISS) {
        prepare(is_prepared);
        has_copies = true;
        struct cu_walk walk = {
            .regs = record->regs,
            .lo = record->copy_at,
            .hi = record->copy_at + record->ncopy,
            .is_call_site = record->is_call_site,
            .frames = walked,
            .n = n,
            .max = COPPER_STACK_DEPTH_MAX,
            .end = end,
        };
        cu_stack_walk_copy(&walk, cu__record_copy(record), record->copy_at, record->ncopy,
                           record->epoch);
        n = walk.n;
        end = walk.end;
    }
    if (n == 0) {
        walked[n++] = COPPER_FRAME_PC(record->regs.pc);
    }
    cu_frames_resolve(walked, n, record->epoch);
    *is_cut = end != COPPER_WALK_ROOT;
    return n;
}

static bool is_within(const struct cu__run *run, const struct cu__record *record)
{
    int64_t at = (int64_t)record->time_ns;
    return at >= run->start_ns && at < run->end_ns;
}

static void count_into_run(struct cu__run *run, const struct cu__record *record, int64_t number)
{
    switch ((enum cu__record_weight)record->weight) {
    case COPPER_WEIGHT_CLOCK:
        run->weights[number] += record->weight_ns;
        break;
    case COPPER_WEIGHT_TICK:
        run->ticks[number]++;
        run->span_ns += record->span_ns;
        run->spans += record->span_ns > 0;
        break;
    case COPPER_WEIGHT_USER:
        run->user[number] += record->weight_ns;
        run->user_ns += record->span_ns;
        run->user_parts += record->weight_ns;
        break;
    }
}

/* For want of room. What the record stands for of the user level goes to nobody. */
static void refuse_for_run(struct cu__run *run, const struct cu__record *record)
{
    run->refused++;
    run->refused_ns += record->weight_ns;
    if (record->weight == COPPER_WEIGHT_USER) {
        run->user_ns += record->span_ns;
        run->user_parts += record->weight_ns;
    }
}

/* Into the windows that count in this table. False: some wanted it, and there was no room. */
static bool count_into_table(struct cu__stack_table *table, const struct cu__record *record,
                             struct cu__stack *key)
{
    int64_t number = -1;
    bool is_wanted = false;
    for (struct cu__run *run = runs; run; run = run->next) {
        if (run->stacks != table || !is_within(run, record)) {
            continue;
        }
        if (!is_wanted) {
            is_wanted = true;
            key->name = cu__stack_table_name(table, record->thread_name);
            number = cu__stack_table_add(table, key, walked);
        }
        if (number >= 0) {
            count_into_run(run, record, number);
        } else {
            refuse_for_run(run, record);
        }
    }
    return !is_wanted || number >= 0;
}

static void count_record(const struct cu__record *record, bool *is_prepared)
{
    struct cu__stack key = {.here = record->here, .labels = record->labels};
    key.nframes = (uint16_t)finish_walk(record, is_prepared, &key.is_cut);
    cu__trace_cpu_sample(record, walked, key.nframes, key.is_cut);
    totals.samples++;
    totals.cut += key.is_cut;
    bool has_room = count_into_table(&tables[0].table, record, &key);
    has_room = count_into_table(&tables[1].table, record, &key) && has_room;
    totals.refused += !has_room;
}

/* Deep stacks fill a ring before as many samples as are usual have come. most_bytes: what the
 * fullest one held. */
static void adapt_round(uint32_t most_bytes)
{
    static int64_t drained_ns;
    int64_t now = cu__now_ns(), passed_ns = now - drained_ns;
    drained_ns = now;
    passed_ns = passed_ns < COPPER_ROUND_NS ? passed_ns : COPPER_ROUND_NS;
    int64_t aimed_ns = passed_ns * (COPPER_RING_BYTES / 3) / (most_bytes ? most_bytes : 1);
    aimed_ns = aimed_ns < 2 * filling_ns ? aimed_ns : 2 * filling_ns;
    aimed_ns = aimed_ns > COPPER_ROUND_MIN_NS ? aimed_ns : COPPER_ROUND_MIN_NS;
    filling_ns = aimed_ns < COPPER_ROUND_NS ? aimed_ns : COPPER_ROUND_NS;
}

static void drain(void)
{
    bool is_prepared = false;
    uint32_t most_bytes = 0;
    has_copies = false;
    if (cu_modules_epoch_sig() != last_epoch) {
        prepare(&is_prepared);
    }
    uint32_t used = atomic_load_explicit(&cu__slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct cu__ring *ring = &cu__slots[i].ring;
        const struct cu__record *record;
        uint32_t bytes = cu__ring_waiting(ring);
        most_bytes = bytes > most_bytes ? bytes : most_bytes;
        while ((record = cu__ring_peek(ring))) {
            count_record(record, &is_prepared);
            cu__ring_consume(ring, record);
        }
    }
    adapt_round(most_bytes);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static int rate_of(const struct cu__run *run)
{
    return run->hz > 0 ? run->hz : budget_hz;
}

static void follow_rate(void)
{
    int hz = 0;
    for (const struct cu__run *run = runs; run; run = run->next) {
        hz = rate_of(run) > hz ? rate_of(run) : hz;
    }
    if (hz != current_hz && hz > 0 && !is_taken_over) {
        current_hz = hz;
        uint64_t period = 1000000000u / (unsigned)hz;
        cu__timers_start(period);
        bool is_beyond = period < atomic_load_explicit(&cu__tick_ns, memory_order_relaxed);
        cu__perf_want(is_beyond ? period : 0);
    }
    for (struct cu__run *run = runs; run; run = run->next) {
        run->hz_min = run->hz_min == 0 || hz < run->hz_min ? hz : run->hz_min;
        run->hz_max = hz > run->hz_max ? hz : run->hz_max;
    }
}

static void notice_takeover(void)
{
    if (is_taken_over || current_hz == 0 || cu__signal_is_ours()) {
        return;
    }
    is_taken_over = true;
    current_hz = 0;
    cu__timers_stop();
    cu__perf_want(0);
    for (struct cu__run *run = runs; run; run = run->next) {
        run->is_taken_over = true;
    }
}

static void note_perf(void)
{
    const char *refusal = cu__perf_refusal();
    unsigned threads = cu__perf_threads();
    for (struct cu__run *run = runs; run; run = run->next) {
        run->perf_refusal = refusal ? refusal : run->perf_refusal;
        run->perf_threads = threads > run->perf_threads ? threads : run->perf_threads;
    }
}

static void scan_threads(int64_t now, bool is_asked)
{
    if (is_taken_over || (now < next_scan_ns && !is_asked)) {
        return;
    }
    bool is_thorough = now >= next_thorough_ns || is_asked;
    int64_t began = cu__clock_ns(CLOCK_THREAD_CPUTIME_ID);
    cu__threads_scan(is_thorough, &totals.blocked_ns);
    cu__perf_pass();
    note_perf();
    int64_t peace = (cu__clock_ns(CLOCK_THREAD_CPUTIME_ID) - began) * COPPER_SCAN_SHARE;
    if (is_thorough) {
        next_thorough_ns = now + (peace > COPPER_THOROUGH_NS ? peace : COPPER_THOROUGH_NS);
    } else {
        peace = peace > COPPER_SCAN_MAX_NS ? COPPER_SCAN_MAX_NS : peace;
        next_scan_ns = now + (peace > COPPER_ROUND_NS ? peace : COPPER_ROUND_NS);
    }
}

/* What profiling cost between two looks, ns. */
static int64_t cost_between(const struct cu__run_counts *a, const struct cu__run_counts *b)
{
    uint64_t signals = b->timers.delivered - a->timers.delivered;
    return (int64_t)signals * cu__signal_delivery_ns() +
           (int64_t)(b->timers.handler_ns - a->timers.handler_ns) +
           (b->collector_ns - a->collector_ns);
}

static void add_cost(void)
{
    struct cu__run_counts counts = totals;
    cu__timers_stats(&counts.timers);
    cu__cost_add(COPPER_COST_CPU, cost_between(&cost_before, &counts));
    cost_before = counts;
}

static void keep_budget(int64_t now)
{
    add_cost();
    if (now < next_budget_ns) {
        return;
    }
    next_budget_ns = now + COPPER_BUDGET_NS;
    switch (cu__budget_ask(COPPER_COST_CPU, &budget_look)) {
    case COPPER_BUDGET_LOWER:
        budget_hz = budget_hz / 2 > COPPER_BUDGET_HZ_MIN ? budget_hz / 2 : COPPER_BUDGET_HZ_MIN;
        break;
    case COPPER_BUDGET_RAISE:
        budget_hz = budget_hz * 2 < COPPER_CPU_HZ_DEFAULT ? budget_hz * 2 : COPPER_CPU_HZ_DEFAULT;
        break;
    case COPPER_BUDGET_KEEP:
        break;
    }
}

static void go_round(bool is_asked)
{
    int64_t now = cu__now_ns();
    int64_t cpu = cu__clock_ns(CLOCK_THREAD_CPUTIME_ID);
    notice_takeover();
    follow_rate();
    scan_threads(now, is_asked);
    cu__threads_find_stacks();
    drain();
    cu__timers_recycle(false);
    totals.collector_ns += cu__clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    keep_budget(now);
}

static void wait_until(int64_t deadline_ns)
{
    cu__timed_cond_wait(&wanted_changed, &lock, deadline_ns);
}

/* Rings are read before they are full. */
static int64_t round_ns(void)
{
    int64_t longest = has_copies ? COPPER_ROUND_BUSY_NS : COPPER_ROUND_NS;
    longest = filling_ns < longest ? filling_ns : longest;
    int64_t due = current_hz > 0 ? COPPER_ROUND_SAMPLES * INT64_C(1000000000) / current_hz : longest;
    return cu__perf_threads() > 0 && due < longest ? due : longest;
}

static void *collect(void *unused)
{
    (void)unused;
    cu__own_thread_begin("copper-collect");
    cu__signal_delivery_ns(); /* measured once, before the first sample */
    pthread_mutex_lock(&lock);
    next_budget_ns = 0;
    budget_look.now_ns = 0;
    while (runs) {
        uint64_t asked = wanted;
        go_round(asked != finished);
        finished = asked;
        pthread_cond_broadcast(&round_finished);
        if (asked == wanted && runs) {
            wait_until(cu__now_ns() + round_ns());
        }
    }
    cu__timers_stop();
    cu__perf_want(0);
    drain();
    cu__timers_recycle(true);
    current_hz = 0;
    is_collecting = false;
    pthread_mutex_unlock(&lock);
    return unused;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void init_conditions(void)
{
    cu__timed_cond_init(&wanted_changed);
    cu__timed_cond_init(&round_finished);
}

static void forget_stacks(struct stacks *s)
{
    if (s->table.stacks) {
        cu__stack_table_reset(&s->table);
    }
}

static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    init_conditions();
    runs = NULL;
    wanted = 0;
    finished = 0;
    is_collecting = false;
    is_taken_over = false;
    current_hz = 0;
    next_scan_ns = 0;
    next_thorough_ns = 0;
    memset(&totals, 0, sizeof totals);
    memset(&cost_before, 0, sizeof cost_before);
    for (unsigned i = 0; i < 2; i++) {
        tables[i].nholders = 0;
        forget_stacks(&tables[i]);
    }
    cu__timers_forget();
    cu__own_threads_forget();
}

static void set_up(void)
{
    init_conditions();
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* lock held. A whole round from now on. */
static void await_round(void)
{
    uint64_t mine = ++wanted;
    pthread_cond_signal(&wanted_changed);
    while (finished < mine) {
        pthread_cond_wait(&round_finished, &lock);
    }
}

/* lock held. The table for a window that opens now; NULL: no memory. */
static struct cu__stack_table *take_stacks(void)
{
    if (cu__stack_table_fullness(&tables[newest].table) > COPPER_WORN && tables[!newest].nholders == 0) {
        newest = !newest;
    }
    struct stacks *s = &tables[newest];
    if (cu__stack_table_open(&s->table) != 0) {
        return NULL;
    }
    s->nholders++;
    return &s->table;
}

/* lock held. */
static void drop_stacks(struct cu__run *run)
{
    struct stacks *s = run->stacks == &tables[1].table ? &tables[1] : &tables[0];
    s->nholders -= run->stacks != NULL;
    run->stacks = NULL;
    if (s->nholders == 0) {
        forget_stacks(s);
    }
}

/* lock held. Signal and collector are there. 0 or -errno with a line in error. */
static int start_sampling(char error[COPPER_ERROR_MAX])
{
    if (current_hz > 0 && !cu__signal_is_ours()) {
        notice_takeover();
    }
    if (current_hz == 0 || is_taken_over) {
        int number = cu__signal_install();
        if (number < 0) {
            snprintf(error, COPPER_ERROR_MAX,
                     "every signal that could be used for sampling has a handler of the program");
            return number;
        }
        is_taken_over = false;
    }
    if (!is_collecting) {
        int err = cu__own_thread_start(collect, NULL);
        if (err) {
            snprintf(error, COPPER_ERROR_MAX, "cannot start the collector thread: %s",
                     strerror(-err));
            return err;
        }
        is_collecting = true;
    }
    return 0;
}

int cu__run_open(struct cu__run *run, char error[COPPER_ERROR_MAX])
{
    pthread_once(&set_up_once, set_up);
    cu_stacks_prepare();
    pthread_mutex_lock(&lock);
    run->start_ns = INT64_MAX;
    run->end_ns = INT64_MAX;
    run->next = runs;
    run->stacks = take_stacks();
    runs = run; /* before the collector starts: it ends when it finds none */
    int err = run->stacks ? start_sampling(error) : -ENOMEM;
    if (!run->stacks) {
        snprintf(error, COPPER_ERROR_MAX, "no memory for the stack table");
    }
    if (err) {
        runs = run->next;
        drop_stacks(run);
    } else {
        await_round();
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        run->signal = cu__signal_number();
        run->start_wall_ns = wall.tv_sec * 1000000000 + wall.tv_nsec;
        take_counts(&run->before);
        run->start_ns = cu__now_ns();
    }
    pthread_mutex_unlock(&lock);
    return err;
}

static void unlink_run(struct cu__run *run)
{
    struct cu__run **at = &runs;
    while (*at && *at != run) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = run->next;
    }
}

void cu__run_close(struct cu__run *run)
{
    pthread_mutex_lock(&lock);
    run->end_ns = cu__now_ns();
    await_round();
    take_counts(&run->after);
    cu__threads_note_blocked(run);
    run->nstacks = run->stacks->nstacks;
    run->table_bytes = cu__stack_table_bytes(run->stacks);
    unlink_run(run);
    pthread_cond_signal(&wanted_changed); /* the last window ends the collector */
    pthread_mutex_unlock(&lock);
}

void cu__run_release(struct cu__run *run)
{
    pthread_mutex_lock(&lock);
    drop_stacks(run);
    pthread_mutex_unlock(&lock);
}

void cu__sampler_totals(struct cu__sampler_totals *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&lock);
    take_counts(&out->counts);
    for (const struct cu__run *run = runs; run; run = run->next) {
        out->open_runs++;
    }
    out->hz = current_hz;
    for (unsigned i = 0; i < 2; i++) {
        out->table_bytes += tables[i].table.stacks ? cu__stack_table_bytes(&tables[i].table) : 0;
        out->table_stacks += tables[i].table.nstacks;
    }
    pthread_mutex_unlock(&lock);
}
