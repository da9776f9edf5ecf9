/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. The assertion: look, wait until nothing moves any more, look again, tell.
 *
 * Design. A look that finds nothing is final, and costs no waiting, provided that no coroutine was
 * created meanwhile: a look passes over the coroutines one by one, and one that it has not come to
 * yet may spawn another where it has been, and end. Else the runtime is asked to say when the
 * coroutines in question are quiescent, in slices that double: whoever is clean by then need not
 * wait for others that never rest. Members of a scope that are all parked may yet be woken by
 * coroutines outside it, so these too get their chance to come to rest before anybody is blamed.
 */
#include "leak_int.h"

#include <copper/time.h>
#include <errno.h>

#define FIRST_SLICE_NS COPPER_MS

/* True: a look like this one may still turn out differently. */
static bool is_open(const struct cu__leak_query *query, const struct cu__leak_set *set)
{
    return set->count > 0 || (query->is_stranded_only && set->moving > 0);
}

/* 0: everything that could change the answer rests; -ETIMEDOUT: not within the slice. Where nothing
 * was found nobody is to be woken from outside: the members' rest is enough. */
static int wait_slice(uint64_t scope, bool is_found, int64_t slice_ns)
{
    int err = cu_quiesce(scope, slice_ns);
    if (err == 0 && scope != 0 && is_found)
        err = cu_quiesce(0, slice_ns);
    return err;
}

static uint64_t coroutines_created(void)
{
    struct cu_runtime_stats stats;
    cu_runtime_stats_read(&stats);
    return stats.created;
}

int cu__leak_settle(const struct cu__leak_query *query, int64_t timeout_ns,
                    struct cu__leak_set *set, bool *is_settled, int64_t *settle_ns)
{
    int64_t start = cu_now(), slice = FIRST_SLICE_NS;
    for (*is_settled = false;; slice *= 2) {
        uint64_t created = coroutines_created();
        int err = cu__leak_look(query, set);
        *settle_ns = cu_now() - start;
        if (err < 0)
            return err;
        if (!is_open(query, set) && coroutines_created() == created)
            *is_settled = true;
        int64_t left = timeout_ns - *settle_ns;
        if (*is_settled || left <= 0)
            return 0;
        err = wait_slice(query->scope, is_open(query, set), slice < left ? slice : left);
        if (err < 0 && err != -ETIMEDOUT)
            return 0;
        *is_settled = err == 0;
        if (*is_settled)
            timeout_ns = 0; /* the next look is the last */
        cu__leak_set_free(set);
    }
}

int64_t cu_leak_find(const cu_leak_scope *scope, const struct cu_leak_options *given,
                     struct cu_leak_report **report)
{
    struct cu_leak_options options;
    *report = NULL;
    int err = cu__leak_options_read(given, &options);
    if (err < 0)
        return err;
    struct cu__leak_query query = {
        .scope = scope == NULL ? 0 : scope->number,
        .self = cu_self(),
        .ignore_current = options.ignore_current,
    };
    struct cu__leak_set set;
    bool is_settled;
    int64_t settle_ns;
    err = cu__leak_settle(&query, options.timeout_ns, &set, &is_settled, &settle_ns);
    if (err == 0)
        err = cu__leak_report_make(&set, &options, report);
    cu__leak_set_free(&set);
    if (err < 0)
        return err;
    if (*report == NULL)
        return 0;
    (*report)->is_settled = is_settled;
    (*report)->settle_ns = settle_ns;
    return (int64_t)(*report)->count;
}

int64_t cu_leak_verify_none(const struct cu_leak_options *options)
{
    struct cu_leak_report *report;
    int64_t found = cu_leak_find(NULL, options, &report);
    if (report != NULL)
        cu_leak_report_print(report, "copper", options);
    cu_leak_report_free(report);
    return found;
}
