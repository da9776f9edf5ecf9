/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: waits that a context can end.
 */
#ifndef COPPER_RUNTIME_CONTEXT_INT_H
#define COPPER_RUNTIME_CONTEXT_INT_H

#include <copper/context.h>

#include "types.h"

/* Lists w, whose race is open, among those that wait for ctx to be done. 0, or cu_ctx_err's value
 * when it is done: then w is in no list. */
int cu__ctx_watch(cu_ctx *ctx, struct cu__waiter *w);
/* Takes w out, if it still is in the list. */
void cu__ctx_unwatch(cu_ctx *ctx, struct cu__waiter *w);
/* The wait as it is when ctx may end it: where it has no deadline of its own, ctx's. */
struct cu__wait cu__ctx_limit(const struct cu__wait *why, const cu_ctx *ctx);

#endif
