/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. What the files of leakcheck share: the groups while they are being collected and named.
 *
 * Design. One check is collect.c (visit, walk, group), then names.c (symbolize one of each group,
 * drop what options ignore), then report.c (text). verify.c repeats the first step until the
 * answer is final.
 */
#ifndef COPPER_LEAK_INT_H
#define COPPER_LEAK_INT_H

#include <copper/leakcheck.h>
#include <copper/stacks.h>

#define COPPER_LEAK_FRAMES_MAX                                                                     \
    64 /* frames that tell groups apart; deeper callers are not looked at */

struct cu_leak_scope {
    uint64_t number;
    uint64_t previous;
    char *name;
};

/* Whose coroutines a look is about. */
struct cu__leak_query {
    uint64_t scope;       /* 0: all */
    cu_id self;           /* never counted */
    bool is_main_counted; /* functions of cu_run too */
    bool is_stranded_only;
    const cu_leak_snapshot *ignore_current;
};

struct cu__leak_group {
    struct cu_leak_group shown;
    uint64_t hash;
    void (*entry)(void *);
    unsigned nframes;
    cu_frame frames[]; /* leaf first */
};

struct cu__leak_set {
    struct cu__leak_group **slots; /* open addressing, `capacity` a power of two */
    size_t capacity, ngroups;
    uint64_t count;  /* coroutines in groups */
    uint64_t moving; /* seen running or runnable, in groups or not */
    bool is_out_of_memory;
};

/* collect.c. One pass over the live coroutines. 0 or -ENOMEM; the set is to be freed always. */
int cu__leak_look(const struct cu__leak_query *query, struct cu__leak_set *out);
void cu__leak_set_free(struct cu__leak_set *set);

/* snapshot.c */
bool cu__leak_snapshot_has(const cu_leak_snapshot *snapshot, cu_id id);

/* verify.c. Waits and looks until the answer is final. *set as by cu__leak_look. */
int cu__leak_settle(const struct cu__leak_query *query, int64_t timeout_ns,
                    struct cu__leak_set *set, bool *is_settled, int64_t *settle_ns);

/* names.c. Names the groups, drops ignored ones, sorts. *report is NULL when nothing is left. */
int cu__leak_report_make(struct cu__leak_set *set, const struct cu_leak_options *options,
                         struct cu_leak_report **report);

/* report.c. what: "stranded at exit" in the headline in place of "stranded"; NULL: plain. */
void cu__leak_print(const struct cu_leak_report *report, const char *title, const char *what,
                    const struct cu_leak_options *options);

/* options.c. Fills in defaults for NULL and for members that the caller's header did not have. */
int cu__leak_options_read(const struct cu_leak_options *given, struct cu_leak_options *out);

#endif
