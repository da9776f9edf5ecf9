/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: COPPER_CONTINUOUS=FOLDER[,INTERVAL[,KIND+KIND...]]: profiles from the start of a process
 * to its end, in files.
 *
 * Design. A thread of ours goes round once an interval. CPU time and wall time are windows, of
 * which the next is open before the last one is encoded, so that nothing is missed in between.
 * block, mutex, schedule and hog are what changed since their last file; heap, allocs, goroutine
 * and threadcreate are as they are at the end of the interval.
 *
 * What could not be written is not lost: a window is merged into the next one of its kind (for up
 * to KEPT_MAX intervals), and a difference goes on from the last file that was written.
 *
 * Concurrency: the thread owns everything but `state`, which has the lock. At exit a destructor
 * tells the thread to finish and waits. A forked child has no such thread, so it writes nothing;
 * its copy of `state` is made to say so.
 */
#include "continuous.h"

#include "cpu_int.h"
#include "delay_rates.h"
#include "heap_weak.h"
#include "kinds.h"
#include "recorded.h"
#include "rotation.h"
#include "say.h"
#include "units.h"
#include "wall.h"

#include <copper/profile.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INTERVAL_MIN_NS 100000000
#define INTERVAL_MAX_NS (INT64_C(3600) * 1000000000)
#define FINISH_NS       (INT64_C(10) * 1000000000)
#define KEPT_MAX        60u /* windows merged into one file while none can be written */
#define PROGRAM_MAX     32

enum manner {
    WINDOW,     /* what happened while it was open */
    DIFFERENCE, /* since the last file */
    SNAPSHOT    /* at the end */
};

struct part {
    const char *name; /* in file names and in the list of kinds */
    const char *kind; /* of profile_kinds.def */
    enum manner manner;
    int delay; /* enum cu__delay_kind; -1: none */
    bool is_wanted, is_listed;
    struct cu_pprof *kept; /* WINDOW: not written yet. DIFFERENCE: as of the last file */
    unsigned nkept;
};

static struct part parts[] = {
    {.name = "cpu", .kind = "profile", .manner = WINDOW, .delay = -1},
    {.name = "wall", .kind = "wall", .manner = WINDOW, .delay = -1},
    {.name = "heap", .kind = "heap", .manner = SNAPSHOT, .delay = -1},
    {.name = "allocs", .kind = "allocs", .manner = SNAPSHOT, .delay = -1},
    {.name = "goroutine", .kind = "goroutine", .manner = SNAPSHOT, .delay = -1},
    {.name = "threadcreate", .kind = "threadcreate", .manner = SNAPSHOT, .delay = -1},
    {.name = "block", .kind = "block", .manner = DIFFERENCE, .delay = COPPER_DELAY_BLOCK},
    {.name = "mutex", .kind = "mutex", .manner = DIFFERENCE, .delay = COPPER_DELAY_MUTEX},
    {.name = "schedule", .kind = "schedule", .manner = DIFFERENCE, .delay = COPPER_DELAY_SCHEDULE},
    {.name = "hog", .kind = "hog", .manner = DIFFERENCE, .delay = COPPER_DELAY_HOG},
};
#define PARTS     (sizeof parts / sizeof parts[0])
#define CPU_PART  (&parts[0])
#define WALL_PART (&parts[1])

/* Set before the thread starts. */
static char folder[PATH_MAX];
static int64_t interval_ns = COPPER_CONTINUOUS_INTERVAL_NS;
static uint64_t files_max = COPPER_CONTINUOUS_FILES, bytes_max = COPPER_CONTINUOUS_BYTES;
static char program[PROGRAM_MAX];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static struct {
    bool is_on;        /* the thread runs */
    bool is_finishing; /* it should end */
} state;               /* lock */

static _Atomic uint64_t written, failed, removed;
/* Of the thread. An outage is over when everything of an interval is written: what is small may fit
 * on a disk that is full for the rest. */
static bool is_outage;  /* it was said */
static bool has_failed; /* something, since an interval was last finished */

/* ---- one interval ---------------------------------------------------------------------------- */

struct interval {
    char stamp[COPPER_STAMP + 1];
    int64_t end_ns;
    struct cu__cpu_window *cpu; /* NULL: none */
    struct cu_pprof *wall;      /* NULL: none */
};

static void note_failure(const char *what, const char *why)
{
    atomic_fetch_add_explicit(&failed, 1, memory_order_relaxed);
    has_failed = true;
    if (!is_outage) {
        cu__say("continuous profiles: %s: %s; trying again", what, why);
        is_outage = true;
    }
}

static int write_once(const struct part *p, const struct interval *i,
                      const struct cu_pprof *profile)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s-%s-%d-%s.pb.gz", folder, i->stamp, program,
                     (int)getpid(), p->name);
    return n < (int)sizeof path ? cu_pprof_write_file(profile, path) : -ENAMETOOLONG;
}

/* True: it is on the disk. */
static bool write_part(const struct part *p, const struct interval *i,
                       const struct cu_pprof *profile)
{
    int err = write_once(p, i, profile);
    if (err == -ENOENT || err == -ENOTDIR) { /* the folder has gone */
        err = cu__rotation_make_folder(folder);
        err = err ? err : write_once(p, i, profile);
    }
    if (err) {
        note_failure(folder, strerror(-err));
        return false;
    }
    atomic_fetch_add_explicit(&written, 1, memory_order_relaxed);
    return true;
}

/* Does it count? */
static bool is_on(const struct part *p)
{
    return p->delay < 0 || p->is_listed || cu__delay_is_on((enum cu__delay_kind)p->delay);
}

/* Takes the profile over. */
static void finish_window(struct part *p, const struct interval *i, struct cu_pprof *profile)
{
    if (p->kept) {
        if (p->nkept < KEPT_MAX && cu_pprof_merge(p->kept, profile) == 0) {
            cu_pprof_free(profile);
            profile = p->kept;
        } else {
            cu_pprof_free(p->kept);
            p->nkept = 0;
        }
        p->kept = NULL;
    }
    if (write_part(p, i, profile)) {
        cu_pprof_free(profile);
        p->nkept = 0;
    } else {
        p->kept = profile;
        p->nkept++;
    }
}

static int make(const struct part *p, struct cu_pprof **out)
{
    *out = NULL;
    return cu_profile_take(p->kind, NULL, out);
}

/* after - before; both stay as they are. NULL: out of memory. */
static struct cu_pprof *difference(const struct cu_pprof *after, const struct cu_pprof *before)
{
    struct cu_pprof *d = cu_pprof_new(), *b = cu_pprof_new();
    bool is_made = d && b && cu_pprof_merge(d, after) == 0 && cu_pprof_merge(b, before) == 0 &&
                   cu__profile_subtract(d, b) == 0;
    cu_pprof_free(b);
    if (is_made) { /* as a window: from its beginning on */
        int64_t begin_ns, duration_ns;
        cu_pprof_times(before, &begin_ns, NULL, NULL);
        cu_pprof_times(d, NULL, &duration_ns, NULL);
        cu_pprof_time(d, begin_ns, duration_ns);
    } else {
        cu_pprof_free(d);
        return NULL;
    }
    return d;
}

static void finish_difference(struct part *p, const struct interval *i)
{
    struct cu_pprof *now, *d;
    if (make(p, &now) != 0) {
        note_failure(p->name, "out of memory");
        return;
    }
    d = p->kept ? difference(now, p->kept) : NULL;
    if (!p->kept || (d && write_part(p, i, d))) {
        cu_pprof_free(p->kept);
        p->kept = now; /* what there was before it was turned on is nobody's */
    } else {
        cu_pprof_free(now);
    }
    cu_pprof_free(d);
    if (p->kept == now && !is_on(p)) { /* it was turned off: that was its last file */
        cu_pprof_free(p->kept);
        p->kept = NULL;
    }
}

static void finish_snapshot(const struct part *p, const struct interval *i)
{
    struct cu_pprof *now;
    if (make(p, &now) != 0) {
        note_failure(p->name, "out of memory");
        return;
    }
    write_part(p, i, now);
    cu_pprof_free(now);
}

static bool is_due(const struct part *p)
{
    return p->is_wanted && (p->kept || is_on(p));
}

static void begin(struct interval *i, int64_t *last_ms)
{
    char error[COPPER_ERROR_MAX] = "";
    int64_t now_ms = cu__wall_ns() / 1000000;
    now_ms = now_ms > *last_ms ? now_ms : *last_ms + 1; /* names sort even when the clock is set */
    *last_ms = now_ms;
    *i = (struct interval){.end_ns = cu__now_ns() + interval_ns};
    cu__rotation_stamp(now_ms, i->stamp);
    if (CPU_PART->is_wanted && cu__cpu_open(0, &i->cpu, error) != 0) {
        i->cpu = NULL;
        note_failure("cpu", error);
    }
    for (struct part *p = parts; p < parts + PARTS; p++) {
        if (p->manner == DIFFERENCE && !p->kept && is_due(p)) {
            make(p, &p->kept);
        }
    }
}

static void finish(struct interval *i)
{
    char error[COPPER_ERROR_MAX] = "";
    struct cu_pprof *cpu = NULL;
    if (i->cpu && cu__cpu_close(i->cpu, &cpu, error) == 0) {
        finish_window(CPU_PART, i, cpu);
    } else if (i->cpu) {
        note_failure("cpu", error);
    }
    if (i->wall) {
        finish_window(WALL_PART, i, i->wall);
    }
    for (struct part *p = parts; p < parts + PARTS; p++) {
        if (p->manner == DIFFERENCE && is_due(p)) {
            finish_difference(p, i);
        } else if (p->manner == SNAPSHOT && is_due(p)) {
            finish_snapshot(p, i);
        }
    }
    is_outage = is_outage && has_failed;
    has_failed = false;
    int64_t n = cu__rotation_trim(folder, files_max, bytes_max, i->stamp);
    atomic_fetch_add_explicit(&removed, n > 0 ? (uint64_t)n : 0, memory_order_relaxed);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool is_told_to_finish(void)
{
    pthread_mutex_lock(&lock);
    bool is_finishing = state.is_finishing;
    pthread_mutex_unlock(&lock);
    return is_finishing;
}

static void wait_until(int64_t end_ns)
{
    struct timespec until = {end_ns / 1000000000, end_ns % 1000000000};
    pthread_mutex_lock(&lock);
    while (!state.is_finishing && pthread_cond_timedwait(&changed, &lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&lock);
}

/* Until the interval is over, or the process ends. Wall time is looked at meanwhile. */
static void pass(struct interval *i)
{
    int64_t left = i->end_ns - cu__now_ns();
    if (WALL_PART->is_wanted && left > 0) {
        int err = cu__wall_profile(left, NULL, NULL, &i->wall);
        if (err) {
            i->wall = NULL;
            note_failure("wall", strerror(-err));
        }
    }
    wait_until(i->end_ns);
}

static void *run(void *unused)
{
    struct interval now, last;
    int64_t last_ms = 0;
    cu__own_thread_begin("copper-continue");
    int err = cu__rotation_make_folder(folder);
    if (err) {
        note_failure(folder, strerror(-err));
    }
    begin(&now, &last_ms);
    for (;;) {
        pass(&now);
        if (is_told_to_finish()) {
            break;
        }
        last = now;
        begin(&now, &last_ms);
        finish(&last);
        if (WALL_PART
                ->is_wanted) { /* not looked at while files were written: a whole one from here */
            now.end_ns = cu__now_ns() + interval_ns;
        }
    }
    finish(&now);
    pthread_mutex_lock(&lock);
    state.is_on = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return unused;
}

static void init_condition(void)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void forget_in_child(void)
{
    pthread_mutex_init(&lock, NULL);
    init_condition();
    state.is_on = false;
}

static int start(void)
{
    init_condition();
    pthread_atfork(NULL, NULL, forget_in_child);
    state.is_on = true; /* before the thread can say otherwise */
    int err = cu__own_thread_start(run, NULL);
    if (err) {
        state.is_on = false; /* there is none that could */
    }
    return err;
}

void cu__continuous_finish(void)
{
    int64_t end_ns = cu__now_ns() + FINISH_NS;
    struct timespec until = {end_ns / 1000000000, end_ns % 1000000000};
    pthread_mutex_lock(&lock);
    state.is_finishing = true;
    if (state.is_on) {
        cu__finishing_begin();
        pthread_cond_broadcast(&changed);
        while (state.is_on && pthread_cond_timedwait(&changed, &lock, &until) != ETIMEDOUT) {
        }
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void finish_at_exit(void)
{
    cu__continuous_finish();
}

void cu__continuous_stats(struct cu__continuous_stats *out)
{
    pthread_mutex_lock(&lock);
    out->is_on = state.is_on;
    pthread_mutex_unlock(&lock);
    out->written = atomic_load_explicit(&written, memory_order_relaxed);
    out->failed = atomic_load_explicit(&failed, memory_order_relaxed);
    out->removed = atomic_load_explicit(&removed, memory_order_relaxed);
}

/* ---- the environment ------------------------------------------------------------------------- */

static bool read_interval(const char *text)
{
    int64_t ns = 0;
    int err = cu__parse_duration(text, &ns);
    if (err == -EDOM) {
        cu__say("COPPER_CONTINUOUS: %.40s has no unit; write %.40ss", text, text);
        return false;
    }
    if (err || ns < INTERVAL_MIN_NS || ns > INTERVAL_MAX_NS) {
        cu__say("COPPER_CONTINUOUS: %.40s is no time from 100ms to 1h; write 60s", text);
        return false;
    }
    interval_ns = ns;
    return true;
}

static bool want_kind(const char *name)
{
    for (struct part *p = parts; p < parts + PARTS; p++) {
        if (strcmp(p->name, name) == 0) {
            p->is_wanted = p->is_listed = true;
            return true;
        }
    }
    char names[160];
    size_t n = 0;
    for (size_t i = 0; i < PARTS; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", parts[i].name);
    }
    cu__say("COPPER_CONTINUOUS: %.40s is no profile; these are: %s", name, names);
    return false;
}

/* "cpu+heap"; NULL: what is on. */
static bool read_kinds(char *text)
{
    char *rest = text;
    if (!text) {
        for (struct part *p = parts; p < parts + PARTS; p++) {
            p->is_wanted = p != WALL_PART && strcmp(p->name, "allocs") != 0 &&
                           strcmp(p->name, "threadcreate") != 0 &&
                           (strcmp(p->name, "heap") != 0 || cu__has_heap());
        }
        return true;
    }
    for (char *name; (name = strsep(&rest, "+"));) {
        if (!want_kind(name)) {
            return false;
        }
    }
    return true;
}

/* Listed ones count from now on. */
static void turn_on(void)
{
    for (struct part *p = parts; p < parts + PARTS; p++) {
        if (p->is_listed && p->delay >= 0) {
            int err = cu__delay_window_open((enum cu__delay_kind)p->delay);
            if (err) {
                cu__say("COPPER_CONTINUOUS: no %s: %s", p->name,
                        err == -ENOTSUP ? "there is no copper runtime in this program"
                                        : strerror(-err));
                p->is_wanted = false;
            }
        }
    }
}

/* "500", "1GiB", "500,1GiB" */
static void read_keep(void)
{
    const char *text = secure_getenv("COPPER_CONTINUOUS_KEEP");
    char copy[64], *rest = copy;
    uint64_t files = files_max, bytes = bytes_max;
    if (!text || !*text) {
        return;
    }
    snprintf(copy, sizeof copy, "%s", text);
    for (char *each; (each = strsep(&rest, ","));) {
        int64_t size = 0;
        char *end;
        unsigned long long count = strtoull(each, &end, 10);
        if (cu__parse_size(each, &size) == 0 && size > 0) {
            bytes = (uint64_t)size;
        } else if (*each >= '1' && *each <= '9' && *end == '\0') {
            files = count;
        } else {
            cu__say("COPPER_CONTINUOUS_KEEP=%.40s: write a number of files, a size, or both: "
                    "4096,256MiB",
                    text);
            return;
        }
    }
    files_max = files;
    bytes_max = bytes;
}

/* The program may go elsewhere: a name that begins at the root. False: too long. */
static bool set_folder(const char *name)
{
    char here[PATH_MAX];
    int n;
    if (name[0] != '/' && getcwd(here, sizeof here)) {
        n = snprintf(folder, sizeof folder, "%s/%s", here, name);
    } else {
        n = snprintf(folder, sizeof folder, "%s", name);
    }
    return n < (int)sizeof folder;
}

static void set_program(void)
{
    snprintf(program, sizeof program, "%s", program_invocation_short_name);
    for (char *at = program; *at; at++) {
        bool is_plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
                        (*at >= 'A' && *at <= 'Z') || strchr("._", *at);
        *at = is_plain ? *at : '_';
    }
}

void cu__continuous_from_environment(void)
{
    const char *text = secure_getenv("COPPER_CONTINUOUS");
    if (!text || !*text) {
        return;
    }
    char copy[PATH_MAX + 256], *rest = copy;
    if (strlen(text) >= sizeof copy) {
        cu__say("COPPER_CONTINUOUS is too long");
        return;
    }
    strcpy(copy, text);
    const char *name = strsep(&rest, ",");
    const char *interval = strsep(&rest, ",");
    if (!*name || !set_folder(name)) {
        cu__say("COPPER_CONTINUOUS=%.80s names no folder; write FOLDER,60s", text);
        return;
    }
    if ((interval && !read_interval(interval)) || !read_kinds(rest)) {
        return;
    }
    read_keep();
    set_program();
    turn_on();
    int err = start();
    if (err) {
        cu__say("COPPER_CONTINUOUS: cannot start a thread: %s", strerror(-err));
    }
}
