/* SPDX-License-Identifier: Apache-2.0
 *
 * copper/leakcheck.h: find the coroutines that a program or a test leaves behind.
 *
 * A coroutine is *stranded* when it is parked and no timer or deadline will ever wake it by itself.
 * An assertion counts everything that a scope left behind: stranded coroutines, and those that
 * still run or sleep when its time limit is over. The report at exit counts stranded ones only.
 * Coroutines spawned with the daemon option are never counted.
 *
 *     cu_leak_scope *scope = cu_leak_scope_begin("reconnect");
 *     run_the_test();
 *     if (cu_leak_scope_end(scope, NULL) != 0) ...          // has printed what is left
 *
 * The report at exit comes from the environment, COPPER_LEAKCHECK=stranded (or 1), from
 * cu_leak_check_at_exit(), or from linking copper::leakcheck_at_exit. It prints nothing when clean;
 * else the exit status becomes 23, if the program itself would have ended with 0.
 *
 * Nothing here may be called from signal handlers. Everything may be called from coroutines and
 * from plain threads; before the runtime has started there is nothing to find.
 */
#ifndef COPPER_LEAKCHECK_H
#define COPPER_LEAKCHECK_H

#include <copper/hooks.h>
#include <copper/inspect.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define COPPER_LEAK_EXIT_STATUS        23
#define COPPER_LEAK_TIMEOUT_DEFAULT_NS ((int64_t)1000000000)
#define COPPER_LEAK_GROUPS_PRINTED     20 /* groups printed; the rest is counted */
#define COPPER_LEAK_IDS_MAX            8  /* ids remembered of each group */

/* The coroutines alive at one moment, to be ignored later. NULL: out of memory. */
typedef struct cu_leak_snapshot cu_leak_snapshot;
cu_leak_snapshot *cu_leak_snapshot_take(void);
void cu_leak_snapshot_free(cu_leak_snapshot *snapshot); /* NULL is allowed */

/* What to look for and where to print it. Start from COPPER_LEAK_OPTIONS; a NULL pointer to options
 * means just that. Lists end with a NULL; names match whole, as in the source (C++: mangled; of the
 * spawning function as __func__ has it). */
struct cu_leak_options {
    size_t size;        /* sizeof(struct cu_leak_options): set by COPPER_LEAK_OPTIONS */
    int64_t timeout_ns; /* how long to wait until nothing moves any more; 0: look once */
    int fd;             /* where the report goes; -1: nowhere */
    /* Takes the report instead of fd. Called once, with the whole text. */
    void (*output)(void *arg, const char *text, size_t n);
    void *output_arg;
    const char *const *ignore_top;          /* innermost function outside the runtime */
    const char *const *ignore_any;          /* any function on the stack */
    const char *const *ignore_created_by;   /* function that spawned it */
    const cu_leak_snapshot *ignore_current; /* alive when the snapshot was taken */
};
#define COPPER_LEAK_OPTIONS                                                                        \
    .size = sizeof(struct cu_leak_options), .timeout_ns = COPPER_LEAK_TIMEOUT_DEFAULT_NS, .fd = 2

/* Opens a scope: every coroutine that the caller spawns from here on, and every one that those
 * spawn, belongs to it. Scopes of several threads and coroutines do not see each other's. A scope
 * inside a scope takes its coroutines out of the outer one. name is copied. NULL: out of memory;
 * cu_leak_scope_end(NULL) then says so. Does not block. */
typedef struct cu_leak_scope cu_leak_scope;
cu_leak_scope *cu_leak_scope_begin(const char *name);

/* What its coroutines have as `scope` in struct cu_g_info. Later scopes have greater numbers. */
uint64_t cu_leak_scope_number(const cu_leak_scope *scope);

/* Closes it, by the coroutine or thread that opened it, and prints what it left behind. 0: nothing;
 * else how many; -ENOMEM: could not look; -EINVAL: options. A clean scope costs no waiting. Else it
 * waits for quiescence, not for time to pass: until every member is parked for good, and whoever
 * else runs has had its chance to wake them, at most timeout_ns. Parks; blocks a plain thread. */
int64_t cu_leak_scope_end(cu_leak_scope *scope, const struct cu_leak_options *options);

/* The same about all coroutines of the process but the caller, daemons, and functions of cu_run. */
int64_t cu_leak_verify_none(const struct cu_leak_options *options);

/* ---- the report as data ---------------------------------------------------------------------- */

enum cu_leak_verdict {
    COPPER_LEAK_STRANDED, /* parked, and nothing wakes it by itself */
    COPPER_LEAK_RUNNING,  /* runs, is about to, or sleeps */
};

struct cu_leak_line {
    const char *function;
    const char *file; /* NULL: unknown */
    uint32_t line;    /* 0: unknown */
};

/* Coroutines that wait for the same reason at the same place, spawned at the same place, on objects
 * made at the same place: one bug, most of the time. */
struct cu_leak_group {
    uint64_t count;
    enum cu_leak_verdict verdict;
    enum cu_g_state state;
    enum cu_wait_reason reason;
    int64_t age_min_ns, age_max_ns; /* how long in this state */
    const struct cu_site *site;     /* where they were spawned; NULL: unknown */
    struct cu_object_info object;   /* what the first one waits on */
    bool has_many_objects;          /* and others wait on others, made at the same place */
    cu_id ids[COPPER_LEAK_IDS_MAX]; /* the first few */
    size_t nids;
    const struct cu_leak_line *lines; /* innermost first, without the runtime's own; at least one */
    size_t nlines;
};

struct cu_leak_report {
    uint64_t count;                     /* coroutines in all groups */
    uint64_t stranded;                  /* ... of them stranded */
    const struct cu_leak_group *groups; /* largest first */
    size_t ngroups;
    bool is_settled;   /* false: the time limit came before quiescence */
    int64_t settle_ns; /* how long that took */
};

/* Looks as cu_leak_verify_none does, or, with a scope, as cu_leak_scope_end does without closing
 * it; prints nothing. The count; *report is to be freed, and NULL when nothing was found. -ENOMEM,
 * -EINVAL as above. 100 000 coroutines take well under a second: stacks are grouped by their raw
 * frames and only one of each group is named. */
int64_t cu_leak_find(const cu_leak_scope *scope, const struct cu_leak_options *options,
                     struct cu_leak_report **report);
void cu_leak_report_free(struct cu_leak_report *report); /* NULL is allowed */

/* Prints it as cu_leak_scope_end does, to where options say. title: what leads the first line. */
void cu_leak_report_print(const struct cu_leak_report *report, const char *title,
                          const struct cu_leak_options *options);

/* ---- at exit --------------------------------------------------------------------------------- */

/* Reports stranded coroutines when the process ends by exit() or by returning from main, as
 * COPPER_LEAKCHECK=stranded does. COPPER_LEAKCHECK=none wins over this call. 0; -ENOMEM. */
int cu_leak_check_at_exit(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
