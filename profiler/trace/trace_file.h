/* SPDX-License-Identifier: Apache-2.0
 *
 * Purpose: traces in files, for the flight recorder.
 */
#ifndef COPPER_TRACE_FILE_H
#define COPPER_TRACE_FILE_H

#include "trace_clients.h"

/* A whole trace of these generations; nothing is left of it when it fails. 0 or -errno. */
int cu__flight_write_blobs(const char *path, struct cu__blob *const *blobs, unsigned n);

#endif
