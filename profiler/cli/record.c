/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: `copper record`: records a program it starts, or a process that already serves, and stays
 * in between, so that nothing that ends the program ends the recording.
 *
 * Design. One loop waits for three things: answers to profile windows (windows.c), the time for the
 * next one, and signals, which are blocked and read from a descriptor. A signal that the terminal
 * sent has reached the program too; one sent to us alone is passed on.
 */
#include "child.h"
#include "events.h"
#include "report.h"
#include "targets.h"
#include "windows.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define COPPER_NS_PER_SECOND INT64_C(1000000000)
#define COPPER_DRAIN_NS      (5 * COPPER_NS_PER_SECOND)   /* for answers after the last window */
#define COPPER_DEAD_NS       (COPPER_NS_PER_SECOND / 2)   /* the same when the process is gone */
#define COPPER_MISSING_NS    (COPPER_NS_PER_SECOND / 100) /* said from here on */
#define COPPER_TABLE_ROWS    10
#define COPPER_TRACE_SECONDS_MAX 3600.0 /* that a process is asked for at once */

struct recording {
    const struct cu__options *options;
    struct cu__windows windows;
    pid_t pid;
    char name[COPPER_NAME_MAX];
    bool is_child;      /* we started it */
    bool has_ended;     /* the child */
    bool is_over;       /* no more windows are wanted */
    int status;         /* exit status, ours in the end */
    int signals;        /* signalfd */
    struct cu_pprof *base; /* of totals, before the recording; NULL: nothing */
    int64_t drain_until_ns;
};

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static int block_signals(sigset_t *old)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        sigaddset(&set, passed_on[i]);
    }
    sigprocmask(SIG_BLOCK, &set, old);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* No further windows; what is under way may still be answered. */
static void wind_up(struct recording *r, int64_t patience_ns)
{
    if (!r->is_over) {
        r->is_over = true;
        cu__windows_stop(&r->windows);
    }
    r->drain_until_ns = cu__now_ns() + patience_ns;
}

static void take_signal(struct recording *r, const struct signalfd_siginfo *s)
{
    if (s->ssi_signo == SIGCHLD) {
        if (r->is_child && !r->has_ended && cu__child_ended(r->pid, &r->status)) {
            r->has_ended = true;
            wind_up(r, COPPER_DEAD_NS);
        }
        return;
    }
    bool is_from_terminal = s->ssi_code == SI_KERNEL;
    if (!r->is_child) {
        /* the process recorded goes on; a trace or a total is answered with what there is */
        bool is_answered = cu__event_is_trace(r->options->event) ||
                           (!r->is_over && cu__windows_ask_now(&r->windows));
        wind_up(r, is_answered ? COPPER_DRAIN_NS : 0);
    } else if (!is_from_terminal && !r->has_ended) {
        kill(r->pid, (int)s->ssi_signo);
    }
}

static void take_signals(struct recording *r)
{
    struct signalfd_siginfo s;
    while (read(r->signals, &s, sizeof s) == (ssize_t)sizeof s) {
        take_signal(r, &s);
    }
}

static bool is_finished(const struct recording *r)
{
    bool is_drained = cu__windows_are_done(&r->windows) ||
                      (r->is_over && cu__now_ns() >= r->drain_until_ns);
    return is_drained && (!r->is_child || r->has_ended);
}

/* True: everything that can be recorded is. The file may be written, though the child may run on. */
static bool is_recorded(const struct recording *r)
{
    return cu__windows_are_done(&r->windows) ||
           (r->is_over && cu__now_ns() >= r->drain_until_ns);
}

static void wait_for_something(struct recording *r, int64_t most_ns)
{
    struct pollfd fds[COPPER_WINDOWS_MAX + 1] = {{.fd = r->signals, .events = POLLIN}};
    nfds_t n = 1 + cu__windows_poll(&r->windows, fds + 1);
    struct timespec t = {.tv_sec = (time_t)(most_ns / COPPER_NS_PER_SECOND),
                         .tv_nsec = (long)(most_ns % COPPER_NS_PER_SECOND)};
    ppoll(fds, n, &t, NULL);
}

/* An attached process that went away is found out by asking. */
static void check_attached(struct recording *r)
{
    if (!r->is_child && !r->is_over && kill(r->pid, 0) != 0 && errno == ESRCH) {
        wind_up(r, COPPER_DEAD_NS);
    }
}

/* ---- the file ------------------------------------------------------------------------------- */

/* Expands %p, %e, %h and %%. False: too long. */
static bool expand(const char *pattern, const struct recording *r, char out[PATH_MAX])
{
    size_t n = 0;
    char host[HOST_NAME_MAX + 1] = "", pid[24];
    gethostname(host, sizeof host - 1);
    snprintf(pid, sizeof pid, "%d", (int)r->pid);
    for (const char *at = pattern; *at != '\0'; at++) {
        const char *value = NULL;
        if (*at == '%') {
            value = at[1] == 'p' ? pid : at[1] == 'e' ? r->name : at[1] == 'h' ? host : NULL;
            value = at[1] == '%' ? "%" : value;
        }
        char self[2] = {*at, '\0'};
        at += value != NULL;
        int m = snprintf(out + n, PATH_MAX - n, "%s", value ? value : self);
        n += (size_t)m;
        if (n >= PATH_MAX) {
            return false;
        }
    }
    return true;
}

static void say_what_was_written(const struct cu_pprof *p, const struct cu__event *event,
                                 const char *path)
{
    int64_t time, duration, period, amount = 0, samples = 0;
    size_t index = cu__value_index(p, event->type);
    const char *type, *unit;
    char text[32];
    cu_pprof_times(p, &time, &duration, &period);
    cu_pprof_sample_type_at(p, index, &type, &unit);
    for (size_t i = 0; i < cu_pprof_nsamples(p); i++) {
        struct cu_pprof_sample s;
        cu_pprof_sample_at(p, i, &s, NULL, 0);
        samples += s.values[0];
        amount += s.values[index];
    }
    cu__value_text(amount, unit, text, sizeof text);
    cu__note("%s: %s %s in %.2f s, %lld samples", path, text, event->what,
             (double)duration / (double)COPPER_NS_PER_SECOND, (long long)samples);
}

static int nothing_recorded(const struct recording *r)
{
    const struct cu__windows *w = &r->windows;
    if (!w->was_served) {
        cu__error("%s[%d] ended before it could be asked, or never served", r->name, (int)r->pid);
    } else {
        cu__error("nothing was recorded of %s[%d]: %s", r->name, (int)r->pid,
                  w->error[0] != '\0' ? w->error : "no window was answered");
    }
    return COPPER_EXIT_FAILED;
}

/* The file's name; false after saying that it is too long. */
static bool file_name(const struct recording *r, const char *suffix, char path[PATH_MAX])
{
    char standard[64];
    snprintf(standard, sizeof standard, "%%e.%%p.%s", suffix);
    const char *pattern = r->options->output ? r->options->output : standard;
    if (!expand(pattern, r, path)) {
        cu__error("-o %s: the file name is too long", pattern);
        return false;
    }
    return true;
}

/* The recording, into path. 0 or -errno. */
static int write_to(const struct recording *r, const char *path)
{
    const struct cu__windows *w = &r->windows;
    struct cu_pprof_file *file;
    if (!cu__event_is_trace(r->options->event)) {
        return cu_pprof_write_file(w->gathered.profile, path);
    }
    int err = cu_pprof_file_open(path, false, &file);
    return err ? err : cu_pprof_file_close(file, cu_pprof_file_write(file, w->body, w->nbody));
}

/* Writes the file; where that fails, one in the folder for temporary files, lest what was recorded
 * is lost. 0, or the exit status of a failure; path is where it is. */
static int write_or_keep(const struct recording *r, char path[PATH_MAX])
{
    int err = write_to(r, path);
    if (!err) {
        return 0;
    }
    cu__error("%s: %s", path, strerror(-err));
    const char *folder = getenv("TMPDIR"), *slash = strrchr(path, '/');
    char kept[PATH_MAX];
    int n = snprintf(kept, sizeof kept, "%s/%s", folder && *folder ? folder : "/tmp",
                     slash ? slash + 1 : path);
    if (n < (int)sizeof kept && write_to(r, kept) == 0) {
        cu__error("the recording is in %s instead", kept);
    }
    return COPPER_EXIT_FAILED;
}

static int write_trace(struct recording *r)
{
    const struct cu__windows *w = &r->windows;
    char path[PATH_MAX], text[32];
    if (!w->body) {
        return nothing_recorded(r);
    }
    if (!file_name(r, "trace", path) || write_or_keep(r, path)) {
        return COPPER_EXIT_FAILED;
    }
    cu__value_text((int64_t)w->nbody, "bytes", text, sizeof text);
    cu__note("%s: %s %s in %.2f s; see: go tool trace %s", path, text, r->options->event->what,
             (double)w->body_ns / (double)COPPER_NS_PER_SECOND, path);
    if (w->is_cut) {
        cu__note("its end is missing, up to the last second: the answer ends early");
    }
    return 0;
}

/* What the process itself remarked, such as what it lacks. */
static void say_remarks(const struct cu_pprof *p)
{
    for (size_t i = 0; i < cu_pprof_ncomments(p); i++) {
        if (cu_pprof_comment_at(p, i)[0] != '#') {
            cu__note("%s", cu_pprof_comment_at(p, i));
        }
    }
}

/* What a program takes along that ends between two windows is not worth a line. */
static void say_what_is_missing(const struct recording *r)
{
    const struct cu__windows *w = &r->windows;
    if (w->lost && (!r->has_ended || w->lost_ns >= COPPER_MISSING_NS)) {
        cu__note("%u of %u windows are missing, %.2f s: %s", w->lost,
                 w->lost + w->gathered.windows, (double)w->lost_ns / (double)COPPER_NS_PER_SECOND,
                 w->error);
    }
}

/* Writes the file and says what is in it. 0, or the exit status of a failure. */
static int write_recording(struct recording *r)
{
    struct cu__windows *w = &r->windows;
    char path[PATH_MAX], suffix[32];
    if (cu__event_is_trace(r->options->event)) {
        return write_trace(r);
    }
    if (cu__gather_end_totals(&w->gathered) != 0) {
        cu__error("out of memory");
        return COPPER_EXIT_FAILED;
    }
    struct cu_pprof *profile = w->gathered.profile;
    if (!profile) {
        return nothing_recorded(r);
    }
    snprintf(suffix, sizeof suffix, "%s.pb.gz", r->options->event->name);
    if (!file_name(r, suffix, path)) {
        return COPPER_EXIT_FAILED;
    }
    cu__gather_finish(&w->gathered, w->lost);
    if (write_or_keep(r, path)) {
        return COPPER_EXIT_FAILED;
    }
    if (!r->options->is_quiet) {
        say_what_was_written(profile, r->options->event, path);
        say_remarks(profile);
        say_what_is_missing(r);
        cu__report_table(stderr, profile, r->options->event->type, COPPER_TABLE_ROWS);
        cu__report_symbols(profile, r->options->event->type);
    }
    return 0;
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* Until the recording is complete, then writes it, then until a child has ended too. */
static int record(struct recording *r)
{
    const struct cu__options *o = r->options;
    bool is_trace = cu__event_is_trace(o->event);
    bool has_limit = o->seconds > 0 && !is_trace, is_written = false;
    if (is_trace) {
        double seconds = o->seconds > 0 && o->seconds < COPPER_TRACE_SECONDS_MAX ? o->seconds
                                                                                 : COPPER_TRACE_SECONDS_MAX;
        cu__windows_begin_whole(&r->windows, r->pid, o->event->path,
                                (int64_t)(seconds * (double)COPPER_NS_PER_SECOND));
    } else if (o->event->is_total) {
        cu__windows_begin_totals(&r->windows, r->pid, o->event->path, r->base);
    } else {
        cu__windows_begin(&r->windows, r->pid, o->event->path, o->hz);
    }
    int failure = 0;
    for (;;) {
        int64_t wait_ns = cu__windows_step(&r->windows);
        if (has_limit && r->windows.was_served) { /* the time runs from the first window on */
            has_limit = false;
            r->windows.limit_ns =
                cu__now_ns() + (int64_t)(o->seconds * (double)COPPER_NS_PER_SECOND);
        }
        if (r->windows.is_stopping && !r->is_over) {
            wind_up(r, COPPER_NS_PER_SECOND + COPPER_DRAIN_NS);
        }
        if (!is_written && is_recorded(r)) {
            is_written = true;
            cu__windows_give_up(&r->windows);
            failure = write_recording(r);
        }
        if (is_finished(r)) {
            break;
        }
        wait_for_something(r, wait_ns);
        take_signals(r);
        check_attached(r);
    }
    cu__windows_end(&r->windows);
    cu__gather_free(&r->windows.gathered);
    return failure;
}

static void set_name(struct recording *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    snprintf(r->name, sizeof r->name, "%.*s", COPPER_NAME_MAX - 1, slash ? slash + 1 : path);
}

static int record_program(struct recording *r)
{
    struct cu__launch l;
    sigset_t old;
    int status = cu__launch_prepare(r->options, true, &l);
    if (status) {
        return status;
    }
    r->signals = block_signals(&old);
    r->is_child = true;
    r->pid = cu__child_start(&l, &old);
    if (r->pid < 0) {
        return cu__launch_failed(&l, -r->pid);
    }
    set_name(r, r->options->program[0]);
    record(r); /* a lost recording was reported; the exit status stays the program's */
    return r->status;
}

/* What the process has counted before. 0, or the exit status after saying what is wrong. */
static int take_base(struct recording *r, const struct cu__target *target)
{
    struct cu__fetch f;
    const char *body;
    size_t n;
    char path[64], error[COPPER_CLI_ERROR_MAX];
    snprintf(path, sizeof path, "/debug/pprof/%s", r->options->event->path);
    int err = cu__fetch_now(&f, target->address, path, &body, &n, error);
    err = err ? err : cu_pprof_read(body, n, &r->base, error, sizeof error);
    cu__fetch_end(&f);
    if (err) {
        cu__error("%s[%d]: %s", target->name, (int)target->pid, error);
        return COPPER_EXIT_FAILED;
    }
    return 0;
}

static int record_target(struct recording *r, const struct cu__target *target)
{
    sigset_t old;
    r->pid = target->pid;
    set_name(r, target->name);
    int status = r->options->event->is_total ? take_base(r, target) : 0;
    if (status) {
        return status;
    }
    r->signals = block_signals(&old);
    return record(r);
}

int cu__record(const struct cu__options *o)
{
    struct recording r = {.options = o};
    struct cu__target target;
    int found = o->target ? cu__target_find(o->target, &target) : -1;
    if (found > 0) {
        return found;
    }
    int status = found == 0 ? record_target(&r, &target) : record_program(&r);
    if (r.signals > 0) {
        close(r.signals);
    }
    return status;
}
