/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: coroutines as text, in the layout of Go's tracebacks.
 */
#ifndef COPPER_RUNTIME_DUMP_H
#define COPPER_RUNTIME_DUMP_H

#include "text.h"

/* One coroutine as inspection shows it, several lines and an empty one. */
void cu__dump_coroutine(struct cu__text *t, const struct cu_g_info *g, int64_t now_ns);
/* Every coroutine. Returns how many. */
int64_t cu__dump_all(struct cu__text *t);
/* `channel 0x5581 "jobs" (cap 3, len 0, made by main at x.c:4)` */
void cu__dump_object(struct cu__text *t, const struct cu_object_info *object);

#endif
