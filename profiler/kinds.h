/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: the profiles that there always are. profile_kinds.def lists them; the dispatch, the
 * index page, the C API and the tests come from it. Those that the program makes itself are in
 * custom.h.
 */
#ifndef COPPER_KINDS_H
#define COPPER_KINDS_H

#include "named.h"

#include <stddef.h>
#include <stdint.h>

typedef void cu__serve_fn(struct cu__answer *a);
typedef uint64_t cu__count_fn(void);

struct cu__kind {
    const char *name;
    const char *type, *unit; /* of its (last) sample value; NULL: no profile */
    cu__serve_fn *serve;     /* answers by itself, or NULL: */
    cu__named_make *make;    /* ... a list of stacks with ?debug= and ?seconds= */
    cu__named_text *text;
    cu__count_fn *count; /* for the index page; NULL: 0 */
    const char *description;
    cu__named_window *window; /* it counts while one is open, or when asked to; NULL: always */
};
extern const struct cu__kind cu__kinds[]; /* in order of name */
extern const size_t cu__nkinds;

/* NULL: there is none of this name. */
const struct cu__kind *cu__kind_find(const char *name);

/* The profile as it is now, or what changed within the next window_ns (0: as it is), in which one
 * that is off counts (is_total: all that there is at its end). -ECANCELED: is_gone (may be NULL) said so. kind has a make. */
int cu__kind_take(const struct cu__kind *kind, const struct cu__named_options *options,
                  int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out);

/* after becomes what changed since before, which is scaled by -1. 0, or -errno. */
int cu__profile_subtract(struct cu_pprof *after, struct cu_pprof *before);

#endif
