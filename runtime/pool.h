/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: what inspectors want to know of pools.
 */
#ifndef COPPER_RUNTIME_POOL_H
#define COPPER_RUNTIME_POOL_H

#include <copper/inspect.h>
#include <copper/pool.h>

/* Called with the pool's stripe. */
void cu__pool_describe(const cu_pool *pool, struct cu_object_info *out);

#endif
