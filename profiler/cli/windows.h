/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: a continuous recording made of short profile windows, fetched one after the other from a
 * process that serves and merged as they come.
 *
 * Design. A window's answer arrives a little after the window has ended, because the process encodes
 * it then. The next window is asked for when the time of the last one is over, not when its answer
 * is there, so that two windows touch to within the time of a connect. A program that exits answers
 * the window under way early (profiler/finish.h); one that is killed takes it along, so windows are
 * short: the first ones a fraction of a second, then one second.
 *
 * Of what the process counts since its start (heap, block, ...) a window's answer is all of it at its
 * end, and the last answer holds all that came before: none is missed if one is lost, and windows may
 * overlap. They do, by half, so that the profile is never off in between: a wait counts only while it
 * is on from beginning to end.
 *
 * Where answers do not add up (traces) there is one window for all of the time, whose answer is kept
 * as it came, of a process that was killed as far as it came.
 *
 * A process that execs another program is lost for a moment and then serves again at another
 * address; an address is looked up whenever one fails.
 */
#ifndef COPPER_CLI_WINDOWS_H
#define COPPER_CLI_WINDOWS_H

#include "fetch.h"
#include "gather.h"
#include "targets.h"

#include <poll.h>

#define COPPER_WINDOWS_MAX 8 /* under way at once */

struct cu__window {
    struct cu__fetch fetch;
    bool is_open;
    int64_t begin_ns, end_ns; /* its time, of which no other window has anything */
};

struct cu__windows {
    pid_t pid;
    const char *path; /* under /debug/pprof/ */
    int hz;           /* 0: not asked for */
    bool is_total;    /* answers are totals */
    struct cu__target target; /* valid when is_serving */
    bool is_serving;
    bool was_served;  /* ever */
    bool is_stopping; /* no new windows */
    int64_t whole_ns; /* > 0: one window of this length, kept in body */
    char *body;       /* ... to be freed by cu__windows_end; NULL: nothing came */
    size_t nbody;
    int64_t body_ns;  /* ... how long it took */
    bool is_cut;      /* ... its end did not come */
    int64_t next_ns;  /* when to begin the next window, or to look for the process again */
    int64_t length_ns;
    int64_t look_ns;  /* how long to wait before the next look for the process */
    int64_t limit_ns; /* no window beyond this time; INT64_MAX: none */
    struct cu__window window[COPPER_WINDOWS_MAX];
    struct cu__gathered gathered; /* what has come so far; the caller frees it */
    unsigned lost;
    int64_t lost_ns; /* the time of those, as far as it had come */
    char error[COPPER_CLI_ERROR_MAX]; /* why the last window was lost */
};

int64_t cu__now_ns(void);

void cu__windows_begin(struct cu__windows *w, pid_t pid, const char *path, int hz);
/* ... whose answers are totals, of which base (NULL: nothing) does not count; it is taken over. */
void cu__windows_begin_totals(struct cu__windows *w, pid_t pid, const char *path,
                              struct cu_pprof *base);
/* ... and no windows but one. */
void cu__windows_begin_whole(struct cu__windows *w, pid_t pid, const char *path, int64_t whole_ns);
/* Fills one pollfd for each window under way; how many. */
nfds_t cu__windows_poll(const struct cu__windows *w, struct pollfd fds[COPPER_WINDOWS_MAX]);
/* Does what is due: reads answers, merges them, opens windows. When to call again, in ns from now
 * (unless a descriptor is ready before). */
int64_t cu__windows_step(struct cu__windows *w);
/* Of totals: leaves the windows under way, and asks for what there is now. False: there is nothing to
 * ask for, or nobody. */
bool cu__windows_ask_now(struct cu__windows *w);
/* No more windows; those under way are finished by further steps (one that is the whole: now). */
void cu__windows_stop(struct cu__windows *w);
bool cu__windows_are_done(const struct cu__windows *w);
/* Windows that are under way still are lost (one that is the whole: is closed). */
void cu__windows_give_up(struct cu__windows *w);
/* Closes what is under way, and frees the body. */
void cu__windows_end(struct cu__windows *w);

#endif
