/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: profiles of the whole life of a process, a file of each kind for each interval, as
 * COPPER_CONTINUOUS asks for.
 */
#ifndef COPPER_CONTINUOUS_H
#define COPPER_CONTINUOUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPPER_CONTINUOUS_INTERVAL_NS (INT64_C(60) * 1000000000)
#define COPPER_CONTINUOUS_FILES       4096u
#define COPPER_CONTINUOUS_BYTES       (UINT64_C(256) << 20)

/* Starts it when COPPER_CONTINUOUS is set; what is wrong with the value is said. Once, at start-up. */
void cu__continuous_from_environment(void);

/* Ends the interval under way and waits, ten seconds at most, until its files are written. Returns at
 * once where nothing is recorded, as in a forked child. */
void cu__continuous_finish(void);

struct cu__continuous_stats {
    bool is_on;
    uint64_t written, failed, removed; /* files; failed: attempts */
};
void cu__continuous_stats(struct cu__continuous_stats *out);

#endif
