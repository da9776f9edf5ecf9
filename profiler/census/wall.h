/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: wall-clock profiles; see wall.c.
 */
#ifndef COPPER_WALL_H
#define COPPER_WALL_H

#include "http_answer.h"
#include "profiles.h"

#define COPPER_FGPROF_PATH "/debug/fgprof"

/* Of the next window_ns. 0; -ECANCELED: is_gone (may be NULL) said so; -ENOMEM. */
int cu__wall_profile(int64_t window_ns, cu__is_gone_fn *is_gone, void *ctx, struct cu_pprof **out);

void cu__serve_wall(struct cu__answer *a);   /* ?seconds=, as `profile` */
void cu__serve_fgprof(struct cu__answer *a); /* ?seconds= &format=pprof|folded, as fgprof */

#endif
