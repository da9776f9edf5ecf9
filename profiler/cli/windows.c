/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see windows.h.
 */
#include "windows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPPER_NS_PER_MS      INT64_C(1000000)
#define COPPER_NS_PER_SECOND  INT64_C(1000000000)
#define COPPER_WINDOW_FIRST   (100 * COPPER_NS_PER_MS)
#define COPPER_WINDOW_LONGEST COPPER_NS_PER_SECOND
#define COPPER_LOOK_FIRST     (2 * COPPER_NS_PER_MS) /* for a process that does not serve yet */
#define COPPER_LOOK_LONGEST   (64 * COPPER_NS_PER_MS)

int64_t cu__now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * COPPER_NS_PER_SECOND + t.tv_nsec;
}

void cu__windows_begin(struct cu__windows *w, pid_t pid, const char *path, int hz)
{
    *w = (struct cu__windows){
        .pid = pid,
        .path = path,
        .hz = hz,
        .length_ns = COPPER_WINDOW_FIRST,
        .look_ns = COPPER_LOOK_FIRST,
        .limit_ns = INT64_MAX,
    };
}

void cu__windows_begin_totals(struct cu__windows *w, pid_t pid, const char *path,
                              struct cu_pprof *base)
{
    cu__windows_begin(w, pid, path, 0);
    w->is_total = true;
    cu__gather_begin_totals(&w->gathered, base);
}

void cu__windows_begin_whole(struct cu__windows *w, pid_t pid, const char *path, int64_t whole_ns)
{
    cu__windows_begin(w, pid, path, 0);
    w->whole_ns = whole_ns;
}

nfds_t cu__windows_poll(const struct cu__windows *w, struct pollfd fds[COPPER_WINDOWS_MAX])
{
    nfds_t n = 0;
    for (int i = 0; i < COPPER_WINDOWS_MAX; i++) {
        const struct cu__window *each = &w->window[i];
        if (each->is_open) {
            fds[n++] = (struct pollfd){.fd = each->fetch.fd,
                                       .events = cu__fetch_events(&each->fetch)};
        }
    }
    return n;
}

static void lose(struct cu__windows *w, const struct cu__window *each, const char *error)
{
    int64_t now = cu__now_ns(), end_ns = now < each->end_ns ? now : each->end_ns;
    w->lost++;
    w->lost_ns += end_ns > each->begin_ns ? end_ns - each->begin_ns : 0;
    snprintf(w->error, sizeof w->error, "%s", error);
}

/* Adds one answer to the recording. */
static void merge(struct cu__windows *w, const struct cu__window *each, const char *body, size_t n)
{
    struct cu_pprof *p;
    char error[COPPER_CLI_ERROR_MAX];
    if (cu_pprof_read(body, n, &p, error, sizeof error) != 0) {
        lose(w, each, error);
        return;
    }
    if (w->is_total) {
        cu__gather_total(&w->gathered, p);
        w->lost = 0; /* this one holds what those would have held */
        w->lost_ns = 0;
        return;
    }
    int err = cu__gather(&w->gathered, p);
    cu_pprof_free(p);
    if (err) {
        lose(w, each, strerror(-err));
    }
}

/* Looks for the process again, in a while that grows: it may be another program now, or none that
 * serves. */
static void look_later(struct cu__windows *w)
{
    w->is_serving = false;
    w->next_ns = cu__now_ns() + w->look_ns;
    w->look_ns = 2 * w->look_ns < COPPER_LOOK_LONGEST ? 2 * w->look_ns : COPPER_LOOK_LONGEST;
}

/* Keeps the one answer, or what came of it. */
static void finish_whole(struct cu__windows *w, struct cu__window *each)
{
    const char *body;
    size_t n = 0;
    char error[COPPER_CLI_ERROR_MAX];
    bool is_there = cu__fetch_cut_body(&each->fetch, &body, &n, error) == 0 && n > 0;
    w->body = is_there ? malloc(n) : NULL;
    if (w->body) {
        memcpy(w->body, body, n);
        w->nbody = n;
        w->is_cut = each->fetch.is_cut;
        w->body_ns = cu__now_ns() - (each->end_ns - w->whole_ns);
        w->is_stopping = true;
    } else if (each->fetch.is_connected) {
        lose(w, each, is_there ? "out of memory" : error);
        w->is_stopping = true; /* it would say the same again */
    } else {
        look_later(w);
    }
}

static void finish_window(struct cu__windows *w, struct cu__window *each)
{
    const char *body;
    size_t n;
    char error[COPPER_CLI_ERROR_MAX];
    if (w->whole_ns) {
        finish_whole(w, each);
    } else if (cu__fetch_body(&each->fetch, &body, &n, error) == 0) {
        merge(w, each, body, n);
        w->look_ns = COPPER_LOOK_FIRST;
    } else {
        if (each->fetch.is_connected) { /* else the address is that of a program that has gone */
            lose(w, each, error);
        }
        look_later(w);
    }
    cu__fetch_end(&each->fetch);
    each->is_open = false;
}

/* The next window's length: as planned, cut at the limit. 0: the limit is reached. */
static int64_t next_length(struct cu__windows *w, int64_t now)
{
    int64_t left = w->limit_ns - now;
    if (left < COPPER_NS_PER_MS) {
        return 0;
    }
    /* no crumbs: what is left after this window would be shorter than the first one was */
    if (left < w->length_ns + COPPER_WINDOW_FIRST) {
        return left;
    }
    return w->length_ns;
}

static void open_window(struct cu__windows *w, struct cu__window *each, int64_t now)
{
    int64_t length = next_length(w, now);
    if (length == 0) {
        w->is_stopping = true;
        return;
    }
    char path[128];
    int64_t asked = w->is_total && 2 * length < w->limit_ns - now ? 2 * length : length;
    int n = snprintf(path, sizeof path, "/debug/pprof/%s?ms=%lld%s", w->path,
                     (long long)(asked / COPPER_NS_PER_MS), w->is_total ? "&total=1" : "");
    if (w->hz) {
        snprintf(path + n, sizeof path - (size_t)n, "&hz=%d", w->hz);
    }
    cu__fetch_begin(&each->fetch, w->target.address, path);
    each->is_open = true;
    each->begin_ns = now;
    each->end_ns = cu__now_ns() + length;
    w->next_ns = each->end_ns;
    w->length_ns = 2 * length < COPPER_WINDOW_LONGEST ? 2 * length : COPPER_WINDOW_LONGEST;
}

/* Nothing else is due until its answer is there. */
static void open_whole(struct cu__windows *w, struct cu__window *each)
{
    char path[128];
    snprintf(path, sizeof path, "/debug/pprof/%s?seconds=%.3f", w->path,
             (double)w->whole_ns / (double)COPPER_NS_PER_SECOND);
    cu__fetch_begin(&each->fetch, w->target.address, path);
    each->is_open = true;
    each->begin_ns = cu__now_ns();
    each->end_ns = each->begin_ns + w->whole_ns;
    w->next_ns = INT64_MAX;
}

static struct cu__window *free_window(struct cu__windows *w)
{
    for (int i = 0; i < COPPER_WINDOWS_MAX; i++) {
        if (!w->window[i].is_open) {
            return &w->window[i];
        }
    }
    return NULL;
}

/* Finds where the process serves; another address than before is that of another program, whose
 * totals begin at nothing. */
static void find_target(struct cu__windows *w)
{
    struct cu__target before = w->target;
    w->is_serving = cu__target_by_pid(w->pid, &w->target);
    if (!w->is_serving) {
        look_later(w);
        return;
    }
    if (w->is_total && w->was_served && strcmp(before.address, w->target.address) != 0) {
        if (cu__gather_end_totals(&w->gathered) != 0) {
            w->lost++;
            snprintf(w->error, sizeof w->error, "out of memory");
        }
        cu__gather_begin_totals(&w->gathered, NULL);
    }
    w->was_served = true;
}

/* Looks for the process's address, or opens the window that is due. */
static void go_on(struct cu__windows *w, int64_t now)
{
    if (!w->is_serving) {
        find_target(w);
        if (!w->is_serving) {
            return;
        }
    }
    struct cu__window *each = free_window(w);
    if (each && w->whole_ns) {
        open_whole(w, each);
    } else if (each) {
        open_window(w, each, now);
    } else { /* the process is far behind with its answers: leave a gap */
        w->next_ns = now + COPPER_WINDOW_FIRST;
    }
}

int64_t cu__windows_step(struct cu__windows *w)
{
    for (int i = 0; i < COPPER_WINDOWS_MAX; i++) {
        struct cu__window *each = &w->window[i];
        if (each->is_open && cu__fetch_step(&each->fetch)) {
            finish_window(w, each);
        }
    }
    if (w->is_stopping) {
        return COPPER_WINDOW_FIRST;
    }
    int64_t now = cu__now_ns();
    if (now >= w->next_ns) {
        go_on(w, now);
    }
    int64_t wait_ns = w->next_ns > now ? w->next_ns - now : 0;
    return wait_ns < COPPER_NS_PER_SECOND ? wait_ns : COPPER_NS_PER_SECOND;
}

static void close_windows(struct cu__windows *w)
{
    for (int i = 0; i < COPPER_WINDOWS_MAX; i++) {
        if (w->window[i].is_open) {
            cu__fetch_end(&w->window[i].fetch);
            w->window[i].is_open = false;
        }
    }
}

bool cu__windows_ask_now(struct cu__windows *w)
{
    char path[128];
    if (!w->is_total || !w->is_serving) {
        return false;
    }
    close_windows(w);
    snprintf(path, sizeof path, "/debug/pprof/%s", w->path);
    cu__fetch_begin(&w->window[0].fetch, w->target.address, path);
    w->window[0].is_open = true;
    w->window[0].end_ns = cu__now_ns();
    return true;
}

void cu__windows_stop(struct cu__windows *w)
{
    w->is_stopping = true;
    for (int i = 0; w->whole_ns && i < COPPER_WINDOWS_MAX; i++) {
        if (w->window[i].is_open) {
            cu__fetch_hang_up(&w->window[i].fetch);
        }
    }
}

bool cu__windows_are_done(const struct cu__windows *w)
{
    if (!w->is_stopping) {
        return false;
    }
    for (int i = 0; i < COPPER_WINDOWS_MAX; i++) {
        if (w->window[i].is_open) {
            return false;
        }
    }
    return true;
}

void cu__windows_give_up(struct cu__windows *w)
{
    for (int i = 0; !w->whole_ns && i < COPPER_WINDOWS_MAX; i++) {
        if (w->window[i].is_open) {
            lose(w, &w->window[i], "no answer in time");
        }
    }
    close_windows(w);
}

void cu__windows_end(struct cu__windows *w)
{
    free(w->body);
    w->body = NULL;
    close_windows(w);
}
