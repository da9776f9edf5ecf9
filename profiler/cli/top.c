/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: `copper top`: every so often, the functions that used the CPU since, the busiest threads,
 * and what the coroutines do.
 *
 * Design. One table is one CPU profile of the interval, fetched and shown; meanwhile the kernel's
 * files say what each thread used. Coroutines come from the goroutine profile at the end of the
 * interval, grouped by the process itself. On a terminal each table takes the place of the one
 * before, with as many lines as fit and long ones cut; without one, or on one that cannot
 * (TERM=dumb), tables follow each other.
 */
#include "events.h"
#include "fetch.h"
#include "report.h"
#include "targets.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COPPER_TOP_FUNCTIONS  15
#define COPPER_TOP_THREADS    5
#define COPPER_TOP_GROUPS     8
#define COPPER_TOP_LABELS     32
#define COPPER_TOP_OTHERS     8 /* lines beside: titles, between parts, the total, the cursor's */
#define COPPER_TOP_INTERVAL_S 1.0
#define COPPER_CLEAR_SCREEN   "\033[H\033[J"
#define COPPER_CUT_LINES      "\033[?7l"
#define COPPER_WRAP_LINES     "\033[?7h"
#define COPPER_TOP_BUFFER     (64u << 10) /* a table goes out at once */

/* ---- where it is shown ----------------------------------------------------------------------- */

/* How many lines each part has. */
struct layout {
    bool is_screen; /* tables take each other's place */
    size_t functions, threads, groups;
};

static size_t share_of(size_t lines, size_t part)
{
    size_t all = COPPER_TOP_FUNCTIONS + COPPER_TOP_THREADS + COPPER_TOP_GROUPS;
    size_t share = lines < all ? lines * part / all : part;
    return share ? share : 1;
}

static struct layout layout_now(void)
{
    const char *term = getenv("TERM");
    struct winsize size = {0};
    struct layout l = {.is_screen =
                           isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0};
    size_t lines = SIZE_MAX;
    if (l.is_screen && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0) {
        lines = size.ws_row > COPPER_TOP_OTHERS ? size.ws_row - COPPER_TOP_OTHERS : 0;
    }
    l.functions = share_of(lines, COPPER_TOP_FUNCTIONS);
    l.threads = share_of(lines, COPPER_TOP_THREADS);
    l.groups = share_of(lines, COPPER_TOP_GROUPS);
    return l;
}

/* ---- threads, from /proc --------------------------------------------------------------------- */

struct thread {
    int tid;
    char name[32];
    unsigned long long ticks; /* of CPU time so far; after the interval: in it */
};

struct threads {
    struct thread *at;
    size_t n, room;
};

static int by_tid(const void *a, const void *b)
{
    const struct thread *x = a, *y = b;
    return (x->tid > y->tid) - (x->tid < y->tid);
}

static int by_ticks(const void *a, const void *b)
{
    const struct thread *x = a, *y = b;
    return x->ticks != y->ticks ? (x->ticks < y->ticks ? 1 : -1) : by_tid(a, b);
}

static bool read_thread(int pid, const char *tid, struct thread *out)
{
    char path[96], text[1024];
    unsigned long long user, system;
    snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", pid, tid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) {
        fclose(f);
    }
    text[n] = '\0';
    char *open = strchr(text, '('), *close = strrchr(text, ')'); /* a name may hold both */
    if (!open || !close || close < open ||
        sscanf(close + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
               &system) != 2) {
        return false;
    }
    *out = (struct thread){.tid = atoi(tid), .ticks = user + system};
    snprintf(out->name, sizeof out->name, "%.*s", (int)(close - open - 1), open + 1);
    return true;
}

static void read_threads(int pid, struct threads *t)
{
    char path[64];
    struct dirent *entry;
    t->n = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *directory = opendir(path);
    while (directory && (entry = readdir(directory))) {
        if (t->n == t->room) {
            size_t room = 2 * t->room + 64;
            struct thread *at = realloc(t->at, room * sizeof *at);
            if (!at) {
                break;
            }
            t->at = at;
            t->room = room;
        }
        t->n += entry->d_name[0] != '.' && read_thread(pid, entry->d_name, &t->at[t->n]);
    }
    if (directory) {
        closedir(directory);
    }
    if (t->n) {
        qsort(t->at, t->n, sizeof *t->at, by_tid);
    }
}

/* Turns `after` into what was used since `before`. */
static void subtract(struct threads *after, const struct threads *before)
{
    for (size_t i = 0; i < after->n; i++) {
        const struct thread *then = before->n ? bsearch(&after->at[i], before->at, before->n,
                                                        sizeof *before->at, by_tid)
                                              : NULL;
        after->at[i].ticks -= then && then->ticks <= after->at[i].ticks ? then->ticks : 0;
    }
}

static void print_threads(struct threads *t, double seconds, size_t lines)
{
    double per_percent = (double)sysconf(_SC_CLK_TCK) * seconds / 100;
    if (t->n) {
        qsort(t->at, t->n, sizeof *t->at, by_ticks);
    }
    printf("\n%9s  %7s  %s\n", "CPU", "tid", "thread");
    for (size_t i = 0; i < t->n && i < lines && (i == 0 || t->at[i].ticks); i++) {
        printf("%8.1f%%  %7d  %s\n", (double)t->at[i].ticks / per_percent, t->at[i].tid,
               t->at[i].name);
    }
}

/* ---- coroutines, from the goroutine profile -------------------------------------------------- */

struct group {
    int64_t count;
    size_t sample;
};

static int by_count(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1)
                                : (x->sample > y->sample) - (x->sample < y->sample);
}

static const char *leaf_name(const struct cu_pprof *p, const struct cu_pprof_sample *s)
{
    const struct cu_pprof_line *lines;
    size_t nlines;
    uint32_t mapping;
    uint64_t address;
    struct cu_pprof_function f;
    if (s->nlocations == 0 ||
        !cu_pprof_location_at(p, s->locations[0], &mapping, &address, &lines, &nlines) ||
        nlines == 0 || !cu_pprof_function_at(p, lines[0].function, &f)) {
        return "?";
    }
    return f.name;
}

static void print_group(const struct cu_pprof *p, const struct group *g)
{
    struct cu_pprof_sample s;
    struct cu_pprof_label labels[COPPER_TOP_LABELS];
    size_t n = cu_pprof_sample_at(p, g->sample, &s, labels, COPPER_TOP_LABELS);
    printf("%9lld  ", (long long)g->count);
    const char *state = "", *site = NULL;
    for (size_t i = 0; i < n && i < COPPER_TOP_LABELS; i++) {
        if (labels[i].str && strcmp(labels[i].key, "state") == 0) {
            state = labels[i].str;
        } else if (labels[i].str && strcmp(labels[i].key, "spawned_at") == 0) {
            site = labels[i].str;
        }
    }
    printf("%-18s %s%s%s\n", state, leaf_name(p, &s), site ? ", by " : "", site ? site : "");
}

/* One line for each of the largest groups of equal stacks. */
static void print_groups(const struct cu_pprof *p, size_t lines)
{
    size_t n = cu_pprof_nsamples(p);
    struct group *groups = calloc(n + 1, sizeof *groups);
    int64_t total = 0;
    for (size_t i = 0; groups && i < n; i++) {
        struct cu_pprof_sample s;
        cu_pprof_sample_at(p, i, &s, NULL, 0);
        groups[i] = (struct group){s.values[0], i};
        total += s.values[0];
    }
    if (groups && n) {
        qsort(groups, n, sizeof *groups, by_count);
    }
    printf("\n%9s  %-18s %s\n", "count", "state", "coroutines (threads where there are none)");
    for (size_t i = 0; groups && i < n && i < lines; i++) {
        print_group(p, &groups[i]);
    }
    printf("%9lld  in all, %zu different\n", (long long)total, n);
    free(groups);
}

/* ---- one table after the other --------------------------------------------------------------- */

/* A profile from the process. NULL after saying what is wrong. */
static struct cu_pprof *fetch_profile(const struct cu__target *target, const char *path)
{
    struct cu__fetch f;
    const char *body;
    size_t n;
    char error[COPPER_CLI_ERROR_MAX];
    struct cu_pprof *p = NULL;
    if (cu__fetch_now(&f, target->address, path, &body, &n, error) ||
        cu_pprof_read(body, n, &p, error, sizeof error)) {
        cu__error("%s[%d]: %s", target->name, (int)target->pid, error);
    }
    cu__fetch_end(&f);
    return p;
}

static bool show_one(const struct cu__target *target, double seconds, struct threads t[2])
{
    char path[64];
    snprintf(path, sizeof path, "/debug/pprof/profile?ms=%.0f", seconds * 1000);
    read_threads((int)target->pid, &t[0]);
    struct cu_pprof *cpu = fetch_profile(target, path);
    if (!cpu) {
        return false;
    }
    read_threads((int)target->pid, &t[1]);
    subtract(&t[1], &t[0]);
    struct cu_pprof *coroutines = fetch_profile(target, "/debug/pprof/goroutine");
    if (coroutines) {
        struct layout l = layout_now();
        printf("%s%s[%d], the last %g s, %zu threads\n",
               l.is_screen ? COPPER_CLEAR_SCREEN COPPER_CUT_LINES : "", target->name,
               (int)target->pid, seconds, t[1].n);
        cu__report_table(stdout, cpu, "cpu", l.functions);
        print_threads(&t[1], seconds, l.threads);
        print_groups(coroutines, l.groups);
        fputs(l.is_screen ? COPPER_WRAP_LINES : "\n", stdout);
        fflush(stdout);
    }
    cu_pprof_free(cpu);
    cu_pprof_free(coroutines);
    return coroutines != NULL;
}

int cu__top(const struct cu__options *o)
{
    struct cu__target target;
    struct threads t[2] = {{0}};
    int status = cu__target_required(o, &target);
    if (status) {
        return status;
    }
    double seconds = o->seconds > 0 ? o->seconds : COPPER_TOP_INTERVAL_S;
    setvbuf(stdout, NULL, _IOFBF, COPPER_TOP_BUFFER);
    for (int i = 0; (o->count == 0 || i < o->count) && status == 0; i++) {
        status = show_one(&target, seconds, t) ? 0 : COPPER_EXIT_FAILED;
    }
    free(t[0].at);
    free(t[1].at);
    return status;
}
