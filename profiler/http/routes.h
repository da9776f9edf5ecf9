/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what the paths under /debug/pprof/ are answered with.
 */
#ifndef COPPER_ROUTES_H
#define COPPER_ROUTES_H

#include "http_answer.h"
#include "kinds.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_ROUTES_PREFIX "/debug/pprof/"

cu__serve_fn cu__serve_profile;
cu__serve_fn cu__serve_cmdline;
cu__serve_fn cu__serve_symbol;
cu__serve_fn cu__serve_trace;
cu__serve_fn cu__serve_wall;
cu__serve_fn cu__serve_index;

/* The window asked for, ns: ?ms= (ours: parts of a second), else ?seconds= as in Go, where what cannot
 * be parsed is the default. 0: the error was answered. */
int64_t cu__window_ns(struct cu__answer *a);
/* Answers and returns false when that is more than a client may ask for. */
bool cu__allow_seconds(struct cu__answer *a, int64_t seconds);

/* Will this request wait (?seconds=), so that it holds its thread for long? */
bool cu__request_waits(const struct cu_http_request *request);

#endif
