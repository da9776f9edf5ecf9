/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see delay_rates.h.
 */
#include "delay_rates.h"

#include "budget.h"
#include "cpu_int.h"
#include "delay_hooks.h"
#include "runtime_weak.h"
#include "say.h"
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

#define TEND_NS        100000000
#define WINDOW_RATE_NS 10000 /* of a window, unless a finer one is set */
#define FRACTION_MAX   1000000
#define COARSER_MAX    256 /* a wait of 2.56 ms always counts, however small the budget */

_Atomic int64_t cu__delay_rates[COPPER_DELAY_KINDS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t detached = PTHREAD_COND_INITIALIZER;
static int64_t asked[COPPER_DELAY_KINDS];    /* lock; without windows */
static unsigned windows[COPPER_DELAY_KINDS]; /* lock */
static bool is_attached[COPPER_DELAY_KINDS]; /* lock; its table is */
static bool is_tending;                      /* lock */
static int64_t coarser = 1; /* lock; by what the budget multiplies the rates of windows */
static struct cu__budget_look budget_look; /* the tending thread's */

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
        atomic_store(&cu__delay_rates[kind], asked[kind]);
    }
}

/* lock */
static int open_memory(void)
{
    static bool is_registered;
    int err = cu__delay_table_open();
    if (!err) {
        err = cu__delay_stacks_open();
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
        err = cu_hooks_attach(&cu__delay_tools[kind], NULL);
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
    cu_hooks_detach(&cu__delay_tools[kind], NULL); /* waits until no hook runs */
    if (kind == COPPER_DELAY_HOG) {
        cu__hog_forget();
    }
    if (!is_any_attached()) {
        pthread_cond_broadcast(&detached);
    }
}

/* ---- rates ----------------------------------------------------------------------------------- */

/* lock. By asking and windows. */
static int64_t wanted_rate(int kind)
{
    int64_t rate = asked[kind];
    int64_t finest = kind == COPPER_DELAY_MUTEX ? 1 : WINDOW_RATE_NS;
    int64_t window_rate = finest * coarser;
    return windows[kind] && (rate == 0 || rate > window_rate) ? window_rate : rate;
}

/* lock. Puts the cu__delay_rates in force, and attaches or detaches. */
static int follow(void)
{
    int err = 0;
    for (int kind = 0; kind < COPPER_DELAY_KINDS; kind++) {
        int64_t rate = wanted_rate(kind);
        atomic_store(&cu__delay_rates[kind], rate);
        if (rate > 0 && !is_attached[kind]) {
            int attach_err = attach(kind);
            err = err ? err : attach_err;
        } else if (rate == 0 && is_attached[kind]) {
            detach(kind);
        }
    }
    if (is_attached[COPPER_DELAY_BLOCK]) {
        cu_hooks_wait_rate(&cu__delay_tools[COPPER_DELAY_BLOCK], NULL,
                           cu__delay_rate_now(COPPER_DELAY_BLOCK));
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

int64_t cu__delay_rate(enum cu__delay_kind kind, bool *is_lowered)
{
    pthread_mutex_lock(&lock);
    *is_lowered = coarser > 1 && windows[kind] > 0 && asked[kind] == 0;
    pthread_mutex_unlock(&lock);
    return atomic_load(&cu__delay_rates[kind]);
}

static int set_rate(enum cu__delay_kind kind, int64_t rate)
{
    if (!has_hooks()) {
        return rate > 0 ? -ENOTSUP : 0;
    }
    int64_t most = kind == COPPER_DELAY_MUTEX ? FRACTION_MAX : COPPER_DELAY_RATE_MAX_NS;
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

/* ---- the environment ------------------------------------------------------------------------- */

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
