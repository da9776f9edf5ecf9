/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see kinds.h.
 *
 * Concurrency: no state; any number of profiles at once.
 */
#include "kinds.h"

#include "census.h"
#include "kernel_threads.h"
#include "recorded.h"
#include "routes.h"
#include "waiting.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static uint64_t threads_count_now(void)
{
    return cu__threads_count();
}

const struct cu__kind cu__kinds[] = {
#define COPPER_KIND_ROUTE(name, type, unit, serve, count, description)                             \
    {#name, type, unit, serve, NULL, NULL, count, description, NULL},
#define COPPER_KIND_NAMED(name, type, unit, make, text, count, description)                        \
    {#name, type, unit, NULL, make, text, count, description, NULL},
#define COPPER_KIND_DELAY(name, type, description)                                                 \
    {#name,                                                                                        \
     type,                                                                                         \
     "nanoseconds",                                                                                \
     NULL,                                                                                         \
     cu__##name##_profile,                                                                         \
     cu__##name##_text,                                                                            \
     cu__##name##_count,                                                                           \
     description,                                                                                  \
     cu__##name##_window},
#include "profile_kinds.def"
#undef COPPER_KIND_DELAY
#undef COPPER_KIND_ROUTE
#undef COPPER_KIND_NAMED
};
const size_t cu__nkinds = sizeof(cu__kinds) / sizeof(cu__kinds[0]);

const struct cu__kind *cu__kind_find(const char *name)
{
    for (size_t i = 0; i < cu__nkinds; i++) {
        if (strcmp(cu__kinds[i].name, name) == 0) {
            return &cu__kinds[i];
        }
    }
    return NULL;
}

int cu__profile_subtract(struct cu_pprof *after, struct cu_pprof *before)
{
    int64_t t0 = 0, t1 = 0;
    cu_pprof_times(before, &t0, NULL, NULL);
    cu_pprof_times(after, &t1, NULL, NULL);
    cu_pprof_scale(before, -1);
    int err = cu_pprof_merge(after, before);
    if (!err) {
        cu_pprof_drop_zero(after);
        cu_pprof_time(after, t1, t1 - t0);
    }
    return err;
}

static int take_delta(const struct cu__kind *kind, const struct cu__named_options *options,
                      int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out)
{
    struct cu_pprof *before = NULL, *after = NULL;
    int err = kind->make(options, &before);
    if (!err) {
        cu__window_opened();
        err = cu__wait(window_ns, is_gone, ctx) ? 0 : -ECANCELED;
    }
    if (!err) {
        err = kind->make(options, &after);
    }
    if (!err) {
        err = cu__profile_subtract(after, before);
    }
    cu_pprof_free(before);
    if (err) {
        cu_pprof_free(after);
        return err;
    }
    *out = after;
    return 0;
}

static int take_total(const struct cu__kind *kind, const struct cu__named_options *options,
                      int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out)
{
    static atomic_bool is_warm;
    if (!atomic_exchange(&is_warm, true)) {
        /* the first profile of a process reads symbols: now, and not when the program wants to exit */
        struct cu_pprof *unused = NULL;
        kind->make(options, &unused);
        cu_pprof_free(unused);
    }
    cu__window_opened();
    return cu__wait(window_ns, is_gone, ctx) ? kind->make(options, out) : -ECANCELED;
}

int cu__kind_take(const struct cu__kind *kind, const struct cu__named_options *options,
                  int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out)
{
    if (window_ns <= 0) {
        return kind->make(options, out);
    }
    int err = kind->window ? kind->window(true) : 0;
    if (!err) {
        err = options->is_total ? take_total(kind, options, window_ns, is_gone, ctx, out)
                                : take_delta(kind, options, window_ns, is_gone, ctx, out);
        if (kind->window) {
            kind->window(false);
        }
    }
    return err;
}
