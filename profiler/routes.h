/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the paths under /debug/pprof/ are answered with. profile_kinds.def lists them; the
 * dispatch, the index page and the tests come from it.
 */
#ifndef COPPER_ROUTES_H
#define COPPER_ROUTES_H

#include "http_answer.h"
#include "named.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_ROUTES_PREFIX "/debug/pprof/"

typedef void cu__serve_fn(struct cu__answer *a);
typedef uint64_t cu__count_fn(void);

cu__serve_fn cu__serve_profile;
cu__serve_fn cu__serve_cmdline;
cu__serve_fn cu__serve_symbol;
cu__serve_fn cu__serve_trace;
cu__serve_fn cu__serve_wall;
cu__serve_fn cu__serve_index;

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
extern const struct cu__kind cu__kinds[];
extern const size_t cu__nkinds;

/* The window asked for, ns: ?ms= (ours: parts of a second), else ?seconds= as in Go, where what cannot
 * be parsed is the default. 0: the error was answered. */
int64_t cu__window_ns(struct cu__answer *a);
/* Answers and returns false when that is more than a client may ask for. */
bool cu__allow_seconds(struct cu__answer *a, int64_t seconds);

/* Will this request wait (?seconds=), so that it holds its thread for long? */
bool cu__request_waits(const struct cu_http_request *request);

#endif
