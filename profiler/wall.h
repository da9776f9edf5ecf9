/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: wall-clock profiles over HTTP; see wall.c.
 */
#ifndef COPPER_WALL_H
#define COPPER_WALL_H

#include "http_answer.h"

#define COPPER_FGPROF_PATH "/debug/fgprof"

void cu__serve_wall(struct cu__answer *a);   /* ?seconds=, as `profile` */
void cu__serve_fgprof(struct cu__answer *a); /* ?seconds= &format=pprof|folded, as fgprof */

#endif
