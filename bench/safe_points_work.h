/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: see safe_points_work.c.
 */
#ifndef COPPER_BENCH_SAFE_POINTS_WORK_H
#define COPPER_BENCH_SAFE_POINTS_WORK_H

#include <stddef.h>
#include <stdint.h>

struct work {
    const char *name;
    uint64_t (*run)(const uint32_t *a, uint32_t n); /* about n turns; a has WORK_NUMBERS */
};
#define WORK_NUMBERS (1u << 20)

extern const struct work plain_work[], safe_work[]; /* up to one without a name */

#endif
