/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: names of files that sort by time, and a bound on how many of them a folder holds.
 *
 * A name is 20261126T151523.042Z-PROGRAM-PID-KIND.pb.gz, the time being that of the beginning, in
 * UTC. Files of all processes that record into one folder count together, so that programs that start
 * again and again do not fill it; leftovers of one that was killed while writing count too.
 */
#ifndef COPPER_ROTATION_H
#define COPPER_ROTATION_H

#include <stddef.h>
#include <stdint.h>

#define COPPER_STAMP 20 /* "20261126T151523.042Z" */

/* The stamp and its zero. */
void cu__rotation_stamp(int64_t wall_ms, char stamp[COPPER_STAMP + 1]);

/* Makes the folder and what it lies in, where they are missing. 0 or -errno. */
int cu__rotation_make_folder(const char *folder);

/* Removes the oldest of our files in folder until there are at most so many of so many bytes in sum.
 * Those with the stamp `newest` or a later one stay. How many were removed, or -errno. */
int64_t cu__rotation_trim(const char *folder, uint64_t files, uint64_t bytes, const char *newest);

#endif
